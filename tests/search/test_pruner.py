"""Verdicts on synthetic replicates: what is worse on the same seeds ends, what the seeds do not decide goes on."""

import numpy as np
import pytest

from harness.search.progress import best_of
from harness.search.pruner import Rung, against_incumbent, paired, verdict
from harness.store.studies import DONE, FAILED, PRUNED


def rung(values, n=None):
    """A rung of means over blocks of 10 seeds, with the value without each."""
    values = np.asarray(values, dtype=float)
    left_out = [(values.sum() - value) / (len(values) - 1) for value in values]
    size = 10 * len(values)
    return Rung(n or size, values.mean(), None, None, left_out, [10] * len(values), None)


def row(number, rungs, status=DONE, value=None, nfe=35, twin=None):
    value = value if value is not None else (rungs[-1].value if rungs else None)
    return {
        "number": number,
        "status": status,
        "value": value,
        "nfe": nfe,
        "twin": twin,
        "rungs": [one._asdict() for one in rungs],
    }


NOISE = np.random.default_rng(0).normal(0, 1, 16)


@pytest.mark.parametrize(("better", "worse_by"), [("lower", 0.2), ("higher", -0.2)])
def test_a_small_difference_on_the_same_seeds_decides(better, worse_by):
    """What the seeds have in common cancels: 0.2 is found under noise of 1."""
    own = np.random.default_rng(1).normal(0, 0.05, 16)
    rival = row(0, [rung(NOISE)])
    mine = against_incumbent(rung(NOISE + worse_by + own), rival)
    reason = verdict("paired", mine, 0, better, [])
    assert "worse than no. 0 by" in reason
    assert "on the same 160 seeds, " in reason
    assert "at least (95 % interval)" in reason
    assert verdict("paired", against_incumbent(rung(NOISE - worse_by + own), rival), 0, better, []) is None


def test_without_pairing_the_same_difference_would_not():
    other = np.random.default_rng(2).permutation(NOISE)
    mine = against_incumbent(rung(other + 0.2), row(0, [rung(NOISE)]))
    assert verdict("paired", mine, 0, "lower", []) is None


def test_false_alarms_are_as_rare_as_promised():
    random, ended = np.random.default_rng(3), 0
    for _ in range(400):
        common = random.normal(0, 1, 16)
        mine = against_incumbent(
            rung(common + random.normal(0, 0.1, 16)), row(0, [rung(common + random.normal(0, 0.1, 16))])
        )
        ended += verdict("paired", mine, 0, "lower", []) is not None
    assert ended / 400 < 0.06  # one-sided, 2.5 %


def test_three_blocks_decide_nothing():
    mine = against_incumbent(rung([9, 9, 9]), row(0, [rung([0, 0, 0])]))
    assert mine.difference == {"estimate": 9}
    assert verdict("paired", mine, 0, "lower", []) is None


def test_a_rival_without_the_rung_decides_nothing():
    assert against_incumbent(rung(NOISE), None).difference is None
    assert against_incumbent(rung(NOISE), row(0, [rung(NOISE[:4])])).difference is None
    assert paired(rung(NOISE)._asdict(), rung(NOISE[:8])._asdict()) is None
    assert verdict("paired", rung(NOISE), None, "lower", []) is None


@pytest.mark.parametrize(("better", "sign"), [("lower", 1), ("higher", -1)])
def test_halving_ends_the_worse_half(better, sign):
    earlier = [row(number, [rung([sign * value] * 4, n=40)]) for number, value in enumerate([1, 2, 3, 4, 5])]
    keep, end = (rung([sign * value] * 4, n=40) for value in (2.9, 3.1))
    assert verdict("halving", keep, None, better, earlier) is None
    assert "not among the better half of 5 earlier trials" in verdict("halving", end, None, better, earlier)
    assert verdict("halving", end._replace(n=80), None, better, earlier) is None  # nobody came as far
    assert verdict("paired", end, None, better, earlier) is None


def test_halving_needs_some_trials_and_counts_a_sampler_once():
    earlier = [row(number, [rung([1.0] * 4, n=40)]) for number in range(3)]
    last = rung([9.0] * 4, n=40)
    assert verdict("halving", last, None, "lower", earlier) is None
    twin = row(3, [rung([1.0] * 4, n=40)], twin=0)
    assert verdict("halving", last, None, "lower", [*earlier, twin]) is None
    assert verdict("halving", last, None, "lower", [*earlier, twin | {"twin": None}]) is not None


def test_none_ends_at_the_end_only():
    assert verdict("none", rung(NOISE + 9), 0, "lower", [row(0, [rung(NOISE)])] * 5) is None


def test_the_best():
    rows = [
        row(0, [rung([5.0] * 4)]),
        row(1, [rung([1.0] * 4)], status=PRUNED),
        row(2, [rung([2.0] * 4)], nfe=99),
        row(3, [rung([3.0] * 4)]),
        row(4, [rung([3.0] * 4)]),
        row(5, [rung([2.0] * 4)], nfe=99, twin=2),
        row(6, [], status=FAILED),
    ]
    assert best_of(rows, "lower") == 2
    assert best_of(rows, "higher") == 0
    assert best_of([one for one in rows if one["nfe"] == 35], "lower") == 3  # of equals the first
    assert best_of([], "lower") is None
