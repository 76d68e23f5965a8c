"""DPM-Solver of second order with two evaluations a step: in the predicted noise (DPM-Solver-2) and in D (++ 2S).

Both are exponential integrators in lambda = -log sigma, so in (xbar, sigma): schedule and scaling do not change them.
With h = lambda_next - lambda and a middle level at lambda + r h,

    DPM-Solver-2      xbar_next = xbar + (sigma_next - sigma) [(1 - 1/2r) eps + (1/2r) eps']
    DPM-Solver++(2S)  xbar_next = (sigma_next / sigma) xbar + (1 - sigma_next / sigma) [(1 - 1/2r) D + (1/2r) D']

where eps' and D' are taken at the middle level, reached by a DDIM step. The last step lands on the denoised image.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver
from harness.sampling.solvers.euler import DDIM

Middle = Annotated[float, Field(gt=0, le=1)]
"""Where the middle level stands, as a part of the step in log sigma; 1/2 is the authors' choice."""


class DPM2(Solver):
    """DPM-Solver-2, order 2, 2 NFE per step (1 on the last): the midpoint method in log sigma, on the predicted noise.

    Known in k-diffusion as sample_dpm_2; compare `rk2` with alpha 1/2, the midpoint in t.

    Args:
        r: position of the middle level in log sigma, in (0, 1]; 1/2 by default.

    Source: Lu et al. 2022 (arXiv 2206.00927), Algorithm 1 and its generalisation in r, Algorithm 4.
    """

    has_fixed_stages: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 2
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpm_2"] = "dpm_2"
    r: Middle = 0.5

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        sigma_next, there = dynamics.sigma(t_next), _middle(dynamics, here, t_next, self.r)
        # eps extrapolated linearly in lambda to the middle of the step
        eps = (1 - 0.5 / self.r) * here.eps + 0.5 / self.r * there.eps
        return dynamics.s(t_next) * (here.xbar + (sigma_next - here.sigma) * eps), carry


class DPMpp2S(Solver):
    """DPM-Solver++(2S), order 2, 2 NFE per step (1 on the last): like `dpm_2`, on the denoised image.

    Args:
        r: position of the middle level in log sigma, in (0, 1]; 1/2 by default.

    Source: Lu et al. 2022 (arXiv 2211.01095), Algorithm 1. `diffusers` takes the middle level from its own list of
    levels, and so makes one step of this over two of its own.
    """

    has_fixed_stages: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 2
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_2s"] = "dpmpp_2s"
    r: Middle = 0.5

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        sigma_next, there = dynamics.sigma(t_next), _middle(dynamics, here, t_next, self.r)
        denoised = (1 - 0.5 / self.r) * here.denoised + 0.5 / self.r * there.denoised
        ratio = sigma_next / here.sigma
        return dynamics.s(t_next) * (ratio * here.xbar + (1 - ratio) * denoised), carry


def _middle(dynamics: Dynamics, here: Point, t_next: Tensor, r: float) -> Point:
    """The evaluated point at the middle level, after a DDIM step."""
    sigma = here.sigma ** (1 - r) * dynamics.sigma(t_next) ** r  # lambda + r h, since lambda = -log sigma
    return dynamics.at_level(here.denoised + sigma * here.eps, sigma)
