"""Differences of two means over training seeds: Welch's t interval.

A network that is trained again with another seed is another network, and its quality moves by more than the images that
judge it. So the question whether one training configuration is better than another is asked of several networks each,
and answered by the spread over these. With means m_1, m_2, unbiased variances s_1^2, s_2^2 and counts n_1, n_2,

    se^2 = s_1^2 / n_1 + s_2^2 / n_2        df = se^4 / sum_i (s_i^2 / n_i)^2 / (n_i - 1)

and the interval is m_1 - m_2 +- t se with Student's t at df degrees of freedom (Welch 1947, "The generalization of
Student's problem when several different population variances are involved"; Satterthwaite 1946 for df).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from harness.metrics.statistics.jackknife import CONFIDENCE

LEAST = 2
"""Seeds of either side below which there is no spread, and so no interval."""


class MeanDifference(NamedTuple):
    """The difference of two means, its standard error, the two-sided interval, and the degrees of freedom."""

    estimate: float
    se: float
    low: float
    high: float
    freedom: float


def mean(values: Sequence[float]) -> float:
    """The mean of at least one number."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """The standard deviation over seeds, of the unbiased variance; NaN for fewer than 2."""
    if len(values) < LEAST:
        return math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def mean_difference(
    one: Sequence[float], two: Sequence[float], confidence: float = CONFIDENCE
) -> MeanDifference | None:
    """The mean of one less that of two, with Welch's interval.

    Args:
        one, two: a number for each training seed; the seeds are not paired.
        confidence: probability that the interval is to hold, between 0 and 1.

    Returns:
        None with fewer than 2 seeds on a side, or where no seed moves anything: networks that are equal to the last
        digit were not trained with different seeds.
    """
    from scipy.special import stdtrit

    if min(len(one), len(two)) < LEAST:
        return None
    parts = [(deviation(values) ** 2 / len(values), len(values) - 1) for values in (one, two)]
    variance = sum(part for part, _ in parts)
    if not variance > 0:
        return None
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    estimate, se = mean(one) - mean(two), math.sqrt(variance)
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * se
    return MeanDifference(estimate, se, estimate - reach, estimate + reach, freedom)
