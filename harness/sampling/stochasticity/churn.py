"""The paper's stochastic sampler: raise the noise level before each step of an ODE solver (Algorithm 2)."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from harness.core.config import Finite, Real
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import Dynamics
from harness.sampling.stochasticity.base import USUAL_NOISE, Stochasticity
from harness.sampling.stochasticity.deterministic import Deterministic
from harness.sampling.window import check_window, empty_window

GAMMA_MAX = math.sqrt(2) - 1
"""Upper limit on gamma: never more new noise than there is already (paper, Section 4)."""


class Churn(Stochasticity):
    """Raise the noise to sigma (1 + gamma) before each step (paper Algorithm 2).

    gamma = min(S_churn / N, sqrt(2) - 1) where S_tmin <= sigma <= S_tmax, else 0; the noise added has standard
    deviation S_noise s(t_hat) sqrt(sigma_hat^2 - sigma^2). One float64 normal per sample is drawn at every step, also
    where gamma = 0, as the official sampler does; nothing is then added. `diffusers`' EDMEuler evaluates the network
    before it adds the noise, which is another sampler.

    Args:
        S_churn: overall amount, >= 0; above 0.414 N it is the same sampler, since gamma is clamped.
        S_tmin, S_tmax: window of noise levels, both ends included, >= 0; S_tmax may be infinite ("inf").
        S_noise: inflation of the new noise, > 0, unitless; slightly above 1 makes up for detail that is lost.

    Source: Karras et al. 2022, Algorithm 2 and Table 5.
    """

    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["churn"] = "churn"
    S_churn: Annotated[Finite, Field(ge=0)] = 0.0
    S_tmin: Annotated[Finite, Field(ge=0)] = 0.0
    S_tmax: Annotated[Real, Field(ge=0)] = math.inf
    S_noise: Annotated[Finite, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _window(self) -> "Churn":
        check_window(self.S_tmin, self.S_tmax)
        return self

    @property
    def is_stochastic(self) -> bool:
        return True

    @property
    def keeps_history(self) -> bool:
        return False

    def counted(self, has_fixed_stages: bool) -> Stochasticity:
        # It evaluates nothing itself. Noise of usual size leads no state to infinity.
        return Deterministic() if has_fixed_stages and self.S_noise <= USUAL_NOISE else self

    def notes(self, sigmas: Tensor, denoiser: Denoiser) -> list[str]:
        if self.S_churn == 0:
            return [] if self.S_noise == 1 else [f"S_noise = {self.S_noise:g} has no effect: S_churn is 0."]
        levels = sigmas.tolist()
        inside = [index for index, sigma in enumerate(levels) if self.S_tmin <= sigma <= self.S_tmax]
        if not inside:
            return [f"{empty_window(self.S_tmin, self.S_tmax)}: churn adds no noise."]
        raised = denoiser.round_sigma(sigmas * (1 + self.gamma(levels[inside[0]], len(levels)))).tolist()
        if all(raised[index] <= levels[index] for index in inside):
            return [f"S_churn = {self.S_churn:g} raises no noise level to another: churn adds no noise."]
        if self.S_churn / len(sigmas) > GAMMA_MAX:
            return [f"S_churn = {self.S_churn:g} is above its clamp, 0.414 N, and acts as 0.414 N."]
        return []

    def gamma(self, sigma: float, steps: int) -> float:
        """Relative increase of the noise level at `sigma`."""
        return min(self.S_churn / steps, GAMMA_MAX) if self.S_tmin <= sigma <= self.S_tmax else 0.0

    def lift(self, dynamics: Dynamics, x: Tensor, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        noise = dynamics.noise()
        sigma = dynamics.sigma(t)
        gamma = self.gamma(sigma.item(), steps)
        if gamma == 0:
            return x, t
        t_hat = dynamics.curve.t(dynamics.denoiser.round_sigma(sigma * (1 + gamma)).cpu())
        sigma_hat, s_hat = dynamics.sigma(t_hat), dynamics.s(t_hat)
        # brings the variance of the noise in x from (s_hat sigma)^2 to (s_hat sigma_hat)^2
        added = (sigma_hat**2 - sigma**2).clip(min=0).sqrt() * s_hat * self.S_noise
        return s_hat / dynamics.s(t) * x + added * noise, t_hat
