"""Euler's method, in the two spaces that matter: in (x, t), and in (x / s, sigma), where it is DDIM."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver


class Euler(Solver):
    """Euler's method in (x, t), order 1, 1 NFE per step; with schedule `linear` and scaling `none` it is DDIM.

    x_next = x + (t_next - t) d,  d = drift at (x, t).  The schedule and the scaling change its error.

    The last step is its own. With schedule `linear` it lands on the denoised image; with `vp` and `ve` one straight
    step in t from sigma_min does not, as in the paper's code.

    Source: Karras et al. 2022, Algorithm 1 without its correction.
    """

    starts_at_infinity: ClassVar[bool] = True
    has_fixed_stages: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 1

    kind: Literal["euler"] = "euler"

    @property
    def last(self) -> "Euler":
        return self

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return here.x + (t_next - here.t) * here.drift, carry


class DDIM(Solver):
    """DDIM, order 1, 1 NFE per step: Euler's method in (xbar, sigma), whatever the schedule and scaling.

    xbar_next = D + (sigma_next / sigma) (xbar - D).  With stochasticity `ancestral` it is DDIM with that eta, and with
    eta = 1 DDPM. DPM-Solver-1 and DPM-Solver++(1) are other names of it. The last step lands on the denoised image.

    Source: Song, Meng & Ermon 2021 (arXiv 2010.02502), eq. 13.
    """

    has_fixed_stages: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 1

    kind: Literal["ddim"] = "ddim"

    @property
    def last(self) -> "DDIM":
        return self

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        xbar = here.denoised + dynamics.sigma(t_next) * here.eps
        return dynamics.s(t_next) * xbar, carry
