"""Weights of multistep methods: the polynomial through past values, integrated over the next step."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

QUADRATURE = 40
"""Gauss-Legendre points; exact for polynomials up to degree 79."""


def weights(
    nodes: Sequence[float],
    start: float,
    end: float,
    density: Callable[[np.ndarray], np.ndarray] | None = None,
    variable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[float]:
    """The integral from `start` to `end` of each Lagrange polynomial of the nodes, times a density.

    Args:
        nodes: distinct places of the values, k of them, in the polynomials' variable.
        start, end: the step, in the variable of integration; end may be the smaller.
        density: weight of the integrand, elementwise; None for 1.
        variable: the polynomials' variable as a function of that of integration, elementwise; None for the same.

    Returns:
        k weights, one a node.
    """
    points, gauss = _gauss()
    half = (end - start) / 2
    tau = start + half * (points + 1)
    mass = half * gauss * (1 if density is None else density(tau))
    place = tau if variable is None else variable(tau)
    return [float(np.sum(mass * _lagrange(nodes, j, place))) for j in range(len(nodes))]


def _lagrange(nodes: Sequence[float], j: int, tau: np.ndarray) -> np.ndarray:
    """The polynomial that is 1 at node j and 0 at the others."""
    value = np.ones_like(tau)
    for k, node in enumerate(nodes):
        if k != j:
            value *= (tau - node) / (nodes[j] - node)
    return value


@lru_cache(maxsize=1)
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    points, gauss = np.polynomial.legendre.leggauss(QUADRATURE)
    return points, gauss
