"""Two trials of a store side by side."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.core.errors import InputError
from harness.execution.compare import compare_trials, find_trial

BLOCKS = list(range(0, 100, 10))


class Rows:
    """What `compare_trials` asks of a store."""

    def __init__(self, *rows, plan=None):
        self.own, self.plan = list(rows), plan

    def results(self, fingerprints=None):
        return [row for row in self.own if fingerprints is None or row["fingerprint"] in fingerprints]

    name, path = "store", None

    def grid(self, name):
        return self.plan if self.plan and name == "grid" else None

    def rows(self, query):
        return [{"name": "grid", "title": None, "place": None, "source": None, "updated_at": ""}]


def row(letter, seed=0, level=10.0, metric="fid", n=100, labels="random", kind=None, **changes):
    left_out = level + 0.01 * np.random.default_rng(seed).normal(size=len(BLOCKS))
    return {
        "fingerprint": letter * 64,
        "metric": metric,
        "extractor": "net",
        "reference": "set",
        "first_seed": 0,
        "n": n,
        "status": "done",
        "value": level,
        "replicates": left_out.tolist(),
        "blocks": BLOCKS,
        "trial": {"labels": labels},
        "provenance": {"choice": {"kind": kind or metric}},
        **changes,
    }


def half_width(full, left_out):
    """Tukey's jackknife of equal blocks, by the book."""
    g = len(left_out)
    se = math.sqrt((g - 1) / g * sum((x - sum(left_out) / g) ** 2 for x in left_out))
    return stats.t.ppf(0.975, g - 1) * se


def test_the_paired_interval_is_the_jackknife_of_the_difference():
    a, b = row("a", 1), row("b", 2, 9.5)
    (pair,) = compare_trials(Rows(a, b), "a" * 6, "b" * 12).pairs
    reach = half_width(0.5, [x - y for x, y in zip(a["replicates"], b["replicates"], strict=True)])
    assert pair.difference.estimate == 0.5
    assert pair.difference.high - 0.5 == pytest.approx(reach, rel=1e-9)
    assert 0.5 - pair.difference.low == pytest.approx(reach, rel=1e-9)
    apart = math.hypot(half_width(10.0, a["replicates"]), half_width(9.5, b["replicates"]))
    assert pair.unpaired == pytest.approx(apart, rel=1e-9)
    assert pair.ratio.estimate == pytest.approx(10 / 9.5)
    assert pair.verdict == "b better"
    assert (pair.metric, pair.n, pair.a, pair.b) == ("fid", 100, 10.0, 9.5)


def test_what_both_share_cancels():
    (pair,) = compare_trials(Rows(row("a", 1), row("b", 1, 9.999)), "aaaaaa", "bbbbbb").pairs
    assert pair.difference.high - pair.difference.low < 1e-9 < pair.unpaired
    assert pair.verdict == "b better"


@pytest.mark.parametrize(
    ("kind", "verdict"), [("precision", "a better"), ("inception-score", "a better"), ("kid", "b better")]
)
def test_higher_is_better(kind, verdict):
    a, b = (row(letter, seed, level, "mine", kind=kind) for letter, seed, level in (("a", 1, 10.0), ("b", 2, 9.5)))
    assert compare_trials(Rows(a, b), "aaaaaa", "bbbbbb").pairs[0].verdict == verdict


SHORT = {"blocks": [0], "replicates": [1.0]}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({}, {"replicates": []}),
        ({}, {"replicates": None}),
        ({}, {"replicates": [1.0, 2.0]}),
        ({}, {"blocks": [0, 5], "replicates": [1.0, 2.0]}),
        ({"blocks": None, "replicates": None}, {"blocks": None, "replicates": None}),
        ({"replicates": [1.0, 2.0]}, {"replicates": [1.0, 2.0]}),
        (SHORT, SHORT),
    ],
)
def test_without_common_blocks_nothing_is_decided(mine, theirs):
    (pair,) = compare_trials(Rows(row("a", **mine), row("b", 1, 5.0, **theirs)), "aaaaaa", "bbbbbb").pairs
    assert (pair.verdict, pair.difference, pair.ratio, pair.unpaired) == ("undecided", None, None, None)
    assert (pair.a, pair.b) == (10.0, 5.0)


def test_label_policies_that_differ_are_refused():
    with pytest.raises(InputError, match=r"label policies differ \(random and cycle\)"):
        compare_trials(Rows(row("a"), row("b", labels="cycle")), "aaaaaa", "bbbbbb")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 50}, "fid: not comparable, n 100 and 50"),
        ({"extractor": "other"}, "fid: not comparable, extractor net and other"),
        ({"reference": "test"}, "fid: not comparable, reference set and test"),
        ({"first_seed": 7}, "fid: not comparable, first_seed 0 and 7"),
        ({"metric": "kid"}, "fid (N = 100) was measured of aaaaaaaaaaaa only"),
    ],
)
def test_what_cannot_be_compared_is_explained(changes, said):
    found = compare_trials(Rows(row("a"), row("b", **changes)), "aaaaaa", "bbbbbb")
    assert not found.pairs
    assert found.apart[0] == said
    assert len(found.apart) == 2


PLAN = {
    "items": [
        {"panel": "exact", "series": "euler", "nfe": 3, "fingerprint": "a" * 64},
        {"panel": "exact", "series": "heun: 2nd", "nfe": 3, "fingerprint": "b" * 64},
        {"panel": "exact", "series": "two", "nfe": 3, "fingerprint": "b" * 64},
        {"panel": "exact", "series": "two", "nfe": 3, "fingerprint": "c" * 64},
    ]
}


def test_names():
    store = Rows(row("a"), row("b"), row("c"), plan=PLAN)
    assert find_trial(store, "AAAAAA") == "a" * 64
    assert find_trial(store, "grid:exact:euler@3") == "a" * 64
    assert find_trial(store, "grid:exact:heun: 2nd@3") == "b" * 64
    found = compare_trials(store, "grid:exact:euler@3", "bbbbbbb")
    assert (found.a, found.b) == ("a" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aaa", "at least 6 letters"),
        ("ffffff", "no trial begins so; see show --csv"),
        ("abcdef", "2 trials begin so; give more letters"),
        ("grid:exact@3", "named GRID:DENOISER:SERIES@NFE"),
        ("grid:exact:euler", "named GRID:DENOISER:SERIES@NFE"),
        ("grid:exact:euler@x", "named GRID:DENOISER:SERIES@NFE"),
        ("none:exact:euler@3", "no grid 'none' was run into this store; it has: grid"),
        ("grid:exact:dpm@3", "no such series; grid 'grid' has: exact:euler"),
        ("grid:exact:euler@5", "0 trials at that NFE; there are: 3"),
        ("grid:exact:two@3", "2 trials at that NFE"),
    ],
)
def test_names_that_are_none(name, said):
    twins = [row("a", fingerprint="abcdef" + letter * 58) for letter in "01"]
    with pytest.raises(InputError, match=r".+") as caught:
        find_trial(Rows(row("a"), row("b"), *twins, plan=PLAN), name)
    assert said in str(caught.value)


def test_one_trial_twice_and_one_without_results():
    store = Rows(row("a"), row("b", status="failed", value=None))
    with pytest.raises(InputError, match="are one trial, aaaaaaaaaaaa; name two"):
        compare_trials(store, "aaaaaa", "aaaaaaa")
    with pytest.raises(InputError, match="trial bbbbbbbbbbbb has no finished result"):
        compare_trials(store, "aaaaaa", "bbbbbb")
