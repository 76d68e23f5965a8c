"""Welch's interval over training seeds, against scipy's own and by how often it holds the truth."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from harness.metrics.statistics.welch import deviation, mean_difference


@pytest.mark.parametrize("counts", [(3, 3), (2, 5), (4, 3)])
def test_equals_scipy(counts):
    rng = np.random.default_rng(sum(counts))
    one, two = rng.normal(1.0, 0.3, counts[0]), rng.normal(1.2, 0.1, counts[1])
    theirs = ttest_ind(one, two, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    ours = mean_difference(list(one), list(two))
    assert ours.estimate == pytest.approx(one.mean() - two.mean())
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.freedom == pytest.approx(theirs.df)


def test_by_hand():
    """Means 2 and 5, variances 1 and 4 of three each: se^2 = 5/3, df = (25/9) / ((1/9 + 16/9) / 2) = 50/17."""
    gap = mean_difference([1, 2, 3], [3, 5, 7])
    assert (gap.estimate, gap.se, gap.freedom) == pytest.approx((-3, math.sqrt(5 / 3), 50 / 17))


def test_too_few_seeds_have_no_interval():
    assert mean_difference([1.0], [1.0, 2.0]) is None
    assert mean_difference([], []) is None
    assert math.isnan(deviation([1.0]))


def test_networks_that_no_seed_moves_have_no_interval():
    assert mean_difference([1.0, 1.0], [2.0, 2.0]) is None
    assert mean_difference([1.0, 1.0], [2.0, 2.1]) is not None


def test_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        gap = mean_difference(rng.normal(0, 1.0, 3), rng.normal(0.5, 2.0, 3))
        held += gap.low <= -0.5 <= gap.high
    assert 920 < held < 985  # a little more than 950 for such small counts, as Welch's is known to be
