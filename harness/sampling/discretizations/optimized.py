"""Levels that are found for a denoiser by dynamic programming; the search itself is in `harness.sampling.optimize`."""

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from harness.core.config import Positive, freeze
from harness.core.errors import InputError
from harness.sampling.discretizations.base import Discretization, Range, check_supported
from harness.sampling.discretizations.explicit import check_descent


def _keep_none(value: Any) -> Any:
    return None if value is None else freeze(value)


class Optimized(Discretization):
    """Levels that minimise the truncation error on this denoiser, found over a fine reference trajectory.

    From `reference` levels (eq. 5 with this rho) those n are chosen, both ends among them, whose steps have the least
    sum of errors against the reference, by dynamic programming. The search runs once for a denoiser, costs about
    2 * reference * seeds evaluations, none of them counted as the sampler's NFE, and is kept: its levels are part of
    the trial.

    Args:
        reference: levels of the fine trajectory, which Heun's method follows; 16 to 1024.
        seeds: samples that the error is averaged over, from seeds outside any run (2^31 on).
        error: the step that is judged: `trapezoid`, on the predicted noise at both ends, which stands for methods of
            second order and serves the others as well, or `euler`, on that at its start (as GITS does).
        decay: count an error by what is left of it at the end, as the flow of a Gaussian would leave it.
        growth: factor on the error so far at every further step, >= 1; GITS uses 1.15, and no decay.
        rho: of the reference levels.
        sigma_min, sigma_max: noise range, in units of the data.
        levels: what was found; filled in by the program, and used as they are where given.

    Source: Chen et al. 2024 (arXiv 2405.11326, GITS), Section 4.
    """

    kind: Literal["optimized"] = "optimized"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    reference: Annotated[int, Field(ge=16, le=1024)] = 128
    seeds: Annotated[int, Field(ge=2, le=4096)] = 64
    error: Literal["trapezoid", "euler"] = "trapezoid"
    decay: bool = True
    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    rho: Positive = 7.0
    levels: Annotated[tuple[Positive, ...] | None, BeforeValidator(_keep_none)] = None

    @model_validator(mode="after")
    def _fall(self) -> "Optimized":
        check_descent(self.levels or ())
        return self

    @property
    def count(self) -> int | None:
        return len(self.levels) if self.levels else None

    @property
    def is_open(self) -> bool:
        return self.levels is None

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The range to search, or that of the levels as given.

        Raises:
            InputError: nothing is left of the range, or a level that the denoiser does not support.
        """
        if self.levels is None:
            return super().clamp(sigma_min, sigma_max)
        check_supported(self.kind, self.levels, sigma_min, sigma_max)
        return Range(self.levels[-1], self.levels[0])

    def __call__(self, n: int, within: Range) -> Tensor:
        if self.levels is None:
            raise InputError(
                "discretization 'optimized' has no levels yet; they are found by `harness.sample` or a run"
            )
        if n != len(self.levels):
            raise InputError(
                f"discretization 'optimized' was given {len(self.levels)} levels and cannot make {n} steps; leave out "
                "`levels`, so that they are found"
            )
        return torch.tensor(self.levels, dtype=torch.float64)
