"""Tests of claims on made points, whose truth is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.experiments.checks import check_claims
from harness.experiments.claim_points import ClaimPoint, Look, SeedScores
from harness.experiments.claims import TESTS, Claim, judge, verdict_of
from harness.experiments.grid import load_grid
from harness.experiments.plan import plan
from harness.metrics.statistics.jackknife import Replicates

BLOCKS = 16


def point(x, mean, sd=0.01, seed=0, blocks=BLOCKS, first=0, is_distance=True, bias=0.0):
    """A point whose metric is the mean of blocks of normal numbers, with a bias of 1/n; seeds pair what shares one."""
    values = mean + sd * np.random.default_rng(seed).standard_normal(blocks)
    sizes = np.full(blocks, 32)
    full = values.mean() + bias / sizes.sum()
    left_out = (values.sum() - values) / (blocks - 1) + bias / (sizes.sum() - 32)
    ends = tuple(first + 32 * np.arange(blocks + 1))
    return ClaimPoint(f"{x}{mean}{seed}{first}", x, x, ends, Replicates(full, left_out, sizes), is_distance)


def ask(test, curves, second=None, missing=""):
    """The finding of a test; `curves` are points by series, `second` those of the second range."""
    parts = [curves, second or {}]
    look = Look(lambda series, metric, part: parts[part].get(series, []), lambda series, metric, part: missing)
    (found,) = judge([TESTS.read({"metric": "fd", **test})], look)
    return found


LOWER = {"kind": "lower", "series": "A", "than": "B"}


class TestLower:
    @pytest.mark.parametrize(
        ("gap", "verdict"), [(0.1, "holds"), (-0.1, "does not hold"), (0.001, "undecided"), (0.0, "undecided")]
    )
    def test_follows_the_interval(self, gap, verdict):
        found = ask(LOWER, {"A": [point(9, 1, seed=1)], "B": [point(9, 1 + gap, seed=2)]})
        assert found.verdict == verdict
        assert bool(found.why) == (verdict == "undecided")
        assert len(found.trials) == 2 and found.measured.startswith("B: ")

    def test_is_free_of_the_bias_of_n(self):
        """A has the larger bias and the lower value at infinite N."""
        one, two = point(9, 1, 1e-4, bias=100.0), point(9, 1.05, 1e-4)
        assert one.replicates.full > two.replicates.full
        assert ask(LOWER, {"A": [one], "B": [two]}).verdict == "holds"

    def test_on_average_and_at_each_place(self):
        curves = {
            "A": [point(9, 1, seed=1), point(15, 1.03, seed=2)],
            "B": [point(9, 2, seed=3), point(15, 1, seed=4)],
        }
        assert ask(LOWER, curves).verdict == "holds"
        assert ask(LOWER | {"each": True}, curves).verdict == "does not hold"
        assert ask(LOWER | {"at": [15]}, curves).verdict == "does not hold"
        assert "no trial at 21" in ask(LOWER | {"at": [9, 21]}, curves).why

    def test_all_of_several_together(self):
        """At 95 % each, 40 comparisons of equals would make a finding of two."""
        curves = {f"B{index}": [point(9, 1, seed=index)] for index in range(1, 41)} | {"A": [point(9, 1, seed=99)]}
        found = ask(LOWER | {"than": list(curves)[:-1]}, curves)
        assert found.verdict == "undecided"

    def test_errors_compare_by_factors(self):
        one, two = ([point(9, mean, mean / 100, seed=seed, is_distance=False)] for mean, seed in ((1, 1), (2, 2)))
        found = ask(LOWER, {"A": one, "B": two})
        assert found.verdict == "holds"
        assert float(found.measured.split()[1]) == pytest.approx(0.5, abs=0.01)
        low, high = found.measured.split("(")[1].rstrip(")").split(" to ")
        assert float(low) < 0.5 < float(high) and float(high) - float(low) < 0.02

    def test_closeness_to_a_value(self):
        curves = {"A": [point(9, 0.98)], "B": [point(9, 1.3, seed=1)]}
        assert ask(LOWER | {"to": 1}, curves).verdict == "holds"
        assert ask({"kind": "lower", "series": "B", "than": "A", "to": 1}, curves).verdict == "does not hold"

    def test_what_cannot_be_compared_says_so(self):
        few = {"A": [point(9, 1, blocks=5)], "B": [point(9, 2, blocks=5)]}
        assert "5 blocks of seeds are too few" in ask(LOWER, few).why
        apart = {"A": [point(9, 1)], "B": [point(9, 2, first=7)]}
        assert "not measured on the same blocks" in ask(LOWER, apart).why
        assert "share no place" in ask(LOWER, {"A": [point(9, 1), point(11, 1)], "B": [point(15, 2)]}).why
        assert "1 of 2" in ask(LOWER, few, missing="1 of 2 trials not done").why
        assert ask(LOWER, {"A": [point(9, 1)]}).why == "B: no trials"


class TestEquivalent:
    test = {"kind": "equivalent", "series": "A", "to": "B", "margin": 0.05}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("gap", "sd", "verdict"),
        [(0.0, 0.01, "holds"), (0.2, 0.01, "does not hold"), (-0.2, 0.01, "does not hold"), (0, 1.0, "undecided")],
    )
    def test_needs_the_interval_inside_the_margin(self, gap, sd, verdict):
        curves = {"A": [point(9, 1 + gap, sd, seed=1)], "B": [point(9, 1, sd, seed=2)]}
        assert ask(self.test, curves).verdict == verdict

    def test_one_sided(self):
        curves = {"A": [point(9, 0.5, seed=1)], "B": [point(9, 1, seed=2)]}
        assert ask(self.test | {"one_sided": True}, curves).verdict == "holds"


class TestFaster:
    test = {"kind": "faster", "series": "A", "than": "B"}  # noqa: RUF012

    def curves(self, sd=0.0005):
        slow, fast = [3, 2, 1.5, 1.2, 1.0, 1.0], [1.4, 1.0, 1.0, 1.0, 1.0, 1.0]
        nfe = [5, 9, 17, 33, 65, 129]
        return {
            name: [point(x, mean + 0.002 * index, sd, seed=index) for index, (x, mean) in enumerate(zip(nfe, means))]  # noqa: B905
            for name, means in (("A", fast), ("B", slow))
        }

    def test_by_the_ratio_of_costs(self):
        found = ask(self.test, self.curves())
        assert found.verdict == "holds" and found.measured.startswith("7.22 times (")
        assert ask(self.test | {"series": "B", "than": "A"}, self.curves()).verdict == "does not hold"
        assert ask(self.test | {"factor": 20}, self.curves()).verdict == "does not hold"
        assert ask(self.test | {"factor": 2}, self.curves()).verdict == "holds"

    def test_noise_leaves_it_open(self):
        assert ask(self.test, self.curves(sd=0.5)).verdict == "undecided"

    def test_too_few_blocks(self):
        curves = {name: [point(9, 1, blocks=8), point(11, 1, blocks=8), point(15, 1, blocks=8)] for name in "AB"}
        assert "8 blocks of seeds are too few for an interval; it takes 12" in ask(self.test, curves).why


@pytest.mark.parametrize(
    ("means", "sd", "verdict"),
    [
        ([3, 2, 1, 1.1, 2], 0.01, "holds"),
        ([3, 0.5, 1, 1.1, 2], 0.01, "does not hold"),
        ([3, 1.0, 1, 1.1, 2], 0.05, "undecided"),
    ],
)
def test_best_between(means, sd, verdict):
    curve = {"A": [point(x, mean, sd, seed=x) for x, mean in zip([1, 3, 5, 7, 10], means, strict=True)]}
    assert ask({"kind": "best-between", "series": "A", "low": 5, "high": 7}, curve).verdict == verdict
    assert "one side" in ask({"kind": "best-between", "series": "A", "low": 0, "high": 70}, curve).why


class TestChosen:
    test = {"kind": "chosen", "series": "A", "than": "B"}  # noqa: RUF012

    def test_the_choice_is_judged_by_other_seeds(self):
        first = {"A": [point(1, 1, seed=1), point(2, 0.9, seed=2)], "B": [point(0, 1, seed=3)]}
        again = [
            each._replace(fingerprint=old.fingerprint)
            for each, old in zip(
                [point(1, 0.1, seed=4, first=900), point(2, 1.2, seed=5, first=900)], first["A"], strict=True
            )
        ]
        second = {"A": again, "B": [point(0, 1, seed=6, first=900)]}
        found = ask(self.test, first, second)
        assert found.verdict == "does not hold" and found.measured.startswith("at 2 and 1, chosen on other seeds: +0.1")

    @pytest.mark.parametrize(("gain", "verdict"), [(0.0, "holds"), (0.5, "does not hold")])
    def test_that_it_does_not_help(self, gain, verdict):
        first = {"A": [point(1, 1 - gain, seed=1)], "B": [point(0, 1, seed=3)]}
        found = ask(self.test | {"helps": False, "margin": 0.1}, first, first)
        assert found.verdict == verdict

    def test_a_margin_belongs_to_that_alone(self):
        for wrong in ({"helps": False}, {"margin": 0.1}):
            with pytest.raises(ValueError, match="needs a margin"):
                TESTS.read({"metric": "fd", **self.test, **wrong})


def test_above():
    test = {"kind": "above", "series": "A", "value": 0.5}
    assert ask(test, {"A": [point(1, 1)]}).verdict == "holds"
    assert ask(test, {"A": [point(1, 1), point(2, 0.1)]}).verdict == "does not hold"
    assert ask(test, {"A": [point(1, 0.5)]}).verdict == "undecided"


def test_a_claim_holds_where_all_its_tests_do():
    curves = {"A": [point(9, 1)], "B": [point(9, 2, seed=1)], "C": [point(9, 1, seed=2)]}
    better, open_, worse = (LOWER | {"than": "B"}, LOWER | {"than": "C"}, LOWER | {"series": "B", "than": "A"})
    for tests, verdict in (
        ([better], "holds"),
        ([better, open_], "undecided"),
        ([better, open_, worse], "does not hold"),
    ):
        assert verdict_of([ask(test, curves) for test in tests]) == verdict


def test_a_claim_asks_the_denoisers_that_its_tests_name():
    tests = [{"metric": "fd", **LOWER, "denoisers": ["one"]}, {"metric": "fd", **LOWER}]
    claim = Claim.model_validate({"statement": "s", "source": "p", "tests": tests})
    assert (len(claim.of("one")), len(claim.of("two"))) == (2, 1)


class TestConfiguration:
    test = {"kind": "configuration", "row": "B", "than": "A"}  # noqa: RUF012

    def ask(self, one, two, lower=True, **changes):
        """The finding where `one` are the values of B by training seed, and `two` those of A."""
        sides = {"A": SeedScores(tuple(two), ("a",) * len(two), "", lower)}
        sides |= {"B": SeedScores(tuple(one), ("b",) * len(one), "", lower)}
        look = Look(scores=lambda row, metric, series: sides[row])
        (found,) = judge([TESTS.read({"metric": "fd", **self.test, **changes})], look)
        return found

    @pytest.mark.parametrize(
        ("gain", "verdict"), [(1.0, "holds"), (-1.0, "does not hold"), (0.01, "undecided"), (0.0, "undecided")]
    )
    def test_follows_the_interval_over_training_seeds(self, gain, verdict):
        seeds = [0.9, 1.0, 1.1]
        lower = self.ask([seed + 2 - gain for seed in seeds], [seed + 2 for seed in seeds])
        higher = self.ask([seed + gain for seed in seeds], seeds, lower=False)
        assert (lower.verdict, higher.verdict) == (verdict, verdict)
        assert bool(lower.why) == (verdict == "undecided") and len(lower.trials) == 6

    @pytest.mark.parametrize(("gain", "verdict"), [(1.0, "holds"), (0.5, "undecided"), (0.0, "does not hold")])
    def test_a_margin(self, gain, verdict):
        seeds = [1.9, 2.0, 2.1]
        found = self.ask([seed - gain for seed in seeds], seeds, margin=0.5)
        assert found.verdict == verdict
        turned = {"holds": "does not hold", "does not hold": "holds", "undecided": "undecided"}
        assert self.ask([seed - gain for seed in seeds], seeds, margin=0.5, better=False).verdict == turned[verdict]

    def test_what_cannot_be_compared_says_so(self):
        assert self.ask([1.0], [1.0, 2.0]).why == "B: training seeds done: 1; an interval takes 2"
        assert "do not differ at all" in self.ask([1.0, 1.0], [2.0, 2.0]).why
        assert self.ask([1.0, 1.1], [1.0, 1.1]).why.endswith("the interval holds no difference")

    def test_denoisers_and_architectures_do_not_mix(self):
        tests = [{"metric": "fd", **self.test}, {"metric": "fd", **LOWER}]
        with pytest.raises(ValueError, match="make two claims"):
            Claim.model_validate({"statement": "s", "source": "p", "tests": tests})

    def test_a_grid_must_train(self, tmp_path):
        path = tmp_path / "grid.yaml"
        path.write_text(GRID.replace("{kind: faster, metric: fd-digits, series: Heun, than: Euler}", WISH))
        with pytest.raises(InputError, match=r"grid.yaml:12: .*this grid trains none; give it `training`"):
            plan(path)

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("row: B", "row: G", "no configuration 'G' in this grid; it has: A, B"),
            ("than: A", "than: B", "compares 'B' with itself; name another configuration"),
            ("row: B", "row: B, columns: ADM", "no architecture 'ADM' in this grid; it has: VP"),
            ("row: B", "row: B, series: Eulr", "no series 'Eulr' in this grid; it has: Heun"),
        ],
    )
    def test_names_that_a_grid_has_not(self, tmp_path, old, new, words):
        path = tmp_path / "grid.yaml"
        grid, document = self.trained(path, WISH)
        check_claims(grid, ["Heun"], document)
        grid, document = self.trained(path, WISH.replace(old, new))
        with pytest.raises(InputError, match=words):
            check_claims(grid, ["Heun"], document)

    def trained(self, path, wish):
        """A grid as if it trained two configurations on one architecture."""
        path.write_text(GRID.replace("{kind: faster, metric: fd-digits, series: Heun, than: Euler}", wish))
        grid, document = load_grid(path)
        training = SimpleNamespace(rows=("A", "B"), columns=("VP",))
        parts = {name: getattr(grid, name) for name in ("metrics", "denoisers", "claims")}
        return SimpleNamespace(training=training, **parts), document


WISH = "{kind: configuration, metric: fd-digits, row: B, than: A}"

GRID = """title: T
samples: 24
nfe: [5, 9]
denoisers: [ideal]
series:
  - {name: Heun}
  - {name: Euler, sampler: {solver: euler}}
claims:
  - statement: Heun needs fewer evaluations than Euler
    source: Section 3
    tests:
      - {kind: faster, metric: fd-digits, series: Heun, than: Euler}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("than: Euler", "than: Eulr", r"grid.yaml:12: .*no series 'Eulr' in this grid; it has: Heun, Euler"),
        ("metric: fd-digits", "metric: fid", r"no metric 'fid' in this grid; it has: fd-digits"),
        ("kind: faster", "kind: faster, denoisers: edm", r"no denoiser 'edm' in this grid; it has: ideal"),
        ("than: Euler", "than: Heun", r"grid.yaml:12: .*compares 'Heun' with itself"),
        ("kind: faster", "kind: chosen", r"'chosen' needs `ranges: 2` of metric 'fd-digits'"),
        ("kind: faster", "kind: quicker", r"grid.yaml:12: .*'quicker'.*'faster'"),
        ("    source: Section 3\n", "", r"source: this key is required"),
    ],
)
def test_what_a_grid_gets_wrong(tmp_path, old, new, words):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    assert plan(path).grid.claims[0].tests[0].kind == "faster"
    path.write_text(GRID.replace(old, new))
    with pytest.raises(InputError, match=words):
        plan(path)
