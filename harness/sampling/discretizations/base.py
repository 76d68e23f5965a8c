"""What every discretization has: a noise range, clamped to what the denoiser was trained for.

A discretization gives noise levels, not times: the schedule in use maps them to t, and the sampler appends the final
0. Each has its own default range, clamped to what the denoiser was trained for before `__call__(n, within)` lays out n
levels over what is left: float64 [n], descending, the first at the top of the range (except for `iddpm`'s fixed table).
Only `flow`, whose steps are in time, and `explicit` may start at an infinite level.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import field_validator
from torch import Tensor

from harness.core.config import Config, Positive
from harness.core.errors import InputError


class Range(NamedTuple):
    """The noise range in use, in units of the data: lowest and highest level, both reached."""

    low: float
    high: float


class Discretization(Config):
    """What every discretization has: a noise range, and the VP schedule's smallest time under that range."""

    formula: ClassVar[str] = ""
    """Level i of N as an expression; empty where there is none."""

    kind: str
    sigma_min: Positive | None
    sigma_max: Positive | None

    @field_validator("sigma_max", mode="before", check_fields=False)
    @classmethod
    def _finite(cls, value: Any) -> Any:
        if value in ("inf", math.inf):
            raise ValueError(
                "levels that are spaced in sigma need a finite sigma_max; discretization 'flow' is spaced in time and "
                "starts at t = 1, where sigma is infinite"
            )
        return value

    @abstractmethod
    def __call__(self, n: int, within: Range) -> Tensor:
        """The levels.

        Args:
            n: how many.
            within: noise range in use, from `clamp`.

        Returns:
            float64 [n], descending.
        """

    @property
    def count(self) -> int | None:
        """How many levels it has, where it lists them."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether its levels are still to be found for a denoiser."""
        return False

    def notes(self, within: Range) -> list[str]:
        """Ends of the range that were given and are not used, in sentences.

        Args:
            within: noise range in use, from `clamp`.
        """
        ends = (("sigma_max", self.sigma_max, within.high), ("sigma_min", self.sigma_min, within.low))
        return [
            f"{name} = {asked:g} is not within the denoiser's range, and {used:.4g} is taken."
            for name, asked, used in ends
            if name in self.model_fields_set and asked is not None and asked != used
        ]

    @property
    def vp_epsilon(self) -> float:
        """The time that the VP schedule gives to the lowest level."""
        return 1e-3

    def default_range(self) -> Range:
        """The range where the choice names none."""
        return Range(0.0, math.inf)

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The part of this choice's range that the denoiser supports.

        Raises:
            InputError: nothing is left of the range.
        """
        default = self.default_range()
        asked = Range(self.sigma_min or default.low, self.sigma_max or default.high)
        low, high = max(asked.low, sigma_min), min(asked.high, sigma_max)
        if not 0 < low < high < math.inf:
            raise InputError(
                f"no noise range is left: the discretization asks for {asked.low:g} to {asked.high:g} and the denoiser "
                f"supports {sigma_min:g} to {sigma_max:g}; set sigma_min below sigma_max, within the denoiser's range"
            )
        return Range(low, high)


def repeated_levels(sigmas: Tensor, of: str = "") -> list[str]:
    """The note that some of the falling noise levels [N] are equal, as where a denoiser rounds them; none if they fall.

    Args:
        sigmas: the levels.
        of: whose they are, if not the sampler's own.
    """
    count = int((sigmas[1:] == sigmas[:-1]).sum())
    if not count:
        return []
    some = f"{count} of {len(sigmas)} noise levels {of}".rstrip()
    return [f"{some} repeat the one before: those steps cost evaluations and take away no noise."]


def check_supported(
    kind: str, sigmas: Sequence[float], sigma_min: float, sigma_max: float, rounding: float = 1e-9
) -> None:
    """Levels that are not laid out over a range have to lie in the denoiser's.

    Args:
        kind: of the discretization.
        sigmas: the levels.
        sigma_min, sigma_max: range of the denoiser.
        rounding: how far beyond an end a level may lie, relative; by default what arithmetic in float64 adds.

    Raises:
        InputError: with the first level that does not.
    """
    for sigma in sigmas:
        if not sigma_min / (1 + rounding) <= sigma <= sigma_max * (1 + rounding):
            raise InputError(
                f"discretization '{kind}' lists {sigma:g}, outside the denoiser's range {sigma_min:g} to "
                f"{sigma_max:g}; remove it"
            )


def to_ends(levels: Tensor, within: Range) -> Tensor:
    """Levels [n] freed of rounding at the ends of the range: the first and the last are the ends themselves."""
    levels[-1] = within.low
    levels[0] = within.high  # a single level sits at the top
    return levels


def fractions(n: int) -> Tensor:
    """i / (n - 1) for i < n as float64 [n]; a single level sits at the top."""
    return torch.arange(n, dtype=torch.float64) / max(n - 1, 1)
