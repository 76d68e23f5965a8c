"""The Euler-Maruyama method on the reverse SDE of the paper's eq. 6."""

from typing import Annotated, Any, ClassVar, Literal

from torch import Tensor

from harness.core.config import Positive
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers import sde_form
from harness.sampling.solvers.base import SDESolver, Solver
from harness.sampling.solvers.euler import Euler


class EulerMaruyama(SDESolver):
    """Euler-Maruyama in (x, t), strong order 1, 1 NFE per step.

    x_next = x + h f + g sqrt(|h|) z,  f and g drift and diffusion of the SDE at (x, t), z an increment of the sample's
    Brownian path over the step. The order is 1 since the noise is additive; 1/2 for beta `window`, where a step across
    an edge has the noise of its start. The schedule and the scaling change its error. The last step, to sigma = 0, is
    Euler's on the ODE and adds no noise.

    Args:
        beta: how fast noise is replaced: `song`, `constant` or `window`, each with a scale.
        S_noise: factor on the noise, > 0.

    Source: Karras et al. 2022, eq. 6; Song et al. 2021 (arXiv 2011.13456), Appendix E.
    """

    last: ClassVar[Solver] = Euler()

    kind: Literal["euler_maruyama"] = "euler_maruyama"
    beta: Annotated[sde_form.Rate, sde_form.RATES] = sde_form.SongRate()
    S_noise: Positive = 1.0

    @property
    def convergence_order(self) -> float:
        return 0.5 if isinstance(self.beta, sde_form.WindowRate) else 1

    def notes(self, sigmas: Tensor) -> list[str]:
        return super().notes(sigmas) or self.beta.notes(sigmas[:-1])

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        h = t_next - here.t
        noise = dynamics.increment(here.t, t_next, dynamics.curve.t)
        spread = self.S_noise * sde_form.diffusion(dynamics, here.t, self.beta) * h.abs().sqrt()
        return here.x + h * sde_form.drift(dynamics, here, self.beta) + spread * noise, carry
