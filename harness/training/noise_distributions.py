"""Distributions of the noise level in training, p_train(sigma): one axis of the paper's training design space.

    loss = E_{sigma ~ p_train} E_{y ~ p_data} E_{n ~ N(0, I)} lambda(sigma) |D(y + sigma n; sigma) - y|^2

A distribution says how often each level is trained, a weight (`harness.training.weights`) how much an error counts
there. Source: Karras et al. 2022 (arXiv 2206.00364), eq. 2 and 8, Sec. 5 and Table 1.
"""

import math
from abc import abstractmethod
from functools import lru_cache
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from harness.core.config import Config, Finite, Positive, one_of, unwritten
from harness.denoisers.preconditioning.continuous import vp_sigma
from harness.denoisers.preconditioning.discrete import iddpm_levels

TAIL = 5.0
"""Standard deviations within which a normal variable practically always lies."""


class Levels(NamedTuple):
    """The ends of the noise levels that a distribution draws, in units of the data."""

    low: float
    high: float


class NoiseDistribution(Config):
    """A distribution of noise levels.

    Attributes:
        distribution: what is drawn, in words.
    """

    distribution: ClassVar[str]

    @abstractmethod
    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        """Noise levels [n, 1, 1, 1] float32 on the CPU, in units of the data; uses one draw of the generator."""

    @abstractmethod
    def ends(self) -> Levels:
        """The least and the greatest level; of an unbounded distribution, those five standard deviations out."""

    @abstractmethod
    def density(self, sigma: np.ndarray) -> np.ndarray:
        """Probability density of ln sigma at levels, float64 of any shape; 0 where no level is drawn."""


class VPNoise(NoiseDistribution):
    """Variance preserving: sigma(t) with t uniform between epsilon_t and 1. Table 1, column VP.

    sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1.  Source: Song et al. 2021 (arXiv 2011.13456), App. C.

    Args:
        beta_d: slope of the noise rate, unitless.
        beta_min: noise rate at t = 0, unitless.
        epsilon_t: smallest t, in (0, 1).
    """

    distribution: ClassVar[str] = "sigma(t) with t uniform between epsilon_t and 1"

    kind: Literal["vp"] = "vp"
    beta_d: Positive = 19.9
    beta_min: Positive = 0.1
    epsilon_t: Annotated[float, Field(gt=0, lt=1)] = 1e-5

    def sigma(self, t: Tensor) -> Tensor:
        """Noise level at time t, in t's own arithmetic: in float32 these are the levels of published models."""
        return vp_sigma(t, self.beta_d, self.beta_min)

    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        # t = 1 - (1 - epsilon_t) u, from 1 down
        return self.sigma(1 + torch.rand([n, 1, 1, 1], generator=generator) * (self.epsilon_t - 1))

    def ends(self) -> Levels:
        low, high = self.sigma(torch.tensor([self.epsilon_t, 1.0], dtype=torch.float64)).tolist()
        return Levels(low, high)

    def density(self, sigma: np.ndarray) -> np.ndarray:
        # ln sigma = ln(e^a - 1) / 2 with a(t) = beta_d t^2 / 2 + beta_min t, so d ln sigma / dt = a' / (2 (1 - e^-a))
        a = np.log1p(sigma**2)
        slope = np.sqrt(self.beta_min**2 + 2 * self.beta_d * a)  # a'(t) = beta_d t + beta_min
        inside = (self.ends().low <= sigma) & (sigma <= self.ends().high)
        return np.where(inside, -2 * np.expm1(-a) / slope / (1 - self.epsilon_t), 0.0)


class LogUniform(NoiseDistribution):
    """Uniform in log sigma between the ends. Table 1, column VE.

    Args:
        sigma_min: smallest noise level, in units of the data.
        sigma_max: largest noise level.
    """

    distribution: ClassVar[str] = "log sigma uniform between log sigma_min and log sigma_max"

    kind: Literal["log_uniform"] = "log_uniform"
    sigma_min: Positive = 0.02
    sigma_max: Positive = 100.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min = {self.sigma_min:g} must be below sigma_max = {self.sigma_max:g}")
        return self

    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        u = torch.rand([n, 1, 1, 1], generator=generator)
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** u

    def ends(self) -> Levels:
        return Levels(self.sigma_min, self.sigma_max)

    def density(self, sigma: np.ndarray) -> np.ndarray:
        inside = (self.sigma_min <= sigma) & (sigma <= self.sigma_max)
        return np.where(inside, 1 / math.log(self.sigma_max / self.sigma_min), 0.0)


class IDDPMNoise(NoiseDistribution):
    """Improved DDPM: all levels u_j of the cosine schedule equally likely. Table 1, column iDDPM.

    u_0 is the largest; u_M = 0 is never drawn. The levels are those of `IDDPMPrecond` with the same numbers.
    Source: Nichol and Dhariwal 2021 (arXiv 2102.09672), eq. 17.

    Args:
        C_1: least ratio of two neighbouring shares of the signal; C_2: offset of the cosine; M: number of levels.
    """

    distribution: ClassVar[str] = "u(j) with j uniform in 0 to M − 1"

    kind: Literal["iddpm"] = "iddpm"
    C_1: Annotated[Positive, unwritten(0.001)] = 0.001
    C_2: Annotated[Positive, unwritten(0.008)] = 0.008
    M: Annotated[int, Field(ge=2), unwritten(1000)] = 1000

    def levels(self) -> Tensor:
        """u_0 to u_{M-1}, [M] float32."""
        return _levels(self.M, self.C_1, self.C_2)

    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        levels = self.levels()
        return levels[torch.randint(len(levels), [n, 1, 1, 1], generator=generator)]

    def ends(self) -> Levels:
        levels = self.levels()
        return Levels(levels[-1].item(), levels[0].item())

    def density(self, sigma: np.ndarray) -> np.ndarray:
        """That of levels spread evenly in ln sigma between each and the next: the levels themselves are discrete."""
        rising = np.log(self.levels().double().numpy()[::-1])
        place = np.searchsorted(rising, np.log(sigma), side="right").clip(1, len(rising) - 1)
        gaps = rising[place] - rising[place - 1]
        inside = (rising[0] <= np.log(sigma)) & (np.log(sigma) <= rising[-1])
        return np.where(inside, 1 / ((len(rising) - 1) * gaps), 0.0)


@lru_cache
def _levels(M: int, C_1: float, C_2: float) -> Tensor:
    return iddpm_levels(M, C_1, C_2)[:-1]


class LogNormal(NoiseDistribution):
    """log sigma normal: the paper's own. Table 1, column Ours.

    With P_mean = m and P_std = s this is also the logit-normal time of flow matching: t = sigma / (1 + sigma) has
    logit t = ln sigma. A shift of time by a factor a, as large images have it, adds ln a to the mean.
    Sources: Karras et al. 2022, Table 1; Esser et al. 2024 (arXiv 2403.03206), Sec. 3.1.

    Args:
        P_mean: mean of ln sigma.
        P_std: standard deviation of ln sigma.
    """

    distribution: ClassVar[str] = "log sigma normal with mean P_mean and standard deviation P_std"

    kind: Literal["lognormal"] = "lognormal"
    P_mean: Finite = -1.2
    P_std: Positive = 1.2

    def draw(self, n: int, generator: Generator | None = None) -> Tensor:
        return (torch.randn([n, 1, 1, 1], generator=generator) * self.P_std + self.P_mean).exp()

    def ends(self) -> Levels:
        return Levels(*(math.exp(self.P_mean + side * TAIL * self.P_std) for side in (-1, 1)))

    def density(self, sigma: np.ndarray) -> np.ndarray:
        z = (np.log(sigma) - self.P_mean) / self.P_std
        return np.exp(-(z**2) / 2) / (self.P_std * math.sqrt(2 * math.pi))


NOISE_DISTRIBUTIONS = one_of(
    VPNoise,
    LogUniform,
    IDDPMNoise,
    LogNormal,
    aliases={
        "ve": {"kind": "log_uniform"},
        "edm": {"kind": "lognormal"},
        "flow": {"kind": "lognormal", "P_mean": 0.0, "P_std": 1.0},
    },
)
NoiseChoice = Annotated[NoiseDistribution, NOISE_DISTRIBUTIONS]
