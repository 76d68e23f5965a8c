"""UniPC: a multistep predictor and a corrector that share their weights, one evaluation a step.

In lambda = -log sigma and on the denoised image, with h the step, r_k the places of past points in units of h and
D_k = (D(past k) - D) / r_k, a step is

    xbar_next = (sigma_next / sigma) xbar + phi_1 D + B(h) sum_k rho_k D_k

with rho from the linear system that makes the step exact for polynomials, in which B(h) cancels; where there is one
value only, rho is 1/2 and B(h) = h (bh1) or 1 - exp(-h) (bh2) matters. The corrector is the same with the newly
evaluated D at the end of the step as one more point (r = 1). It uses the evaluation
that the next predictor needs anyway: a step first corrects the state it starts from, then predicts.
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.adams import recent
from harness.sampling.solvers.euler import DDIM
from harness.sampling.solvers.method import Method


class Memory(NamedTuple):
    """What a step leaves: past points, the latest first, and the corrected state at the latest of them."""

    points: tuple[Point, ...]
    xbar: Tensor


class UniPC(Method):
    """UniPC, 1 NFE per step; order p predicts with p points, corrects to order p + 1.

    It declares p + 1 with the corrector and p without. The first steps use the lower orders. With p = 2 the predictor,
    and with p = 1 the corrector, take the authors' simplified weight 1/2. The corrector is not evaluated again after
    its correction, as in the authors' code. The last step lands on the denoised image; the authors also lower the order
    of the steps just before it in short runs, which is not done here; `diffusers` with bh1 does not reach sigma = 0.

    Args:
        order: p, 1 to 3.
        variant: `bh1` or `bh2`, the B(h) above.
        corrector: whether to correct; without it the predictor alone.

    Shapes: x [B, C, H, W] float64, any image shape; t ().
    Source: Zhao et al. 2023 (arXiv 2302.04867), Algorithms 1 and 2, in the multistep form for data prediction.
    """

    kind: Literal["unipc"] = "unipc"
    order: Annotated[int, Field(ge=1, le=3)] = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    corrector: bool = True

    @property
    def declared(self) -> float:
        return self.order + 1 if self.corrector else self.order

    @property
    def past(self) -> int:
        return self.order if self.corrector else self.order - 1

    @property
    def last(self) -> DDIM:
        return DDIM()

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        xbar = self._correct(here, carry) if self.corrector and carry else here.xbar
        points = recent(here, carry and carry.points, self.order)
        xbar_next = self._advance(points, xbar, dynamics.sigma(t_next), None)
        return dynamics.s(t_next) * xbar_next, Memory(points, xbar)

    def _correct(self, here: Point, carry: Memory) -> Tensor:
        """The state at `here`, stepped to again from the last point with what was evaluated since."""
        return self._advance(carry.points, carry.xbar, here.sigma, here)

    def _advance(self, points: tuple[Point, ...], xbar: Tensor, sigma_next: Tensor, end: Point | None) -> Tensor:
        """One step from the first point; `end` is the evaluated point at its end, for the corrector."""
        here, h = points[0], math.log(points[0].sigma.item() / sigma_next.item())
        places = [math.log(here.sigma.item() / past.sigma.item()) / h for past in points[1:]]
        values = [(past.denoised - here.denoised) / r for past, r in zip(points[1:], places, strict=True)]
        if end is not None:
            places, values = [*places, 1.0], [*values, end.denoised - here.denoised]
        base = math.exp(-h) * xbar - math.expm1(-h) * here.denoised
        if not values:
            return base
        rho = self._weights(places, h)
        return base + sum(weight * value for weight, value in zip(rho, values, strict=True))

    def _weights(self, places: list[float], h: float) -> list[float]:
        """B(h) rho for values at these places. B(h) cancels but for one value, whose rho is set to 1/2."""
        if len(places) == 1:
            return [(h if self.variant == "bh1" else -math.expm1(-h)) / 2]
        powers = np.vander(np.array(places), increasing=True).T
        return [float(weight) for weight in np.linalg.solve(powers, np.array(_moments(h, len(places))))]


def _moments(h: float, count: int) -> list[float]:
    """integral_0^1 h exp(-h (1 - u)) u^i du for i = 1 to count, which the weights of u^(i-1) have to add up to."""
    moments, before = [], -math.expm1(-h)
    for i in range(1, count + 1):
        before = 1 - i * before / h
        moments.append(before)
    return moments
