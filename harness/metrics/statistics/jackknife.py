"""How far a Frechet distance would move with other seeds: the delete-one-block jackknife.

The seeds are cut into g blocks of m_j, together n. With theta the distance of all samples, theta_(j) that without
block j, and h_j = n / m_j, the pseudo-values and their variance are

    tau_j = h_j theta - (h_j - 1) theta_(j)        se^2 = (1/g) sum_j (tau_j - tau)^2 / (h_j - 1)

with tau = sum_j tau_j / h_j (Busing, Meijer and van der Leeden 1999, "Delete-m jackknife for unequal m").
For equal blocks this is Tukey's (g - 1)/g sum_j (theta_(j) - mean theta_(.))^2 (Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", eq. 11.5). The interval is theta +- t se, with Student's t at g - 1 degrees of
freedom.

What the interval says: where the distance at this n would fall with other seeds. What it does not say: the distance
at infinite n. The Frechet distance of finite sets is too large by about c / n, where c depends on the sampler, and no
interval here takes that away; so distances are compared at one n only. When the true distance is zero, so that all of
the value is this bias, the jackknife's se is too large rather than too small.

Two samplers that used the same seeds are compared by the jackknife of their difference, block by block: what both share
cancels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from harness.core.errors import InputError
from harness.metrics.frechet import FrechetReference
from harness.metrics.statistics.moments import Moments

CONFIDENCE = 0.95

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


class Standing(NamedTuple):
    """Whether a trial is within a factor of the best trial.

    Args:
        full: the trial's distance.
        excess: FD - factor * FD_best; None with fewer than 2 blocks.
        verdict: `within` (the interval of the excess lies at or below zero), `beyond` (above zero), or `undecided`.
    """

    full: float
    excess: Interval | None
    verdict: Literal["within", "beyond", "undecided"]


def replicates(blocks: Sequence[Moments], reference: FrechetReference) -> Replicates:
    """The distances to the reference of all blocks together and without each, one at a time.

    For 2048 features a covariance takes 34 MB; ten of them at once, and what is made on the way, would take a gigabyte.

    Args:
        blocks: the moments of disjoint blocks of seeds, at least one; empty ones are left aside.
        reference: the other side of the distance.

    Raises:
        InputError: no samples, or fewer than 2.
    """
    blocks = [block for block in blocks if block.n]
    total = Moments.merge(blocks)
    sizes = np.array([block.n for block in blocks])
    full = reference.distance(total.mean, total.covariance)
    if len(blocks) < 2 or total.n - sizes.max() < 2:
        return Replicates(full, np.empty(0), np.empty(0, dtype=sizes.dtype))
    left_out = [reference.distance(*_without(total, block)) for block in blocks]
    return Replicates(full, np.array(left_out), sizes)


def _without(total: Moments, block: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean [d] and covariance [d, d] with one block taken away: the merge of moments read backwards."""
    rest = total.n - block.n
    mean = total.mean + (total.mean - block.mean) * (block.n / rest)
    apart = block.mean - mean
    scatter = total.scatter - block.scatter
    scatter -= np.outer(apart, apart) * (rest * (block.n / total.n))
    return mean, scatter / (rest - 1)


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
    g = len(left_out)
    if g < 2:
        return None
    h = sizes.sum() / sizes
    pseudo = h * full - (h - 1) * left_out
    se = math.sqrt(float(np.mean((pseudo - (pseudo / h).sum()) ** 2 / (h - 1))))
    reach = float(stdtrit(g - 1, (1 + confidence) / 2)) * se
    return Interval(full, se, full - reach, full + reach, g)


def interval(distances: Replicates, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of one sampler's distance; None with fewer than 2 blocks. Its lower end may be negative."""
    return jackknife(*distances, confidence)


def compare(a: Replicates, b: Replicates, confidence: float = CONFIDENCE) -> Comparison:
    """Which of two samplers on the same blocks of seeds has the lower distance.

    Raises:
        InputError: the blocks have unequal sizes, so they cannot be the same seeds.
    """
    difference = _of_both(np.subtract, a, b, confidence)
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


def within_best(trials: Sequence[Replicates], factor: float = 1.03, confidence: float = CONFIDENCE) -> list[Standing]:
    """Whether each trial's distance is at most `factor` times the best one's, and whether the seeds suffice to say so.

    The best is the trial with the lowest distance of all samples, and stays so in every replicate. Having been chosen
    for its low value it is lower here than with other seeds, by an amount that the interval does not hold; nor is the
    confidence corrected for the number of trials.

    Args:
        trials: the replicates of trials on the same blocks of seeds.
        factor: at least 1; 1.03 means within 3 %.
        confidence: of each interval.

    Returns:
        One standing a trial, in order.

    Raises:
        InputError: the blocks have unequal sizes, so they cannot be the same seeds.
    """
    if not trials:
        return []
    best = min(trials, key=lambda trial: trial.full)
    return [_standing(trial, best, factor, confidence) for trial in trials]


def _standing(trial: Replicates, best: Replicates, factor: float, confidence: float) -> Standing:
    excess = _of_both(lambda one, other: one - factor * other, trial, best, confidence)
    if excess is None:
        return Standing(trial.full, None, "undecided")
    return Standing(trial.full, excess, "within" if excess.high <= 0 else "beyond" if excess.low > 0 else "undecided")


def _of_both(statistic: Callable[..., np.ndarray], a: Replicates, b: Replicates, confidence: float) -> Interval | None:
    """The interval of a statistic of two distances, block by block."""
    if not np.array_equal(a.sizes, b.sizes):
        sizes = f"{a.sizes.tolist()} and {b.sizes.tolist()}"
        raise InputError(f"a paired comparison needs the same blocks of seeds; we got sizes {sizes}")
    full = float(statistic(a.full, b.full))
    return jackknife(full, statistic(a.left_out, b.left_out), a.sizes, confidence)
