"""Ancestral sampling of DDPM: a draw from the posterior of the next level, given the denoised image."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import SDESolver, Solver
from harness.sampling.solvers.euler import DDIM


class DDPM(SDESolver):
    """DDPM ancestral sampling, 1 NFE per step; no order is claimed.

    xbar_next = D + (sigma_next / sigma)^2 (xbar - D) + std z,  std = sigma_next sqrt(1 - (sigma_next / sigma)^2) for
    the small variance, sigma^2 - sigma_next^2 brought to the scale of x_next for the large one: the posterior variances
    beta-tilde and beta of DDPM. With the small one it is `ddim` with stochasticity `ancestral`. The noise is one
    float64 normal per step from the sample's own stream. The last step lands on the denoised image. Learned variances,
    which a denoiser does not give, lie between the two.

    Args:
        variance: `small` (beta-tilde) or `large` (beta, of the variance preserving process).

    Source: Ho, Jain & Abbeel 2020 (arXiv 2006.11239), Algorithm 2 and Section 3.2, eq. 6 and 7.
    """

    convergence_order: ClassVar[float | None] = None
    last: ClassVar[Solver] = DDIM()

    kind: Literal["ddpm"] = "ddpm"
    variance: Literal["small", "large"] = "small"

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        sigma, sigma_next = here.sigma, dynamics.sigma(t_next)
        # posterior mean of xbar_next given D and xbar: D + (sigma_next / sigma)^2 (xbar - D), and xbar - D = sigma eps
        mean = here.denoised + sigma_next**2 / sigma * here.eps
        gap = sigma**2 - sigma_next**2
        if self.variance == "small":
            variance = sigma_next**2 * gap / sigma**2
        else:  # beta = 1 - abar / abar_next, over abar_next, with abar = 1 / (1 + sigma^2)
            variance = (1 + sigma_next**2) * gap / (1 + sigma**2)
        return dynamics.s(t_next) * (mean + variance.sqrt() * dynamics.noise()), carry
