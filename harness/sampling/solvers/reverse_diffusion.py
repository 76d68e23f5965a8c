"""The reverse diffusion sampler of Song et al.: the forward step's own discretization, run backwards."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from harness.sampling.brownian import Power
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import SDESolver


class ReverseDiffusion(SDESolver):
    """Reverse diffusion predictor, 1 NFE per step: (strong) order 1; the original sampler of the VP and VE networks.

    A forward step from the next level to this one is x = a x_next + sqrt(b) z, with a = s / s_next and
    b = s^2 (sigma^2 - sigma_next^2). Backwards, with the score -eps / (s sigma),

        SDE                 x_next = (2 - a) x + b score + sqrt(b) z
        probability flow    x_next = (2 - a) x + (b / 2) score

    Scaling `none` gives the VE form, `vp` the VP form. The authors take b from beta(t_i) / N and not from the levels:
    for their own levels the same to O(1 / N^2), but above 1, so without a square root, for fewer than 20 steps; here
    both are taken from the levels. With scaling `none`, probability flow is `euler` under schedule `ve`. The last step,
    to sigma = 0, is its own without noise, as the authors return the mean.

    Args:
        probability_flow: the ODE's form, which draws no noise.

    Source: Song et al. 2021 (arXiv 2011.13456), Appendix E and Algorithms 2 and 3 without their corrector.
    """

    convergence_order: ClassVar[float] = 1

    kind: Literal["reverse_diffusion"] = "reverse_diffusion"
    probability_flow: bool = False

    @property
    def is_stochastic(self) -> bool:
        return not self.probability_flow

    @property
    def last(self) -> "ReverseDiffusion":
        return self

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        sigma_next = dynamics.sigma(t_next)
        a = here.s / dynamics.s(t_next)
        b = here.s**2 * (here.sigma**2 - sigma_next**2)
        score = -here.eps / (here.s * here.sigma)  # of the density of x = s xbar
        x = (2 - a) * here.x + (0.5 if self.probability_flow else 1) * b * score
        if self.is_stochastic and sigma_next > 0:
            x = x + b.sqrt() * dynamics.increment(here.t, t_next, Power(2))
        return x, carry
