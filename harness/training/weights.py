"""Loss weights lambda(sigma): one axis of the paper's training design space.

With the preconditioning of eq. 7 the loss at a level is an error of the raw network F against its target,

    lambda(sigma) |D - y|^2 = lambda(sigma) c_out(sigma)^2 |F - (y - c_skip x) / c_out|^2,   x = y + sigma n    (eq. 8)

so lambda c_out^2 is what an error of F effectively counts at that level. The weight of EDM makes it 1 everywhere.
Source: Karras et al. 2022 (arXiv 2206.00364), eq. 8, Table 1 and App. B.6.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from harness.core.config import Config, Positive, one_of

C_out = Callable[[Tensor], Tensor]
"""c_out(sigma) of a preconditioning, of sigma's shape."""


class LossWeight(Config):
    """A weight of the squared error of D."""

    @property
    @abstractmethod
    def formula(self) -> str:
        """The weight as an expression in sigma, sigma_data and c_out(sigma); reports print it."""

    @abstractmethod
    def __call__(self, sigma: Tensor, c_out: C_out, sigma_data: float) -> Tensor:
        """lambda(sigma), of sigma's shape.

        Args:
            sigma: any shape, in units of the data.
            c_out: of the preconditioning that is trained.
            sigma_data: standard deviation of the data, where the weight states none of its own.
        """


class Power(LossWeight):
    """1 / sigma^exponent; with 2 it counts the error in the noise, the columns VP, VE and iDDPM of Table 1.

    Args:
        exponent: 2 in the paper. A smaller one lets the high levels count more, 0 weighs all alike; the ideal denoiser
            is the same for all.
    """

    kind: Literal["power"] = "power"
    exponent: Annotated[float, Field(ge=0, le=2)] = 2.0

    @property
    def formula(self) -> str:
        return {0.0: "1", 1.0: "1/sigma"}.get(self.exponent, f"1/sigma**{self.exponent:g}")

    def __call__(self, sigma: Tensor, c_out: C_out, sigma_data: float) -> Tensor:
        return 1 / sigma**self.exponent


class InverseCOut(LossWeight):
    """1 / c_out^2 of whatever preconditioning: an error of the raw network counts the same at every level (eq. 8)."""

    kind: Literal["c_out"] = "c_out"

    @property
    def formula(self) -> str:
        return "1/c_out(sigma)**2"

    def __call__(self, sigma: Tensor, c_out: C_out, sigma_data: float) -> Tensor:
        return 1 / c_out(sigma) ** 2


class EDMWeight(LossWeight):
    """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2, which is 1 / c_out^2 of EDM. Table 1, column Ours.

    Args:
        sigma_data: standard deviation of the data; None: the recipe's.
    """

    kind: Literal["edm"] = "edm"
    sigma_data: Positive | None = None

    @property
    def formula(self) -> str:
        return "(sigma**2 + sigma_data**2)/(sigma*sigma_data)**2"

    def __call__(self, sigma: Tensor, c_out: C_out, sigma_data: float) -> Tensor:
        data = sigma_data if self.sigma_data is None else self.sigma_data
        return (sigma**2 + data**2) / (sigma * data) ** 2


class MinSNR(LossWeight):
    """min(1 / sigma^2, gamma): the signal-to-noise ratio of data with variance 1, cut off where there is little noise.

    Source: Hang et al. 2023 (arXiv 2303.09556), Sec. 3.4.

    Args:
        gamma: the largest weight, 5 in the paper.
    """

    kind: Literal["min_snr"] = "min_snr"
    gamma: Positive = 5.0

    @property
    def formula(self) -> str:
        return f"minimum(1/sigma**2, {self.gamma:g})"

    def __call__(self, sigma: Tensor, c_out: C_out, sigma_data: float) -> Tensor:
        return (1 / sigma**2).clamp(max=self.gamma)


LOSS_WEIGHTS = one_of(
    Power,
    InverseCOut,
    EDMWeight,
    MinSNR,
    aliases={
        "snr": {"kind": "power", "exponent": 2.0},
        "vp": {"kind": "power", "exponent": 2.0},
        "ve": {"kind": "power", "exponent": 2.0},
        "iddpm": {"kind": "power", "exponent": 2.0},
        "constant": {"kind": "power", "exponent": 0.0},
    },
)
WeightChoice = Annotated[LossWeight, LOSS_WEIGHTS]
