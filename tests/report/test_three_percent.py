"""The 3 % rule and speed-ups of a report's points: how they become curves, and what is said where they do not.

What the rules pick and how often their ranges hold the truth is in tests/metrics/statistics/test_decisions.py.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.three_percent import UNPAIRED, CurvePoint, lowest_nfe, speed_up

BLOCKS = tuple(range(0, 384, 24))
COMMON = np.random.default_rng(0).normal(0, 1, len(BLOCKS))
COMMON -= COMMON.mean()


def point(nfe, value, own=0.0, shared=0.001, blocks=BLOCKS, end=384):
    """A point without bias, whose left-out values err by `shared` together with others and by `own` apart from them."""
    apart = np.random.default_rng(int(nfe)).normal(0, 1, len(blocks))
    noise = shared * COMMON[: len(blocks)] + own * (apart - apart.mean())
    return CurvePoint(f"trial-{nfe}", nfe, value, tuple(value * (1 + noise - noise.mean())), blocks, end)


def test_the_lowest_nfe_within_three_percent():
    curve = [point(5, 2.0), point(11, 1.04), point(21, 1.02), point(41, 1.0), point(81, 1.01)]
    found = lowest_nfe(curve[::-1])
    assert (found.best.nfe, found.point.nfe) == (41, 21)
    assert (found.rule.cost, found.rule.low, found.rule.high) == (21, 21, 21)
    assert found.shares == {"trial-5": 0, "trial-11": 0, "trial-21": 1, "trial-41": 0, "trial-81": 0}
    assert found.rule.undecided == "" and not found.rule.is_least
    assert 10 < found.end.cost < 11  # 3 % above the end, 1.01, lies just before 1.04
    assert found.power.ratio > 2


def test_the_best_is_the_lowest_at_infinite_n():
    """The value at N is lower at 41, but it is more biased at 21: there the left-out values lie higher."""
    biased = point(21, 1.02)
    biased = biased._replace(replicates=tuple(np.array(biased.replicates) + 0.05 / (len(BLOCKS) - 1)))
    found = lowest_nfe([point(5, 2.0), biased, point(41, 1.0)])
    assert found.best is biased
    assert biased.corrected.estimate == pytest.approx(0.97)
    assert found.point is biased


def test_the_range_is_what_the_seeds_leave_open():
    values = ((5, 2.0), (11, 1.04), (21, 1.02), (41, 1.0), (81, 1.0))
    found = lowest_nfe([point(nfe, value, own=0.003) for nfe, value in values])
    assert found.rule.low < found.rule.high
    assert found.rule.low <= found.point.nfe <= found.rule.high
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.power.ratio < 5


def test_noise_that_the_seeds_share_cancels():
    together = [point(5, 1.05, shared=0.01), point(9, 1.0, shared=0.01), point(17, 1.0, shared=0.01)]
    assert (lowest_nfe(together).rule.low, lowest_nfe(together).rule.high) == (9, 9)


def test_points_that_do_not_pair_are_undecided():
    best = point(41, 1.0)
    for other in [
        CurvePoint("no blocks", 5, 9.0),
        point(5, 9.0, blocks=BLOCKS[:8]),
        point(5, 9.0, end=400),
        CurvePoint("one block", 5, 9.0, (9.0,), (0,), 16),
    ]:
        found = lowest_nfe([other, best])
        assert found.rule.undecided == UNPAIRED
        assert (found.point.nfe, found.rule.cost, found.rule.low, found.rule.high) == (41, 41, None, None)
        assert found.shares == {} and found.power is found.curve is found.end.cost is None


def test_few_points_and_few_blocks():
    assert lowest_nfe([]) is None
    two = lowest_nfe([point(5, 1.0), point(9, 1.1)])
    assert two.point is None and two.best.nfe == 5
    assert two.rule.undecided == "the rule needs 3 points, and there are 2"
    few = lowest_nfe([point(n, v, blocks=BLOCKS[:11], end=264) for n, v in ((5, 2.0), (9, 1.02), (17, 1.0))])
    assert few.point.nfe == 9 and few.rule.low is None
    assert "11 blocks of seeds are too few" in few.rule.undecided


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 10)), min_size=1, max_size=8, unique_by=lambda e: e[0]))
def test_without_noise_the_rule_is_the_papers(entries):
    found = lowest_nfe([point(n, v, shared=0.0) for n, v in entries])
    least = min(v for _, v in entries)
    if len(entries) < 3:
        assert found.point is None
    else:
        assert found.point.nfe == min(n for n, v in entries if v <= 1.03 * least * (1 + 1e-12))
        assert found.rule.low == found.rule.high == found.point.nfe


def curve(nfes, values):
    return lowest_nfe([point(n, v) for n, v in zip(nfes, values, strict=True)])


def test_a_decided_speed_up():
    baseline = curve((64, 256, 512), (2.0, 1.0, 1.01))
    ours = curve((11, 35, 79), (2.0, 0.9, 0.91))
    found = speed_up(baseline, ours)
    assert found.ratio == found.low == found.high == pytest.approx(256 / 35)
    assert (found.verdict, found.why) == ("faster", "")
    assert found.best_is == "better"
    assert found.quality.estimate == pytest.approx(0.9)
    back = speed_up(ours, baseline)
    assert (back.verdict, back.best_is) == ("slower", "worse")


def test_a_baseline_that_is_best_at_its_end_has_no_upper_bound():
    found = speed_up(curve((64, 256, 512), (2.0, 1.5, 1.0)), curve((11, 35, 79), (2.0, 0.9, 0.9)))
    assert (found.ratio, found.high) == (pytest.approx(512 / 35), math.inf)
    assert found.low == pytest.approx(512 / 35)
    assert found.verdict == "faster"


def test_two_costs_that_may_be_equal_are_undecided():
    found = speed_up(curve((11, 35, 79), (2.0, 0.9, 0.9)), curve((11, 35, 79), (2.0, 1.0, 1.0)))
    assert (found.ratio, found.verdict, found.why) == (1, "undecided", "the seeds allow either to cost less")


def test_series_on_other_seeds():
    baseline = curve((64, 256, 512), (2.0, 1.0, 1.0))
    others = lowest_nfe([point(n, v, end=400) for n, v in ((11, 2.0), (35, 0.9), (79, 0.9))])
    found = speed_up(baseline, others)
    assert (found.verdict, found.low, found.high, found.quality) == ("undecided", None, None, None)
    assert "same blocks of seeds" in found.why
    assert found.best_is == "undecided"


def test_no_share_of_a_baseline_that_may_be_zero():
    baseline = lowest_nfe([point(n, v, own=0.3) for n, v in ((64, 0.2), (256, 0.1), (512, 0.1))])
    ours = lowest_nfe([point(n, v, own=0.1) for n, v in ((11, 0.2), (35, 0.1), (79, 0.1))])
    assert speed_up(baseline, ours).quality is None
