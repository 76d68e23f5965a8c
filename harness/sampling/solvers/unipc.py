"""UniPC: a multistep predictor and a corrector that share their weights, one evaluation a step.

In lambda = -log sigma and on the denoised image, with h the step, r_k the places of past points in units of h and
D_k = (D(past k) - D) / r_k, a step is

    xbar_next = (sigma_next / sigma) xbar + phi_1 D + B(h) sum_k rho_k D_k

with rho from the linear system that makes the step exact for polynomials, in which B(h) cancels; where there is one
value only, rho is 1/2 and B(h) = h (bh1) or 1 - exp(-h) (bh2) matters. The corrector is the same with the newly
evaluated D as one more point (r = 1). It uses the evaluation that the next predictor needs anyway: a step first
corrects the state it starts from, then predicts. What was added to the state in between, ancestral noise, is added to
the corrected one; its point is then at the level where it was evaluated (r < 1), above the one that the step aimed at.
"""

import math
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.adams import recent
from harness.sampling.solvers.base import Multistep, Solver
from harness.sampling.solvers.euler import DDIM


class Memory(NamedTuple):
    """What a step leaves: past points, the latest first, and the two ends of the step, both without scaling.

    Args:
        points: evaluated, the first of them where the step began.
        begun: the corrected state there.
        sigma: the level that the step aimed at.
        reached: the state that it predicted there.
    """

    points: tuple[Point, ...]
    begun: Tensor
    sigma: Tensor
    reached: Tensor


class UniPC(Multistep):
    """UniPC, 1 NFE per step; order p predicts with p points, corrects to order p + 1.

    Its convergence order is p + 1 with the corrector and p without. The first steps use the lower orders. With p = 2
    the predictor, and with p = 1 the corrector, take the authors' simplified weight 1/2. The corrector is not evaluated
    again after its correction, as in the authors' code. The last step lands on the denoised image; the authors also
    lower the order of the steps just before it in short runs, which is `lower_order_final`; `diffusers` with bh1 does
    not reach sigma = 0.

    Args:
        order: p, 1 to 3.
        variant: `bh1` or `bh2`, the B(h) above.
        corrector: whether to correct; without it the predictor alone.

    Source: Zhao et al. 2023 (arXiv 2302.04867), Algorithms 1 and 2, in the multistep form for data prediction.
    """

    last: ClassVar[Solver] = DDIM()

    kind: Literal["unipc"] = "unipc"
    order: Annotated[int, Field(ge=1, le=3)] = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    corrector: bool = True

    @property
    def convergence_order(self) -> float:
        return self.order + 1 if self.corrector else self.order

    @property
    def history(self) -> int:
        return self.order if self.corrector else self.order - 1

    def with_points(self, count: int) -> Solver:
        return self.model_copy(update={"order": min(self.order, count)})

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        xbar = self._correct(here, carry) if self.corrector and carry else here.xbar
        points, sigma = recent(here, carry and carry.points, self.order), dynamics.sigma(t_next)
        reached = self._advance(points, xbar, sigma, None)
        return dynamics.s(t_next) * reached, Memory(points, xbar, sigma, reached)

    def rebased(self, carry: Any, begun: Tensor, reached: Tensor) -> Any:
        return carry and carry._replace(begun=begun, reached=reached)

    def _correct(self, here: Point, carry: Memory) -> Tensor:
        """The last step again with what was evaluated since, and what was added after it."""
        return self._advance(carry.points, carry.begun, carry.sigma, here) + (here.xbar - carry.reached)

    def _advance(self, points: tuple[Point, ...], xbar: Tensor, sigma_next: Tensor, new: Point | None) -> Tensor:
        """One step from the first point; `new` is what the corrector knows beside the predictor's points."""
        here, h = points[0], math.log(points[0].sigma.item() / sigma_next.item())
        others = [*points[1:], new] if new is not None else points[1:]
        places = [math.log(here.sigma.item() / other.sigma.item()) / h for other in others]
        values = [(other.denoised - here.denoised) / r for other, r in zip(others, places, strict=True)]
        base = math.exp(-h) * xbar - math.expm1(-h) * here.denoised
        if not values:
            return base
        rho = self._weights(places, h)
        return base + sum(weight * value for weight, value in zip(rho, values, strict=True))

    def _weights(self, places: list[float], h: float) -> list[float]:
        """B(h) rho for values at these places. B(h) cancels but for one value, whose rho is set to 1/2."""
        if len(places) == 1:
            return [(h if self.variant == "bh1" else -math.expm1(-h)) / 2]
        # row i asks sum_k weight_k r_k^i = moment_(i+1): exact for D - D(0) a polynomial, values being divided by r_k
        powers = np.vander(np.array(places), increasing=True).T
        return [float(weight) for weight in np.linalg.solve(powers, np.array(_moments(h, len(places))))]


def _moments(h: float, count: int) -> list[float]:
    """integral_0^1 h exp(-h (1 - u)) u^i du for i = 1 to count, which the weights of u^(i-1) have to add up to."""
    moments, before = [], -math.expm1(-h)
    for i in range(1, count + 1):
        before = 1 - i * before / h  # by parts
        moments.append(before)
    return moments
