"""A number a sample: its mean, how far that would move with other seeds, and how it is spread over samples."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from harness.core.errors import InputError
from harness.metrics.statistics.jackknife import CONFIDENCE, jackknife

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Mean(NamedTuple):
    """The mean of values [N] with its jackknife: without each block of seeds, and where the blocks start."""

    value: float
    low: float | None
    high: float | None
    replicates: list[float]
    starts: list[int]


def mean(values: np.ndarray, blocks: int) -> Mean:
    """The mean over samples, with an interval over at most so many blocks of consecutive ones.

    Raises:
        InputError: no values.
    """
    if not len(values):
        raise InputError("a mean needs at least one value")
    cut = np.array_split(values, min(blocks, len(values)))
    sizes = np.array([len(part) for part in cut])
    sums = np.array([part.sum() for part in cut])
    full = float(values.mean())
    starts = [int(start) for start in np.cumsum(sizes) - sizes]
    if len(cut) < 2:
        return Mean(full, None, None, [], starts)
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    found = jackknife(full, left_out, sizes)
    assert found is not None
    return Mean(full, found.low, found.high, left_out.tolist(), starts)


def quantiles(values: np.ndarray) -> dict[str, float]:
    """How values are spread over samples: quantile -> value."""
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def profile(levels: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Values [N, K] by noise level [K] as lists: mean, its 95 % interval over samples (Student's t), and quartiles."""
    n = len(values)
    middle = values.mean(0)
    reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * values.std(0, ddof=1) / np.sqrt(n) if n > 1 else 0 * middle
    lower, upper = np.quantile(values, (0.25, 0.75), axis=0)
    columns = {"level": levels, "mean": middle, "low": middle - reach, "high": middle + reach}
    return {name: column.tolist() for name, column in (columns | {"lower": lower, "upper": upper}).items()}
