"""Rules on curves whose truth is known: what they pick, how often their ranges hold it, and what they refuse."""

import math

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.metrics.statistics.decisions import Curve, cost_ratio, crossing, curve_of, lowest_within, power
from harness.metrics.statistics.jackknife import Replicates, corrected

COSTS = np.array([5.0, 9, 15, 31, 63, 127])
BLOCKS = 16


def simulated(rng, truth, shared=0.02, own=0.002, blocks=BLOCKS, costs=COSTS):
    """A curve whose points err together by `shared` of their size, and each by `own`, as standard deviations."""
    truth = np.asarray(truth, dtype=float)
    noise = shared * truth * rng.normal(size=(blocks, 1)) + own * rng.normal(size=(blocks, len(truth)))
    return Curve(costs[: len(truth)], truth + noise * math.sqrt(blocks), np.full(blocks, 24))


def outcomes(truth, rule, repeats=150, **noise):
    rng = np.random.default_rng(7)
    return [rule(simulated(rng, truth, **noise)) for _ in range(repeats)]


@pytest.mark.parametrize(
    ("truth", "own", "held"),
    [
        ([2.0, 1.2, 1.1, 1.0, 1.0, 1.0], 0.005, 31),
        ([1.2, 0.95, 0.87, 0.86, 0.852, 0.85], 0.018, 15),  # neighbours differ by less than the scatter
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.02, 5),
        ([2.0, 1.5, 1.2, 1.1, 1.05, 1.0], 0.02, 127),
    ],
)
def test_the_range_holds_the_truth_nine_times_in_ten(truth, own, held):
    found = outcomes(truth, lowest_within, own=own)
    assert np.mean([one.low <= held <= one.high for one in found]) >= 0.9
    assert np.mean([not one.undecided and not one.low <= held <= one.high for one in found]) < 0.05


def test_seeds_that_can_tell_decide():
    found = outcomes([2.0, 1.2, 1.1, 1.0, 1.0, 1.0], lowest_within, own=0.005)  # 0.03 / (0.005 sqrt 2) is a power of 4
    assert np.mean([not one.undecided for one in found]) >= 0.8
    assert np.median([(one.low <= COSTS).sum() - (one.high < COSTS).sum() for one in found]) <= 2
    assert all(one.shares.sum() == pytest.approx(1) for one in found)


def test_the_crossing_holds_where_the_curve_meets_its_end():
    truth = [2.0, 1.5, 1.2, 1.1, 1.0, 1.0]
    exact = 31 * (63 / 31) ** (0.07 / 0.1)  # 1.03 lies so far along the way from 1.1 to 1, in log NFE
    found = outcomes(truth, crossing, own=0.004)
    assert crossing(simulated(np.random.default_rng(0), truth, 0, 0)).cost == pytest.approx(exact)
    assert 0.9 <= np.mean([one.low <= exact <= one.high for one in found]) <= 0.995


def test_a_bias_of_one_over_n_is_gone():
    """Of a variance that divides by n, whose bias is exactly -1/n of it."""
    rng = np.random.default_rng(0)
    gone, there = [], []
    for _ in range(400):
        x = rng.normal(size=(BLOCKS, 8))
        left = np.array([np.delete(x, j, 0).var() for j in range(BLOCKS)])
        replicates = Replicates(float(x.var()), left, np.full(BLOCKS, 8))
        gone.append(corrected(replicates).estimate)
        there.append(replicates.full)
    assert abs(np.mean(gone) - 1) < 4 * np.std(gone) / 20
    assert np.mean(there) == pytest.approx(1 - 1 / 128, abs=0.02)


def test_what_the_curves_end_cuts_off_is_at_least():
    rng = np.random.default_rng(3)
    falling, flat = simulated(rng, [2, 1.5, 1.2, 1.1, 1.05, 0.98]), simulated(rng, [1.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    one, other = lowest_within(falling), lowest_within(flat)
    assert (one.cost, one.high, one.is_least) == (127, 127, True)
    assert not other.is_least
    assert crossing(falling).is_least and not crossing(flat).is_least
    fewer = cost_ratio(one, other)
    assert fewer.high == math.inf
    assert fewer.low > 1 and not fewer.undecided
    more = cost_ratio(other, one)
    assert (more.low, more.high < 1) == (0, True)


def test_what_seeds_share_cancels_in_a_ratio():
    """The same curve at twice the cost is half as fast in every draw, however noisy it is."""
    curve = simulated(np.random.default_rng(5), [1.2, 1.0, 1.0, 1.0, 1.0, 1.0], own=0.05)
    twice = curve._replace(costs=2 * COSTS)
    found = cost_ratio(lowest_within(twice), lowest_within(curve))
    assert found.ratio == found.low == 2


def test_a_best_value_that_may_be_zero_decides_nothing():
    curve = simulated(np.random.default_rng(1), [0.5, 0.2, 0.02, 0.01, 0.011, 0.012], shared=0, own=0.01)
    assert lowest_within(curve).undecided == "the best may be 0"
    noisy = simulated(np.random.default_rng(1), [0.5, 0.2, 0.02, 0.01, 0.011, 0.012], shared=0, own=0.03)
    assert crossing(noisy).undecided == "the end may be 0"
    assert "may be 0" in cost_ratio(lowest_within(curve), lowest_within(curve)).undecided
    below = simulated(np.random.default_rng(1), [0.5, 0.2, 0.02, -0.01, -0.02, -0.01], shared=0, own=0.001)
    assert lowest_within(below).cost == 63  # the lowest itself: 3 % of a negative number means nothing
    assert "may be 0" in lowest_within(below).undecided


def test_too_little_for_a_range():
    rng = np.random.default_rng(0)
    few = simulated(rng, [2.0, 1.2, 1.0, 1.0], own=0, shared=0, blocks=11)
    for rule in (lowest_within, crossing):
        found = rule(few)
        assert "11 blocks of seeds are too few" in found.undecided
        assert found.low is found.high is None and len(found.drawn) == 0
    assert lowest_within(few).cost == 15
    two = lowest_within(simulated(rng, [2.0, 1.0]))
    assert two.cost is None and "needs 3 points, and there are 2" in two.undecided
    assert cost_ratio(lowest_within(few), two).ratio is None
    assert cost_ratio(lowest_within(few), lowest_within(few)) == (1, None, None, lowest_within(few).undecided)
    assert power(few) is None


def test_power_is_the_margin_over_the_scatter_of_differences():
    rng = np.random.default_rng(2)
    found = power(simulated(rng, [2.0, 1.0, 1.0, 1.0, 1.0, 1.0], own=0.01, blocks=400))
    assert found.ratio == pytest.approx(0.03 / (0.01 * math.sqrt(2)), rel=0.15)
    assert found.samples == pytest.approx(400 * 24 * (2 / found.ratio) ** 2)
    assert power(simulated(rng, [2.0, 1.0, 1.0], shared=0, own=0)).ratio == math.inf


def test_curves_are_of_the_same_blocks():
    one = Replicates(1.0, np.ones(12), np.full(12, 8))
    with pytest.raises(InputError, match="over the same blocks of seeds"):
        curve_of([one, one._replace(sizes=np.full(12, 9))], [5, 9])
    with pytest.raises(InputError, match="over the same blocks of seeds"):
        curve_of([one, one._replace(left_out=np.empty(0))], [5, 9])
    assert curve_of([one, one], [5, 9]).values.tolist() == pytest.approx([1, 1])


def test_equal_rows_give_equal_outcomes():
    curve = simulated(np.random.default_rng(9), [1.2, 0.95, 0.87, 0.86, 0.852, 0.85], own=0.02)
    first, again = lowest_within(curve), lowest_within(curve)
    assert np.array_equal(first.drawn, again.drawn)
