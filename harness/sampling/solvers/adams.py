"""Adams-Bashforth methods on the predicted noise, in (xbar, sigma), where the ODE is d xbar / d sigma = eps.

The next state is xbar + sum_j w_j eps_j over the current and past points. `lms` integrates the polynomial through them
over the actual step; `ipndm` takes the weights of equal steps whatever the levels. The first steps, with too few past
points, use the lower orders. The last step lands on the denoised image.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Multistep, Solver
from harness.sampling.solvers.euler import DDIM
from harness.sampling.solvers.interpolation import weights

Order = Annotated[int, Field(ge=1, le=4)]

EQUAL_STEPS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams-Bashforth weights of orders 1 to 4, in units of the step, the current point first."""


class LMS(Multistep):
    """Linear multistep method (variable-step Adams-Bashforth) in sigma, order as given, 1 NFE per step.

    Order 1 is DDIM. The weights are exact integrals over the levels in use. `ipndm_v` is another name of it; the code
    that made that name known closes a bracket late in its weights of orders 3 and 4, which on unequal steps are then
    not these. `rhoAB` of DEIS is this method too. k-diffusion and `diffusers` integrate the weights by quadrature;
    `diffusers` keeps the order in the last step.

    Args:
        order: 1 to 4.

    Source: Liu et al. 2022 (arXiv 2202.09778); Hairer, Norsett & Wanner 1993, section III.5; for sigma as the variable
    Zhang & Chen 2023 (arXiv 2204.13902), rhoAB-DEIS.
    """

    last: ClassVar[Solver] = DDIM()

    kind: Literal["lms"] = "lms"
    order: Order = 4

    @property
    def convergence_order(self) -> float:
        return self.order

    @property
    def history(self) -> int:
        return self.order - 1

    def with_points(self, count: int) -> Solver:
        return self.model_copy(update={"order": min(self.order, count)})

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points = recent(here, carry, self.order)
        sigma_next = dynamics.sigma(t_next)
        coefficients = weights([point.sigma.item() for point in points], here.sigma.item(), sigma_next.item())
        return step(dynamics, points, coefficients, t_next), points


class IPNDM(Multistep):
    """Improved PNDM: Adams-Bashforth with the weights of equal steps, in sigma, 1 NFE per step.

    Order 1 is DDIM. The weights fit equal steps in sigma; on graded levels such as `edm` those of orders 2, 3 and 4 are
    all of second order, which is the convergence order that it claims above order 1. `diffusers` writes the same in
    alpha and beta, with sigma = beta / alpha and a v-prediction, and keeps the order in the last step.

    Args:
        order: number of points, 1 to 4.

    Source: Zhang & Chen 2023 (arXiv 2204.13902), appendix on iPNDM; Liu et al. 2022 (arXiv 2202.09778).
    """

    last: ClassVar[Solver] = DDIM()

    kind: Literal["ipndm"] = "ipndm"
    order: Order = 4

    @property
    def convergence_order(self) -> float:
        return min(self.order, 2)

    @property
    def history(self) -> int:
        return self.order - 1

    def with_points(self, count: int) -> Solver:
        return self.model_copy(update={"order": min(self.order, count)})

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points = recent(here, carry, self.order)
        h = (dynamics.sigma(t_next) - here.sigma).item()
        return step(dynamics, points, [h * weight for weight in EQUAL_STEPS[len(points) - 1]], t_next), points


def recent(here: Point, carry: Any, most: int) -> tuple[Point, ...]:
    """The current point and those before it, the latest first, at most so many."""
    return (here, *(carry or ()))[:most]


def step(dynamics: Dynamics, points: tuple[Point, ...], coefficients: list[float], t_next: Tensor) -> Tensor:
    """The state at t_next: xbar plus the weighted noise of the points."""
    change = sum(weight * point.eps for weight, point in zip(coefficients, points, strict=True))
    return dynamics.s(t_next) * (points[0].xbar + change)
