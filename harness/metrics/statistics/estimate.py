"""A number about a set of generated samples, with what the jackknife needs: the same number without each block.

The N samples stand in order and are cut into g consecutive blocks of m_1, ..., m_g. For a mean of values v the number
without block j is

    (sum v - sum_j v) / (N - m_j)

and every other statistic in this package is brought to sums over blocks, or to the smallest few of each block, so that
the g numbers cost one pass. `harness.metrics.statistics.jackknife.jackknife` turns them into an interval.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.metrics.statistics.jackknife import CONFIDENCE, Interval, jackknife


class Estimate(NamedTuple):
    """A statistic of all samples and without each block.

    Args:
        value: the statistic of all samples.
        replicates: [g] the statistic without block j; empty where leaving one out leaves too little.
        sizes: [g] samples in each block.
        details: what else belongs in a report, as plain numbers, strings, lists and dicts.
    """

    value: float
    replicates: np.ndarray
    sizes: np.ndarray
    details: dict[str, Any]

    def interval(self, confidence: float = CONFIDENCE) -> Interval | None:
        """The jackknife interval; None without replicates."""
        return jackknife(self.value, self.replicates, self.sizes, confidence)


def block_sizes(sizes: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """Sizes [g] of consecutive blocks of n samples, int64, empty blocks left aside.

    Raises:
        InputError: not whole numbers of at least 0, or another sum than n.
    """
    given = np.asarray(sizes)
    if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
        raise InputError(f"block sizes must be a list of whole numbers, at least 0; we got {sizes!r}")
    if given.sum() != n:
        raise InputError(f"block sizes must add up to the number of samples, {n}; we got {int(given.sum())}")
    return given[given > 0].astype(np.int64)


def can_leave_out(sizes: np.ndarray, least: int) -> bool:
    """Whether at least `least` samples stay, and one block, whichever of the blocks is left out."""
    return len(sizes) > 1 and bool(sizes.sum() - sizes.max() >= least)


def block_labels(sizes: np.ndarray) -> np.ndarray:
    """The block [N] of each sample, int64, ascending."""
    return np.repeat(np.arange(len(sizes)), sizes)


def block_sums(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The sums [g] of values [N] over each block, float64."""
    return np.add.reduceat(values.astype(np.float64), np.cumsum(sizes) - sizes)


def mean_estimate(values: np.ndarray, sizes: np.ndarray, details: dict[str, Any]) -> Estimate:
    """The mean of values [N] over samples; sizes [g] as from `block_sizes`."""
    sums = block_sums(values, sizes)
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes) if can_leave_out(sizes, 1) else np.empty(0)
    return Estimate(float(sums.sum() / sizes.sum()), left_out, sizes, details)
