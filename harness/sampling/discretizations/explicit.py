"""Levels written out one by one."""

import itertools
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from harness.core.config import Real, freeze
from harness.core.errors import InputError
from harness.sampling.discretizations.base import Discretization, Range, check_supported

MAX_LEVELS = 100_000

ROUNDING = 3e-4
"""How far beyond an end of the denoiser's range a level may lie, relative; it is taken for the end.

Other tools keep abar in float32, to 2^-25 near 1, so their lowest level is off by up to 2^-26 / sigma^2, relative. In
tables of 1000 and 2000 steps (linear, scaled_linear, cosine) it is off by up to 2.6e-4, and the highest by 7e-6. Two
levels at an end of such tables are 6e-3 apart or more.
"""

Level = Annotated[Real, Field(gt=0)]
Sigmas = Annotated[tuple[Level, ...], BeforeValidator(freeze), Field(min_length=1, max_length=MAX_LEVELS)]


def check_descent(sigmas: tuple[float, ...]) -> None:
    """Levels that a sampler can follow fall strictly.

    Raises:
        ValueError: with the first pair that does not.
    """
    for index, (high, low) in enumerate(itertools.pairwise(sigmas)):
        if not high > low:
            raise ValueError(f"levels must fall; number {index + 2} is {low:g} after {high:g}")


class Explicit(Discretization):
    """The levels as listed, highest first; `steps` is their number, and the final 0 is left out.

    Args:
        sigmas: noise levels, falling, in units of the data. All must lie in the denoiser's range; one that is beyond an
            end by less than `ROUNDING` is taken for the end. The first may be "inf", as for `flow`.
        sigma_min, sigma_max: not to be given; the list has them.

    Source: the user; for instance the lists of Sabour et al. 2024 (arXiv 2404.14507).
    """

    kind: Literal["explicit"] = "explicit"
    sigma_min: None = None
    sigma_max: None = None
    sigmas: Sigmas

    @model_validator(mode="after")
    def _fall(self) -> "Explicit":
        check_descent(self.sigmas)
        return self

    @property
    def count(self) -> int:
        return len(self.sigmas)

    def default_range(self) -> Range:
        return Range(min(self.sigmas), max(self.sigmas))

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The list's own range, without what lies beyond the denoiser's by rounding.

        Raises:
            InputError: a level that the denoiser does not support.
        """
        check_supported(self.kind, self.sigmas, sigma_min, sigma_max, ROUNDING)
        own = self.default_range()
        return Range(max(own.low, sigma_min), min(own.high, sigma_max))

    def __call__(self, n: int, within: Range) -> Tensor:
        if n != len(self.sigmas):
            raise InputError(
                f"discretization 'explicit' lists {len(self.sigmas)} levels and cannot make {n} steps; leave out steps "
                "and nfe, or list as many levels"
            )
        return torch.tensor(self.sigmas, dtype=torch.float64).clamp(within.low, within.high)
