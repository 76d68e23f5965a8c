"""The 3 % rule and speed-ups on replicates with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.report.three_percent import CurvePoint, lowest_nfe, speed_up


def point(nfe, value, spread=0.0, blocks=(0, 8), end=16):
    """A point whose two replicates lie `spread` to either side: se = spread, t = 12.7 at one degree of freedom."""
    return CurvePoint(f"trial-{nfe}", nfe, value, (value - spread, value + spread), blocks, end)


def test_the_lowest_nfe_within_three_percent():
    curve = [point(5, 2.0), point(11, 1.04), point(21, 1.02), point(41, 1.0), point(81, 1.01)]
    found = lowest_nfe(curve)
    assert (found.best.nfe, found.point.nfe) == (41, 21)
    assert (found.low, found.high) == (21, 21)
    assert list(found.verdicts.values()) == ["beyond", "beyond", "within", "within", "within"]
    assert not found.is_last


def test_exactly_three_percent_is_within():
    assert lowest_nfe([point(5, 103.0), point(9, 100.0)]).point.nfe == 5


def test_the_range_is_what_the_seeds_leave_open():
    # excess at NFE 11: 1.04 - 1.03 = 0.01, at 21: -0.01; se 0.01 and t 12.7 leave both open, at 5: 0.97 decided
    curve = [point(5, 2.0, 0.01), point(11, 1.04, 0.01), point(21, 1.02, 0.01), point(41, 1.0)]
    found = lowest_nfe(curve)
    assert found.point.nfe == 21
    assert (found.low, found.high) == (11, 41)
    assert found.verdicts["trial-11"] == found.verdicts["trial-21"] == "undecided"


def test_noise_that_the_seeds_share_cancels():
    # both move by 5 % together: the excess 1.05 - 1.03 keeps se 0.0525 - 0.0515 = 0.001, and 0.02 > 12.7 x 0.001
    together = [point(5, 1.05, 0.0525), point(9, 1.0, 0.05)]
    assert lowest_nfe(together).verdicts["trial-5"] == "beyond"
    # were each to move the other way, nothing could be told
    apart = [point(5, 1.05, -0.0525), point(9, 1.0, 0.05)]
    assert lowest_nfe(apart).verdicts["trial-5"] == "undecided"


def test_verdicts_are_those_of_the_textbook_jackknife():
    rng, g = np.random.default_rng(3), 10
    best = 2.0 * (1 + rng.normal(0, 0.01, g))
    for level in np.linspace(2.0, 2.2, 21):
        left_out = best * level / 2.0 * (1 + rng.normal(0, 0.003, g))
        theta = level - 1.03 * 2.0
        replicates = left_out - 1.03 * best
        se = np.sqrt((g - 1) / g * ((replicates - replicates.mean()) ** 2).sum())
        reach = stats.t.ppf(0.975, g - 1) * se
        expected = "within" if theta + reach <= 0 else "beyond" if theta - reach > 0 else "undecided"
        blocks, end = tuple(range(0, 640, 64)), 640
        curve = [
            CurvePoint("a", 5, float(level), tuple(left_out), blocks, end),
            CurvePoint("b", 9, 2.0 - 1e-9, tuple(best), blocks, end),
        ]
        assert lowest_nfe(curve).verdicts["a"] == expected


def test_points_that_do_not_pair_are_undecided():
    best = point(41, 1.0)
    for other in [
        CurvePoint("no blocks", 5, 9.0),
        point(5, 9.0, blocks=(0, 4)),
        point(5, 9.0, end=32),
        CurvePoint("one block", 5, 9.0, (9.0,), (0,), 16),
    ]:
        found = lowest_nfe([other, best])
        assert found.verdicts[other.fingerprint] == "undecided"
        assert (found.point.nfe, found.low, found.high) == (41, 5, 41)


def test_the_best_counts_as_within_however_noisy():
    found = lowest_nfe([point(5, 2.0, 1.0), point(9, 1.0, 0.9)])
    assert found.verdicts["trial-9"] == "within"
    assert found.high == 9


def test_a_curve_that_still_falls_at_its_end_says_so():
    assert lowest_nfe([point(5, 2.0), point(9, 1.0)]).is_last
    assert not lowest_nfe([point(5, 1.01), point(9, 1.0)]).is_last
    assert not lowest_nfe([point(9, 1.0)]).is_last


def test_edge_cases():
    assert lowest_nfe([]) is None
    tie = lowest_nfe([point(9, 1.0), point(5, 1.0)])
    assert (tie.best.nfe, tie.point.nfe) == (5, 5)
    below_zero = lowest_nfe([point(5, 1.0), point(9, -1e-9)])
    assert below_zero.point.nfe == 9


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0.1, 10), st.floats(0, 0.5)), min_size=1, max_size=8))
def test_the_estimate_lies_in_its_range(entries):
    curve = [CurvePoint(str(i), n, v, (v - s, v + s), (0, 8), 16) for i, (n, v, s) in enumerate(entries)]
    found = lowest_nfe(curve)
    assert found.low <= found.point.nfe <= found.high
    assert found.point.value <= 1.03 * found.best.value
    assert found.point.nfe <= found.best.nfe


def test_a_decided_speed_up():
    baseline = lowest_nfe([point(64, 2.0), point(256, 1.0), point(512, 1.01)])
    ours = lowest_nfe([point(11, 2.0), point(35, 0.9), point(79, 0.91)])
    found = speed_up(baseline, ours)
    assert found.ratio == pytest.approx(256 / 35)
    assert (found.low, found.high) == (found.ratio, found.ratio)
    assert found.verdict == "faster"
    assert found.best_is == "better"
    assert found.quality.estimate == pytest.approx(0.9)
    back = speed_up(ours, baseline)
    assert (back.verdict, back.best_is) == ("slower", "worse")


def test_the_range_of_a_speed_up_follows_from_both():
    baseline = lowest_nfe([point(50, 1.04, 0.01), point(100, 1.0)])  # 50 to 100
    ours = lowest_nfe([point(20, 1.02, 0.01), point(80, 1.0)])  # 20 to 80
    found = speed_up(baseline, ours)
    assert (found.ratio, found.low, found.high) == (100 / 20, 50 / 80, 100 / 20)
    assert found.verdict == "undecided"


def test_quality_needs_the_same_seeds():
    baseline, ours = lowest_nfe([point(100, 1.0)]), lowest_nfe([point(20, 1.0, end=32)])
    found = speed_up(baseline, ours)
    assert found.quality is None
    assert found.best_is == "undecided"
