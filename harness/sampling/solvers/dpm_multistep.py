"""DPM-Solver++ multistep: exponential integrators in lambda = -log sigma on the denoised image, one evaluation a step.

With h = lambda_next - lambda, r_0 = h_0 / h and r_1 = h_1 / h for the two steps before, and phi-functions of h,

    D1_0 = (D_0 - D_-1) / r_0      D1_1 = (D_-1 - D_-2) / r_1      D1 = D1_0 + r_0 / (r_0 + r_1) (D1_0 - D1_1)
    D2 = (D1_0 - D1_1) / (r_0 + r_1)        phi_1 = 1 - exp(-h)     phi_2 = 1 - phi_1 / h     phi_3 = 1/2 - phi_2 / h

    2M  xbar_next = (sigma_next / sigma) xbar + phi_1 D_0 + (phi_1 / 2 or phi_2) D1_0
    3M  xbar_next = (sigma_next / sigma) xbar + phi_1 D_0 + phi_2 D1 + phi_3 D2

`D2` is h^2 D'' / 2, so the Taylor expansion has 2 phi_3 D2; the published 3M has it once, and is therefore of second
order. The last step lands on the denoised image, and the first steps use the lower orders.
"""

import itertools
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.adams import recent
from harness.sampling.solvers.base import Multistep, Solver
from harness.sampling.solvers.euler import DDIM


class Phi(NamedTuple):
    """The functions phi_1, phi_2, phi_3 of a step h in log sigma, 0-dim float64."""

    one: Tensor
    two: Tensor
    three: Tensor

    @classmethod
    def of(cls, h: Tensor) -> "Phi":
        """For h of either sign, not 0."""
        one = -torch.expm1(-h)  # integral_0^h exp(u - h) du; two and three have (u / h)^k / k! in it
        two = 1 - one / h
        return cls(one, two, 0.5 - two / h)


class DPMpp2M(Multistep):
    """DPM-Solver++(2M), order 2, 1 NFE per step.

    Args:
        form: `midpoint`, the authors' default, or `heun`, their other form, with phi_2 in place of phi_1 / 2.

    Source: Lu et al. 2022 (arXiv 2211.01095), Algorithm 2.
    """

    convergence_order: ClassVar[float] = 2
    history: ClassVar[int] = 1
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_2m"] = "dpmpp_2m"
    form: Literal["midpoint", "heun"] = "midpoint"

    def with_points(self, count: int) -> Solver:
        return self if count > 1 else DDIM()

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points, h = recent(here, carry, 2), log_step(dynamics, here, t_next)
        phi = Phi.of(h)
        change = phi.one * here.denoised
        if len(points) == 2:
            change = change + slope_weight(phi, self.form) * slopes(points, h)[0]
        # exp(-h) = sigma_next / sigma: the part of xbar that the linear term leaves
        return dynamics.s(t_next) * (torch.exp(-h) * here.xbar + change), points


class DPMpp3M(Multistep):
    """DPM-Solver++(3M), 1 NFE per step; order 2 as published, order 3 with the weights of the Taylor expansion.

    Args:
        weights: `published`, with the second difference once, as in the authors' code, k-diffusion and `diffusers`; or
            `taylor`, with the second difference twice.

    Source: Lu et al. 2022 (arXiv 2211.01095), and the authors' code for the third order.
    """

    history: ClassVar[int] = 2
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_3m"] = "dpmpp_3m"
    weights: Literal["published", "taylor"] = "published"

    @property
    def convergence_order(self) -> float:
        return 3 if self.weights == "taylor" else 2

    def with_points(self, count: int) -> Solver:
        return self if count > 2 else DPMpp2M().with_points(count)

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points, h = recent(here, carry, 3), log_step(dynamics, here, t_next)
        change = third_order(points, h, Phi.of(h), 2.0 if self.weights == "taylor" else 1.0, "midpoint")
        return dynamics.s(t_next) * (torch.exp(-h) * here.xbar + change), points


def log_step(dynamics: Dynamics, here: Point, t_next: Tensor) -> Tensor:
    """The step in lambda = -log sigma."""
    return (here.sigma / dynamics.sigma(t_next)).log()


def slopes(points: tuple[Point, ...], h: Tensor) -> list[Tensor]:
    """Differences of neighbouring denoised images, each divided by its own step as a part of h."""
    pairs = itertools.pairwise(points)
    return [(new.denoised - old.denoised) * (h / (old.sigma / new.sigma).log()) for new, old in pairs]


def slope_weight(phi: Phi, form: str) -> Tensor:
    """The weight of the first difference in the two published forms of 2M."""
    return phi.one / 2 if form == "midpoint" else phi.two


def third_order(points: tuple[Point, ...], h: Tensor, phi: Phi, second: float, form: str) -> Tensor:
    """What 3M adds to the decayed state; with two points what 2M adds, and with one what DDIM adds.

    Args:
        points: the current one and up to two before it.
        h: the step in log sigma.
        phi: the functions of h, or of the step in which the state decays.
        second: weight of the second difference, 1 as published and 2 by Taylor's expansion.
        form: of 2M.
    """
    change = phi.one * points[0].denoised
    if len(points) == 1:
        return change
    derivatives = slopes(points, h)
    if len(points) == 2:
        return change + slope_weight(phi, form) * derivatives[0]
    r0, r1 = ((old.sigma / new.sigma).log() / h for new, old in itertools.pairwise(points))
    # the second divided difference, by which the first is brought from the middle of its interval to the current point
    difference = (derivatives[0] - derivatives[1]) / (r0 + r1)
    return change + phi.two * (derivatives[0] + r0 * difference) + second * phi.three * difference
