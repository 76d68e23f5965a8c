"""Noise schedules sigma(t) and scalings s(t): the first two rows of the paper's Table 1 (Karras et al. 2022).

A sample at time t is x = s(t) xbar with xbar = data + sigma(t) noise. The probability flow ODE is the same curve in
(xbar, sigma) whatever the schedule and scaling; they change how straight it is in (x, t), so how well a solver does.

A schedule is chosen by name and bound once to the noise range in use, `fit(sigma_min, sigma_max, epsilon_s)`, which
returns the curve: sigma(t), its derivative and its inverse. All times and noise levels are float64, dimensionless.
"""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.config import Config, one_of


class Curve(Config):
    """Base of all schedules bound to a noise range. Its methods work elementwise on float64 tensors of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise levels at times."""

    @abstractmethod
    def sigma_dot(self, t: Tensor) -> Tensor:
        """d sigma / dt at times."""

    @abstractmethod
    def t(self, sigma: Tensor) -> Tensor:
        """Times of noise levels, the inverse of `sigma`."""


class Schedule(Config):
    """Base of all schedules: a choice by name, which `fit` binds to a noise range."""

    formula: ClassVar[str]
    """sigma(t) as an expression."""

    kind: str

    @abstractmethod
    def fit(self, sigma_min: float, sigma_max: float, epsilon_s: float) -> Curve:
        """The curve with its constants solved.

        Args:
            sigma_min, sigma_max: noise range in use, in units of the data.
            epsilon_s: time of sigma_min where the schedule solves its constants from the range.
        """


class Linear(Schedule, Curve):
    """sigma(t) = t: time is the noise level itself.

    Source: Karras et al. 2022, Table 1, columns "Ours" and iDDPM + DDIM.
    """

    formula: ClassVar[str] = "t"

    kind: Literal["linear"] = "linear"

    def fit(self, sigma_min: float, sigma_max: float, epsilon_s: float) -> "Linear":
        return self

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def t(self, sigma: Tensor) -> Tensor:
        return sigma


class VE(Schedule, Curve):
    """sigma(t) = sqrt(t): variance exploding.

    Source: Karras et al. 2022, Table 1, column VE; Song et al. 2021.
    """

    formula: ClassVar[str] = "sqrt(t)"

    kind: Literal["ve"] = "ve"

    def fit(self, sigma_min: float, sigma_max: float, epsilon_s: float) -> "VE":
        return self

    def sigma(self, t: Tensor) -> Tensor:
        return t.sqrt()

    def sigma_dot(self, t: Tensor) -> Tensor:
        return 0.5 / t.sqrt()

    def t(self, sigma: Tensor) -> Tensor:
        return sigma**2


class VPCurve(Curve):
    """sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), t in (0, 1]: the variance preserving curve, betas solved.

    Source: Karras et al. 2022, Table 1, column VP, and eq. 152-163 (Appendix C.1).
    """

    beta_d: float
    beta_min: float

    def sigma(self, t: Tensor) -> Tensor:
        return torch.expm1(self._log_var(t)).sqrt()

    def sigma_dot(self, t: Tensor) -> Tensor:
        sigma = self.sigma(t)
        return 0.5 * (self.beta_d * t + self.beta_min) * (sigma + 1 / sigma)

    def t(self, sigma: Tensor) -> Tensor:
        root = (self.beta_min**2 + 2 * self.beta_d * torch.log1p(sigma**2)).sqrt()
        return (root - self.beta_min) / self.beta_d

    def _log_var(self, t: Tensor) -> Tensor:
        return 0.5 * self.beta_d * t**2 + self.beta_min * t


VP_DEFAULT = VPCurve(beta_d=19.9, beta_min=0.1)
"""The betas of Song et al. 2021, which give the default range of discretization `vp`."""


class VP(Schedule):
    """sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1): variance preserving, betas solved from the range.

    They are chosen so that sigma(1) = sigma_max and sigma(epsilon_s) = sigma_min. Under the default range of
    discretization `vp` this returns beta_d = 19.9 and beta_min = 0.1; under another, beta_min may be negative.
    Source: Karras et al. 2022, Table 1, column VP; Song et al. 2021.
    """

    formula: ClassVar[str] = "sqrt(exp(beta_d*t**2/2 + beta_min*t) - 1)"

    kind: Literal["vp"] = "vp"

    def fit(self, sigma_min: float, sigma_max: float, epsilon_s: float) -> VPCurve:
        low, high = (
            torch.tensor(sigma, dtype=torch.float64).square().log1p().item() for sigma in (sigma_min, sigma_max)
        )
        beta_d = 2 * (low / epsilon_s - high) / (epsilon_s - 1)
        return VPCurve(beta_d=beta_d, beta_min=high - 0.5 * beta_d)


class Flow(Schedule, Curve):
    """sigma(t) = t / (1 - t): the time of flow matching, 0 for data and 1 for noise, which is an infinite level.

    With the scaling of the same name x = (1 - t) data + t noise, and the ODE in (x, t) is the network's velocity.
    Source: Liu et al. 2023 (arXiv 2209.03003); Lipman et al. 2023 (arXiv 2210.02747).
    """

    formula: ClassVar[str] = "t/(1 - t)"

    kind: Literal["flow"] = "flow"

    def fit(self, sigma_min: float, sigma_max: float, epsilon_s: float) -> "Flow":
        return self

    def sigma(self, t: Tensor) -> Tensor:
        return t / (1 - t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return (1 - t) ** -2

    def t(self, sigma: Tensor) -> Tensor:
        return torch.where(sigma.isinf(), 1.0, sigma / (1 + sigma))


SCHEDULES = one_of(Linear, VE, VP, Flow, group="harness.schedules")


class Scaling(Config):
    """Base of all scalings: s as a function of sigma, elementwise on float64 tensors."""

    formula: ClassVar[str]
    """s as an expression in sigma."""

    kind: str

    @abstractmethod
    def s(self, sigma: Tensor) -> Tensor:
        """s at noise levels."""

    @abstractmethod
    def s_dot(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        """d s / dt at noise levels, from d sigma / dt."""


class NoScaling(Scaling):
    """s(t) = 1.

    Source: Karras et al. 2022, Table 1, columns VE, iDDPM + DDIM and "Ours".
    """

    formula: ClassVar[str] = "1"

    kind: Literal["none"] = "none"

    def s(self, sigma: Tensor) -> Tensor:
        return torch.ones_like(sigma)

    def s_dot(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        return torch.zeros_like(sigma)


class VPScaling(Scaling):
    """s = 1 / sqrt(1 + sigma^2), which keeps the variance of x near 1.

    Source: Karras et al. 2022, Table 1, column VP.
    """

    formula: ClassVar[str] = "1/sqrt(1 + sigma**2)"

    kind: Literal["vp"] = "vp"

    def s(self, sigma: Tensor) -> Tensor:
        return (1 + sigma**2).rsqrt()

    def s_dot(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        return -sigma * sigma_dot * (1 + sigma**2) ** -1.5


class FlowScaling(Scaling):
    """s = 1 / (1 + sigma): x is a straight line from data to noise.

    Source: Liu et al. 2023 (arXiv 2209.03003); Lipman et al. 2023 (arXiv 2210.02747).
    """

    formula: ClassVar[str] = "1/(1 + sigma)"

    kind: Literal["flow"] = "flow"

    def s(self, sigma: Tensor) -> Tensor:
        return 1 / (1 + sigma)

    def s_dot(self, sigma: Tensor, sigma_dot: Tensor) -> Tensor:
        return -sigma_dot * (1 + sigma) ** -2


SCALINGS = one_of(NoScaling, VPScaling, FlowScaling, group="harness.scalings")
