"""The reverse SDE of the paper's eq. 6, in (x, t), with beta(t) as a choice of forms.

Running down in time, with eps = (xbar - D) / sigma in place of the score -sigma grad log p,

    dx = [drift of the ODE + s beta sigma eps] dt + s sqrt(2 beta) sigma dw

beta(t) is the relative rate at which noise is replaced by new noise. beta = sigma' / sigma gives the SDEs of Song et
al.; beta = 0 is the ODE.
"""

import math
from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from harness.core.config import Config, Positive, Real, one_of
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.window import check_window, empty_window

Scale = Positive


class Rate(Config):
    """Base of all forms of beta(t)."""

    kind: str

    @abstractmethod
    def __call__(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        """beta at noise levels, from d sigma / dt, elementwise."""

    def notes(self, sigmas: Tensor) -> list[str]:
        """What of it has no effect on steps that start at these noise levels, in sentences."""
        return []


class SongRate(Rate):
    """beta = scale sigma'(t) / sigma(t): with scale 1 the SDEs of Song et al. 2021, whatever the schedule."""

    kind: Literal["song"] = "song"
    scale: Scale = 1.0

    def __call__(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        return self.scale * sigma_dot / sigma


class ConstantRate(Rate):
    """beta = scale, per unit of t: the same share of the noise is replaced in any time of the same length."""

    kind: Literal["constant"] = "constant"
    scale: Scale = 1.0

    def __call__(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        return torch.full_like(sigma, self.scale)


class WindowRate(Rate):
    """beta = scale sigma'(t) / sigma(t) at noise levels from S_tmin to S_tmax, else 0: a window as for churn.

    On levels of equal ratios churn at a constant gamma has this as its limit.

    Args:
        scale: unitless.
        S_tmin, S_tmax: window of noise levels, both ends included; S_tmax may be infinite ("inf").
    """

    kind: Literal["window"] = "window"
    scale: Scale = 1.0
    S_tmin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    S_tmax: Annotated[Real, Field(ge=0)] = math.inf

    @model_validator(mode="after")
    def _window(self) -> "WindowRate":
        check_window(self.S_tmin, self.S_tmax)
        return self

    def notes(self, sigmas: Tensor) -> list[str]:
        if bool(((sigmas >= self.S_tmin) & (sigmas <= self.S_tmax)).any()):
            return []
        return [f"{empty_window(self.S_tmin, self.S_tmax)}: no noise is replaced."]

    def __call__(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        inside = (sigma >= self.S_tmin) & (sigma <= self.S_tmax)
        return torch.where(inside, self.scale * sigma_dot / sigma, 0.0)


RATES = one_of(SongRate, ConstantRate, WindowRate)


def drift(dynamics: Dynamics, point: Point, rate: Rate) -> Tensor:
    """The SDE's drift at an evaluated point."""
    beta = rate(point.sigma, dynamics.curve.sigma_dot(point.t))
    return point.drift + point.s * beta * point.sigma * point.eps


def diffusion(dynamics: Dynamics, t: Tensor, rate: Rate) -> Tensor:
    """The SDE's diffusion coefficient s sqrt(2 beta) sigma at time t, elementwise."""
    sigma = dynamics.sigma(t)
    beta = rate(sigma, dynamics.curve.sigma_dot(t))
    return dynamics.s(t) * (2 * beta).sqrt() * sigma
