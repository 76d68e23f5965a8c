"""Ancestral noise: aim each step lower than the next level, and add noise up to it."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from harness.core.config import Positive
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import Dynamics
from harness.sampling.stochasticity.base import USUAL_NOISE, Stochasticity


class Ancestral(Stochasticity):
    """The solver steps to sigma_down, then noise of standard deviation sigma_up is added, so that both make sigma_next.

    sigma_up = sigma_next min(1, eta sqrt(1 - (sigma_next / sigma)^2)),  sigma_down^2 = sigma_next^2 - sigma_up^2.

    With solver `ddim` this is DDIM(eta), and at eta = 1 DDPM with its small variance. One float64 normal per sample is
    drawn at every step but the last, where nothing is added.

    Args:
        eta: amount, >= 0; 0 is deterministic, and from 1 on noise is replaced as in DDPM.
        S_noise: factor on the new noise, > 0, unitless.

    Source: Song, Meng & Ermon 2021 (arXiv 2010.02502), eq. 16; the split into two levels is k-diffusion's.
    """

    kind: Literal["ancestral"] = "ancestral"
    eta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    S_noise: Positive = 1.0

    @property
    def is_stochastic(self) -> bool:
        return True

    def counted(self, has_fixed_stages: bool) -> Stochasticity:
        is_usual = has_fixed_stages and self.S_noise <= USUAL_NOISE
        return self.model_copy(update={"S_noise": 1.0}) if is_usual else self

    def notes(self, sigmas: Tensor, denoiser: Denoiser) -> list[str]:
        if self.eta == 0:
            return [] if self.S_noise == 1 else [f"S_noise = {self.S_noise:g} has no effect: eta is 0."]
        if len(sigmas) == 1:
            return ["With one noise level the only step is the last, after which no ancestral noise is added."]
        return []

    def land(self, dynamics: Dynamics, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor | None]:
        sigma, sigma_next = dynamics.sigma(t), dynamics.sigma(t_next)
        if self.eta == 0 or not sigma_next > 0:
            return t_next, None
        up = (self.eta * sigma_next * (1 - (sigma_next / sigma) ** 2).clip(min=0).sqrt()).minimum(sigma_next)
        if up == 0:  # a level again, where a denoiser rounds
            return t_next, up
        down = (sigma_next**2 - up**2).sqrt()  # variances add up: down^2 + up^2 = sigma_next^2
        t_down = dynamics.curve.t(down) if down > 0 else t_next * 0
        return t_down, self.S_noise * up
