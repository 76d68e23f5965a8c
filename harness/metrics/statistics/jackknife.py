"""How far a statistic would move with other seeds: the delete-one-block jackknife.

The seeds are cut into g consecutive blocks of m_j, together n. With theta the statistic of all samples, theta_(j) that
without block j, and h_j = n / m_j, the pseudo-values and their variance are

    tau_j = h_j theta - (h_j - 1) theta_(j)        se^2 = (1/g) sum_j (tau_j - tau)^2 / (h_j - 1)

with tau = sum_j tau_j / h_j (Busing, Meijer and van der Leeden 1999, "Delete-m jackknife for unequal m").
For equal blocks this is Tukey's (g - 1)/g sum_j (theta_(j) - mean theta_(.))^2 (Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", eq. 11.5). The interval is theta +- t se, with Student's t at g - 1 degrees of
freedom.

What the interval says: where the distance at this n would fall with other seeds. What it does not say: the distance at
infinite n. The Frechet distance of finite sets is too large by about c / n, where c depends on the sampler, and no
interval around theta takes that away; so distances are compared at one n only, or by `corrected`, whose estimate is
tau, in which the term of 1/n cancels. When the true distance is zero, so that all of the value is this bias, the
jackknife's se is too large rather than too small.

For a mean of values v the number without block j is (sum v - sum_j v) / (n - m_j); every other statistic of this
package is brought to sums over blocks, or to the smallest few of each block, so that the g numbers cost one pass.

Two samplers that used the same seeds are compared by the jackknife of their difference, block by block: what both share
cancels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.core.errors import InputError

CONFIDENCE = 0.95

BLOCKS = 12
"""Blocks of seeds that are left out one at a time: as many as a rule on a curve asks for."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ROUNDING = 1e-9
"""Two distances closer than this part of their size are equal: floating-point noise decides nothing."""


class Interval(NamedTuple):
    """An estimate, its jackknife standard error, and the two-sided interval from low to high."""

    estimate: float
    se: float
    low: float
    high: float
    blocks: int


class Replicates(NamedTuple):
    """The distance of one sampler with all blocks and without each.

    Args:
        full: the distance of all samples.
        left_out: [g] distances without block j; empty where no interval can be had.
        sizes: [g] samples in each block; the same length.
    """

    full: float
    left_out: np.ndarray
    sizes: np.ndarray

    @classmethod
    def stored(cls, value: float, replicates: Sequence[float], blocks: Sequence[int], end: int) -> "Replicates":
        """From what a result row holds.

        Args:
            value: the distance of all samples.
            replicates: that without each block; empty where there are none.
            blocks: first seed of each block; empty where there are none.
            end: the seed after the last.
        """
        sizes = np.diff([*blocks, end]) if len(blocks) else np.empty(0, dtype=int)
        return cls(value, np.array(replicates, dtype=float), sizes)


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


class Comparison(NamedTuple):
    """Two samplers, a and b, on the same seeds; lower is better.

    Args:
        difference: FD_a - FD_b; None with fewer than 2 blocks.
        ratio: FD_a / FD_b, its interval from that of the logarithm, so not symmetric, and its se that of the logarithm
            times the ratio; None as well where a distance is not above zero.
        verdict: which is better, or undecided where the interval of the difference holds zero or is missing.
    """

    difference: Interval | None
    ratio: Interval | None
    verdict: Literal["a better", "b better", "undecided"]


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


def quantiles(values: np.ndarray) -> dict[str, float]:
    """How values are spread over samples: quantile -> value."""
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def jackknife(full: float, left_out: np.ndarray, sizes: np.ndarray, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of any statistic from its value with all blocks and without each.

    Args:
        full: the statistic of all samples.
        left_out: [g] the statistic without block j.
        sizes: [g] samples in each block.
        confidence: probability that the interval is to hold, between 0 and 1.

    Returns:
        None with fewer than 2 blocks.
    """
    if len(left_out) < 2:
        return None
    about = jackknife_of(pseudo_values(Replicates(full, left_out, sizes)), sizes, confidence)
    reach = about.high - about.estimate
    return Interval(full, about.se, full - reach, full + reach, about.blocks)


def pseudo_values(replicates: Replicates) -> np.ndarray:
    """The pseudo-values tau_j [g], whose mean is free of the statistic's bias of 1/n."""
    h = 1 / shares_of(replicates.sizes)
    return h * replicates.full - (h - 1) * replicates.left_out


def shares_of(sizes: np.ndarray) -> np.ndarray:
    """The share 1/h_j [g] of all samples that each block holds."""
    return sizes / sizes.sum()


def jackknife_of(pseudo: np.ndarray, sizes: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """The interval of the jackknife's own estimate, the mean of the pseudo-values: of the statistic at infinite n.

    Args:
        pseudo: [g] pseudo-values, at least 2.
        sizes: [g] samples in each block.
        confidence: probability that the interval is to hold, between 0 and 1.
    """
    from scipy.special import stdtrit

    shares, g = shares_of(sizes), len(sizes)
    mean = float(shares @ pseudo)
    se = math.sqrt(float(np.mean((pseudo - mean) ** 2 / (1 / shares - 1))))
    reach = float(stdtrit(g - 1, (1 + confidence) / 2)) * se
    return Interval(mean, se, mean - reach, mean + reach, g)


def corrected(replicates: Replicates, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of a distance at infinite n, free of the bias of 1/n; None with fewer than 2 blocks."""
    if len(replicates.left_out) < 2:
        return None
    return jackknife_of(pseudo_values(replicates), replicates.sizes, confidence)


def compare(a: Replicates, b: Replicates, confidence: float = CONFIDENCE, at_infinity: bool = False) -> Comparison:
    """Which of two samplers on the same blocks of seeds has the lower distance.

    Args:
        a, b: the two.
        confidence: of the intervals.
        at_infinity: the difference is that at infinite n, free of the bias of 1/n, which is another for each sampler.

    Raises:
        InputError: the blocks have unequal sizes, so they cannot be the same seeds.
    """
    difference = _of_both(np.subtract, a, b, confidence)
    if at_infinity and difference is not None:
        difference = jackknife_of(pseudo_values(a) - pseudo_values(b), a.sizes, confidence)
    verdict: Literal["a better", "b better", "undecided"] = "undecided"
    if difference is not None and abs(difference.estimate) > ROUNDING * max(abs(a.full), abs(b.full)):
        verdict = "a better" if difference.high < 0 else "b better" if difference.low > 0 else "undecided"
    return Comparison(difference, _ratio(a, b, confidence), verdict)


def _ratio(a: Replicates, b: Replicates, confidence: float) -> Interval | None:
    if min(a.full, b.full, *a.left_out, *b.left_out) <= 0:
        return None
    log = _of_both(lambda x, y: np.log(x / y), a, b, confidence)
    if log is None:
        return None
    ratio = math.exp(log.estimate)
    return Interval(ratio, ratio * log.se, math.exp(log.low), math.exp(log.high), log.blocks)


def _of_both(statistic: Callable[..., np.ndarray], a: Replicates, b: Replicates, confidence: float) -> Interval | None:
    """The interval of a statistic of two distances, block by block."""
    if not np.array_equal(a.sizes, b.sizes):
        sizes = f"{a.sizes.tolist()} and {b.sizes.tolist()}"
        raise InputError(f"a paired comparison needs the same blocks of seeds; we got sizes {sizes}")
    full = float(statistic(a.full, b.full))
    return jackknife(full, statistic(a.left_out, b.left_out), a.sizes, confidence)
