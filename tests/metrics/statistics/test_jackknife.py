"""The jackknife against textbook formulas, brute force and independent draws; verdicts where the answer is known."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.core.errors import InputError
from harness.metrics.frechet import frechet
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.jackknife import (
    Replicates,
    compare,
    corrected,
    jackknife,
)
from harness.metrics.statistics.moments import Moments

WIDTH = 6
REFERENCE = FrechetReference(np.zeros(WIDTH), np.eye(WIDTH))


def blocks(features, count=10):
    return [Moments.of(part) for part in np.array_split(features, count)]


def features(rng, n=400, scale=1.3, shift=0.2, width=WIDTH):
    return rng.normal(size=(n, width)) * scale + shift


def replicates(blocks, reference):
    return Replicates(*frechet(blocks, reference)[:3])


def distances(rng, **options):
    return replicates(blocks(features(rng, **options)), REFERENCE)


class TestJackknife:
    @given(st.lists(st.floats(-100, 100), min_size=3, max_size=30))
    def test_of_a_mean_is_the_standard_error(self, values):
        values = np.array(values)
        left_out = (values.sum() - values) / (len(values) - 1)
        found = jackknife(values.mean(), left_out, np.ones(len(values), dtype=int))
        assert found.se == pytest.approx(stats.sem(values), rel=1e-6, abs=1e-9)
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), max(found.se, 1e-300))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)

    def test_of_unequal_blocks_is_that_of_equal_ones_where_they_are_equal(self):
        rng = np.random.default_rng(0)
        left_out, g = rng.normal(size=8), 8
        tukey = np.sqrt((g - 1) / g * np.square(left_out - left_out.mean()).sum())
        assert jackknife(0.3, left_out, np.full(g, 50)).se == pytest.approx(tukey, rel=1e-12)

    def test_of_unequal_blocks_is_honest(self):
        """Mean of samples in blocks of 5 to 50: the squared standard error is right on average."""
        rng = np.random.default_rng(1)
        sizes = np.array([5, 10, 20, 30, 40, 50, 25, 20])
        found = []
        for _ in range(2000):
            sums = rng.normal(size=len(sizes)) * np.sqrt(sizes)
            left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
            found.append(jackknife(sums.sum() / sizes.sum(), left_out, sizes).se ** 2)
        assert np.mean(found) == pytest.approx(1 / sizes.sum(), rel=0.1)


class TestReplicates:
    def test_are_the_distances_without_each_block(self):
        parts = blocks(features(np.random.default_rng(2), n=203), 7)  # unequal: 29s, no remainder of equal size
        found = replicates(parts, REFERENCE)
        for j, distance in enumerate(found.left_out):
            rest = Moments.merge(parts[:j] + parts[j + 1 :])
            assert distance == pytest.approx(REFERENCE.distance(rest.mean, rest.covariance), rel=1e-12)
        whole = Moments.merge(parts)
        assert found.full == REFERENCE.distance(whole.mean, whole.covariance)
        assert found.sizes.tolist() == [part.n for part in parts]

    def test_empty_blocks_are_left_aside(self):
        parts = blocks(features(np.random.default_rng(3)))
        again = replicates([Moments.empty(WIDTH), *parts], REFERENCE)
        assert np.array_equal(again.left_out, replicates(parts, REFERENCE).left_out)

    @pytest.mark.parametrize("sizes", [[400], [2], [1, 1], [5, 1], [0, 400, 0]])
    def test_too_little_for_an_interval(self, sizes):
        rng = np.random.default_rng(4)
        found = replicates([Moments.of(features(rng, n)) for n in sizes], REFERENCE)
        assert np.isfinite(found.full) and jackknife(*found) is None
        result = compare(found, found)
        assert (result.difference, result.ratio, result.verdict) == (None, None, "undecided")
        assert corrected(found) is None

    def test_too_little_for_a_distance(self):
        with pytest.raises(InputError, match="at least 2 samples"):
            replicates([Moments.of(np.ones((1, WIDTH)))], REFERENCE)
        with pytest.raises(InputError, match="nothing to merge"):
            replicates([Moments.empty(WIDTH)], REFERENCE)


class TestHonesty:
    """Independent draws say how far a distance really scatters; the jackknife sees one draw."""

    def test_interval(self):
        rng = np.random.default_rng(5)
        found = [jackknife(*distances(rng)) for _ in range(300)]
        estimates = np.array([one.estimate for one in found])
        se = np.sqrt(np.mean([one.se**2 for one in found]))
        assert 0.8 < se / estimates.std() < 1.25
        covered = np.mean([one.low <= estimates.mean() <= one.high for one in found])
        assert 0.89 < covered <= 0.99

    def test_at_distance_zero_the_interval_is_too_wide_not_too_narrow(self):
        rng = np.random.default_rng(6)
        found = [jackknife(*distances(rng, scale=1.0, shift=0.0)) for _ in range(200)]
        estimates = np.array([one.estimate for one in found])
        ratio = np.sqrt(np.mean([one.se**2 for one in found])) / estimates.std()
        assert 1.0 < ratio < 1.8

    def test_paired_difference(self):
        """Samplers that agree but for a little: the difference scatters far less than either distance."""
        rng = np.random.default_rng(7)
        found = []
        for _ in range(200):
            base = features(rng)
            a, b = (replicates(blocks(f), REFERENCE) for f in (base, base * 1.01))
            found.append((a.full, compare(a, b)))
        differences = np.array([result.difference.estimate for _, result in found])
        se = np.sqrt(np.mean([result.difference.se**2 for _, result in found]))
        assert 0.75 < se / differences.std() < 1.3
        assert se < 0.2 * np.std([full for full, _ in found])
        assert np.mean([result.verdict == "a better" for _, result in found]) > 0.95

    def test_equal_samplers_are_seldom_told_apart(self):
        rng = np.random.default_rng(8)
        verdicts = [compare(distances(rng), distances(rng)).verdict for _ in range(300)]
        assert np.mean([verdict != "undecided" for verdict in verdicts]) < 0.1


class TestVerdicts:
    def test_better_and_worse(self):
        rng = np.random.default_rng(9)
        good, bad = distances(rng, scale=1.05, shift=0.05), distances(rng, scale=2.0)
        assert compare(good, bad).verdict == "a better" and compare(bad, good).verdict == "b better"
        ratio = compare(bad, good).ratio
        assert ratio.estimate == pytest.approx(bad.full / good.full) and ratio.low < ratio.estimate < ratio.high
        assert ratio.low > 1

    def test_of_itself(self):
        one = distances(np.random.default_rng(10))
        result = compare(one, one)
        assert result.verdict == "undecided" and result.difference[:4] == (0, 0, 0, 0)
        assert result.ratio.estimate == 1

    def test_rounding_decides_nothing(self):
        one = distances(np.random.default_rng(11))
        same = Replicates(one.full * (1 + 1e-13), one.left_out * (1 + 1e-13), one.sizes)
        assert compare(one, same).verdict == "undecided"

    def test_no_ratio_to_a_distance_that_is_not_above_zero(self):
        one = distances(np.random.default_rng(12))
        assert compare(one, Replicates(-1e-15, one.left_out, one.sizes)).ratio is None

    def test_other_blocks_are_refused(self):
        rng = np.random.default_rng(14)
        a, b = distances(rng), distances(rng, n=500)
        with pytest.raises(InputError, match="same blocks of seeds"):
            compare(a, b)


def test_a_hundred_trials_take_little_time():
    rng = np.random.default_rng(15)
    reference = FrechetReference(np.zeros(64), np.eye(64))
    trials = [blocks(features(rng, n=640, width=64), 16) for _ in range(20)]
    jackknife(*replicates(trials[0], reference))  # loads scipy, whose time is not the jackknife's
    start = time.process_time()
    first, *rest = [replicates(trial, reference) for trial in trials]
    for trial in rest:
        compare(trial, first)
    assert time.process_time() - start < 1.0  # 100 trials: 0.5 s measured on one core


def test_a_difference_at_infinite_n_is_free_of_both_biases():
    """Two distances c / n apart from their values at infinity, c unlike: at n the worse one looks better."""
    rng, sizes, n = np.random.default_rng(0), np.full(12, 50), 600
    shared = 0.02 * rng.standard_normal(12)

    def biased(truth, c):
        left_out = truth + (shared.sum() - shared) / 11 + c / (n - 50)
        return Replicates(truth + shared.mean() + c / n, left_out, sizes)

    a, b = biased(1.0, 120.0), biased(1.05, 30.0)
    assert compare(a, b).verdict == "b better"
    found = compare(a, b, at_infinity=True)
    assert found.verdict == "a better" and found.difference.estimate == pytest.approx(-0.05)
