"""The section of a grid that trains: tables against hand computation, figures, and what it leaves as it was."""

import math
import re

import numpy as np
import pytest

from harness.core.published import load_paper
from harness.metrics.statistics.welch import mean_difference
from harness.report.claims import judged_claims
from harness.report.data import load
from harness.report.figures import configurations, preconditioning, svg, training_loss
from harness.report.pages.claims import render_claims
from harness.report.pages.grid import render
from harness.report.pages.index import write_reports
from harness.report.pages.metrics import GridReport
from harness.report.pages.training import row_looks, training_figure
from harness.report.tables.configurations import axis_table, configuration_table, step_table
from harness.report.training import axis_panels, score_board, score_boards, step, steps, training_of
from tests.report import synthetic, training_store
from tests.report.test_page import EVIL, Page, words
from tests.report.training_store import ALONG, CHURN, MEANS, SERIES, SPREAD

FAILED, MISSING = "D-vp-s1-400k", ("F-ve-s0-400k", "F-ve-s1-400k")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished grid; not to be written to."""
    with training_store.fill(tmp_path_factory.mktemp("training") / "store.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def churned(tmp_path_factory):
    """The same with a series along S_churn; not to be written to."""
    path = tmp_path_factory.mktemp("churned") / "store.sqlite"
    with training_store.fill(path, training_store.plan(along=True), images=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def gapped(tmp_path_factory):
    """One network of D failed and two of F are missing."""
    path = tmp_path_factory.mktemp("gapped") / "store.sqlite"
    with training_store.fill(path, skip=MISSING, fails=[FAILED]) as opened:
        yield opened


@pytest.fixture
def make(tmp_path):
    """A function that fills a store: the arguments of `training_store.fill` but the path."""
    opened = []

    def fill(**options):
        opened.append(training_store.fill(tmp_path / f"store{len(opened)}.sqlite", **options))
        return opened[-1]

    yield fill
    for one in opened:
        one.close()


def board_of(store, **changes):
    report = GridReport(store, "training")
    return report.training, score_board(report.training, report.every[0], **changes)


def records(store, make):
    report = GridReport(store, "training")
    return make(report.training, score_boards(report.training, report.every[0]), "h").records()


class TestScores:
    def test_are_at_infinity_and_of_the_last_snapshots(self, store):
        _, board = board_of(store)
        assert board.at_infinity and board.series == SERIES
        for row, truth in MEANS.items():
            standing = board.standings[row, "VP"]
            assert standing.values == pytest.approx([truth - SPREAD, truth, truth + SPREAD], abs=2e-3)
            assert all(
                score.trial.value > value + 0.03 for score, value in zip(standing.last, standing.values, strict=True)
            )
            assert (standing.mean, standing.deviation) == pytest.approx((truth, SPREAD), abs=2e-3)

    def test_without_blocks_of_seeds_all_are_at_n(self, make):
        _, board = board_of(make(changed={"A-vp-s0-100k": {"replicates": []}}))
        assert not board.at_infinity
        assert board.standings["F", "VP"].values == [score.trial.value for score in board.standings["F", "VP"].last]

    def test_the_best_snapshot_is_each_seeds_own(self, make):
        """The last snapshot of one seed turned out badly."""
        store = make(changed={"A-vp-s0-400k": {"value": 9.0, "replicates": [9.0] * synthetic.BLOCKS}})
        standing = board_of(store)[1].standings["A", "VP"]
        assert standing.values[0] == pytest.approx(9)
        assert standing.best[0] == pytest.approx(MEANS["A"] - SPREAD + 0.25, abs=2e-3)
        assert standing.best[1:] == standing.values[1:]

    def test_missing_and_failed_networks(self, gapped):
        _, board = board_of(gapped)
        assert len(board.standings["D", "VP"].values) == 2
        assert board.standings["D", "VP"].missing == "1 of 3 networks not done (non-finite value in x)"
        assert board.standings["F", "VE"].missing == "2 of 3 networks not done"
        assert board.standings["E", "VP"].missing == ""
        assert len(board.standings["D", "VP"].best) == 2


class TestTable:
    def test_numbers(self, store):
        first, *_, last = records(store, configuration_table)
        assert first["Configuration"] == "A (baseline)"
        assert first["VP, mean"] == "3.00 (sd 0.030, 3 seeds; 2.97 to 3.03)"
        assert first["VE, mean"] == "3.40 (sd 0.030, 3 seeds; 3.37 to 3.43)"
        assert last["VP, best snapshot"] == "1.95"
        assert (first["VP, paper, FID"], last["VP, paper, FID"]) == ("3.01", "1.97")
        assert "VE, paper, FID" not in first

    def test_missing_networks_are_counted(self, gapped):
        by_name = {record["Configuration"][0]: record for record in records(gapped, configuration_table)}
        assert by_name["D"]["VP, mean"].startswith("2.42 (sd 0.042, 2 of 3 seeds; 2.39 to 2.45")
        assert by_name["F"]["VE, mean"] == "2.38 (1 of 3 seeds)"

    def test_nothing_done(self, make):
        everything = [network["panel"] for network in training_store.networks()]
        store = make(skip=everything)
        assert records(store, configuration_table)[0]["VP, mean"] == "– (3 of 3 networks not done)"
        assert {record["FD-digits, verdict"] for record in records(store, step_table)} == {
            f"open (no interval: {one} has 0 of 3 seeds and {two} has 0 of 3 seeds)"
            for one, two in zip("ABCDE", "BCDEF", strict=True)
        }
        assert "training.html" in [path.name for path in write_reports(store, store.path.parent / "out").files]

    def test_one_snapshot_has_no_column_of_best_ones(self, make):
        training = {"networks": training_store.networks(images=(400_000,))}
        found = records(make(the_plan=training_store.plan(training=training)), configuration_table)
        assert not any("best" in name for name in found[0])


class TestSteps:
    def test_verdicts_and_the_papers_direction(self, store):
        vp = [record for record in records(store, step_table) if record["group"] == "VP"]
        told = {record["Step"][:5]: record for record in vp}
        assert told["A → B"]["FD-digits, verdict"] == "better"
        assert told["A → B"]["FD-digits, change"].startswith("−13 % (−0.40 (−0.4")
        assert told["A → B"]["The paper, FID"] == "better, −17 % (3.01 to 2.51)"
        assert told["A → B"]["The paper, and ours"] == "agree"
        assert told["C → D"]["FD-digits, verdict"] == "open"
        assert told["C → D"]["The paper, FID"].startswith("open, −0.87 %")
        assert {record["The paper, and ours"] for record in records(store, step_table) if record["group"] == "VE"} == {
            "–"
        }

    def test_three_cases(self, store):
        _, board = board_of(store)
        place = board.standings
        better, worse, same = (
            step(place[one, "VP"], place[two, "VP"]) for one, two in (("A", "B"), ("B", "A"), ("E", "F"))
        )
        assert [each.direction for each in (better, worse, same)] == ["better", "worse", "open"]
        assert [each.said for each in (better, worse)] == ["better", "worse"]
        by_hand = mean_difference(place["B", "VP"].values, place["A", "VP"].values)
        assert better.gap == by_hand and better.gap.high < 0
        # three seeds of equal spread on either side: 4 degrees of freedom, t = 2.776
        reach = 2.7764 * SPREAD * math.sqrt(2 / 3)
        assert better.gap.high - better.gap.estimate == pytest.approx(reach, rel=0.01)
        assert better.change == pytest.approx(2.6 / 3.0 - 1, abs=1e-3)

    def test_higher_is_better_turns_the_verdict(self, store):
        _, board = board_of(store)
        one, two = (board.standings[row, "VP"]._replace(lower_is_better=False) for row in "AB")
        assert step(one, two).direction == "worse"

    def test_one_seed_decides_nothing(self, make):
        training = {"networks": training_store.networks(seeds=(0,))}
        store = make(the_plan=training_store.plan(training=training))
        found = records(store, step_table)
        assert {record["FD-digits, verdict"] for record in found} == {
            f"open (no interval: one of {one} and {two} has too few seeds)"
            for one, two in zip("ABCDE", "BCDEF", strict=True)
        }
        assert found[0]["FD-digits, change"] == "−13 % (−0.40, no interval)"

    def test_missing_networks_make_a_step_provisional(self, gapped):
        told = {(record["group"], record["Step"][:5]): record for record in records(gapped, step_table)}
        assert told["VP", "D → E"]["FD-digits, verdict"] == "better (provisional: D has 2 of 3 seeds)"
        assert told["VE", "E → F"]["FD-digits, verdict"] == "open (no interval: F has 1 of 3 seeds)"


def test_the_papers_table():
    paper = load_paper().configurations
    assert paper.columns["cifar10_uncond_ve"] == {"A": 3.77, "B": 2.94, "C": 2.83, "D": 3.10, "E": 1.99, "F": 1.98}
    assert paper.columns.keys() == paper.titles.keys() and paper.status == "two sources"


class TestFigures:
    def test_loss_before_and_after(self, store):
        training = GridReport(store, "training").training
        panels = training_loss.loss_panels(training)
        assert [(panel.column.name, panel.row.name) for panel in panels] == [
            (c, r) for c in ("VP", "VE") for r in "ABCDEF"
        ]
        frame = training_loss.common_frame(panels)
        assert not frame.y_log and frame.y[0] == 0
        drawn = svg.inline(training_loss.plot(panels[4], row_looks(training)["E"], frame), "x")
        assert "Loss λ|D − y|² per pixel" in drawn and "Noise level σ" in drawn and "stroke-dasharray" in drawn
        assert "configuration E on VP, 3 training seeds; untrained: 0.9" in drawn
        assert "training draws σ about 0.3" in drawn

    def test_partial_levels(self, store):
        """Missing keys, lists that are too short, nulls, and seeds on other levels."""
        full = training_store.levels()[:3]
        full[0]["after"][3] = None
        full[1] = {key: value for key, value in full[1].items() if key not in ("before", "density")}
        full[2]["sigma"] = full[2]["sigma"][5:]
        full[2]["after"] = full[2]["after"][5:]
        training = training_of(training_store.plan(training={"levels": full}))
        (panel,) = training_loss.loss_panels(training)
        assert np.isnan(panel.after[2, :5]).all() and np.isfinite(panel.after[2, 6:]).all()
        assert np.isnan(panel.before[1]).all() and np.isnan(panel.before[2]).all()
        assert "<svg" in svg.inline(training_loss.plot(panel, row_looks(training)["A"]), "x")
        assert [len(each.lines) for each in preconditioning.term_panels(training)] == [1, 1, 1]

    def test_wild_losses_have_a_logarithmic_axis(self, store):
        panels = training_loss.loss_panels(GridReport(store, "training").training)
        wild = panels[0]._replace(after=panels[0].after * 1e3)
        assert training_loss.common_frame([*panels, wild]).y_log

    def test_the_terms_of_equation_8(self, store):
        training = GridReport(store, "training").training
        panels = {(panel.column.name, panel.term): panel for panel in preconditioning.term_panels(training)}
        rows = {key: ["".join(row.name for row in line.rows) for line in panel.lines] for key, panel in panels.items()}
        assert rows["VP", "effective_weight"] == ["ABCEF", "D"]
        assert rows["VE", "input_variance"] == ["ABC", "DEF"]
        assert rows["VP", "target_variance"] == ["ABCDEF"]
        assert panels["VP", "input_variance"].lines[1].values == pytest.approx(1)
        panel = panels["VE", "input_variance"]
        drawn = svg.inline(preconditioning.plot(panel, row_looks(training)), "x")
        assert ">A, B, C<" in drawn and ">D, E, F<" in drawn and "Variance of the input c_in·x" in drawn

    def test_nothing_to_draw(self):
        training = training_of(training_store.plan(training={"levels": []}))
        assert training_loss.loss_panels(training) == preconditioning.term_panels(training) == []
        assert training_loss.common_frame([]) is None and preconditioning.common_frame([], "input_variance") is None


class TestAnotherAxis:
    def test_means_over_seeds(self, churned):
        data = load(churned, "training")[0]
        training = training_of(data.plan)
        assert axis_panels(training, data, SERIES) == []
        panels = axis_panels(training, data, ALONG)
        assert [[curve.row.name for curve in panel.curves] for panel in panels] == [list("ADEF")] * 2
        network = {"row": "A", "column": "VP", "seed": 1, "images": 400_000}
        places = panels[0].curves[0].places
        assert [place.x for place in places] == list(CHURN)
        for place in places:
            assert (len(place.values), place.planned) == (3, 3)
            assert np.mean(place.values) == pytest.approx(training_store.quality(network, place.x), abs=2e-3)
        assert configurations.best_place(panels[0].curves[0], True).x == 20
        assert configurations.best_place(panels[0].curves[3], True).x == 0
        drawn = svg.inline(configurations.plot(data, panels[0], row_looks(training)), "x")
        assert "S_churn" in drawn and "<title>A</title>" in drawn and "A: least 2.7" in drawn
        table = axis_table(data, "S_churn", panels)
        assert table.records()[0]["S_churn, 20"] == "2.79 (sd 0.030)"

    def test_the_table_is_of_the_series_without_a_place(self, churned):
        _, board = board_of(churned)
        assert board.series == SERIES and math.isnan(board.x)

    def test_a_series_along_the_axis_judges_at_its_least_place(self, churned):
        _, board = board_of(churned, series=ALONG)
        assert (board.series, board.x) == (ALONG, 0)
        assert board.standings["A", "VP"].mean == pytest.approx(MEANS["A"], abs=2e-3)
        assert board.standings["B", "VP"].last == []

    def test_the_page(self, churned):
        html = render(churned, "training")
        text = words(html)
        assert f"FD-digits, {ALONG}" in text and "These values as a table" in text
        assert text.count("NFE 35 · FD-digits") == 12 + 8 * 4  # one training seed of each, and along S_churn
        assert "of each configuration the last snapshot of its first training seed" in text


class TestPage:
    def test_what_it_says(self, store):
        html = render(store, "training")
        page, text = Page(html), words(html)
        assert "by the mean over training seeds of FD-digits: on VP from 3.00 to 1.95" in text
        assert "FD-digits by configuration" in text and "FD-digits, step by step" in text
        assert "the jackknife over images does not know that spread" in text
        assert len([attrs for attrs in page.all("svg") if attrs.get("role") == "img"]) == 12 + 6
        assert len(re.findall(r'<tr class="(?:done|failed|missing)">', html)) == 108
        assert text.count("The trained networks: 108") == 1
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert {attrs["href"][1:] for attrs in page.all("use")} <= set(ids)
        assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(ids)
        assert render(store, "training") == html

    def test_missing_networks_are_named_by_configuration(self, gapped):
        text = words(render(gapped, "training"))
        assert "FD-digits: F on VE: 2 of 9 trials" in text
        assert "on VE no answer , since it takes two training seeds of both" in text

    def test_words_of_a_grid_are_escaped(self, make):
        rows = [row | {"about": EVIL} for row in training_store.ROWS]
        html = render(make(the_plan=training_store.plan(training={"rows": rows})), "training")
        assert EVIL not in html and "&lt;script&gt;" in html

    def test_the_index_shows_its_figure(self, store, churned, tmp_path):
        assert training_figure(GridReport(churned, "training")).title == "VP"
        assert training_figure(GridReport(store, "training")).title == "VP, A"
        index = write_reports(store, tmp_path).files[-1].read_text()
        assert "Training loss against noise level" in index

    def test_networks_of_labels_apart(self, make):
        """A panel that comes apart by label policy is the same network."""
        plan = training_store.plan()
        twins = [
            item | {"labels": "unconditional", "fingerprint": item["fingerprint"][::-1]} for item in plan["items"][:1]
        ]
        store = make(the_plan=plan | {"items": plan["items"] + twins})
        _, board = board_of(store)
        assert len(board.standings["A", "VP"].last) == 3


def test_other_grids_are_as_they_were(make_store):
    plain = render(make_store(), "fig2")
    assert render(make_store(the_plan=synthetic.plan(training=None)), "fig2") == plain
    assert "Training configurations" not in plain


CLAIMS = [
    {"row": "B", "than": "A", "verdicts": ["holds", "holds"]},
    {"row": "A", "than": "B", "verdicts": ["does not hold", "does not hold"]},
    {"row": "A", "than": "B", "better": False, "verdicts": ["holds", "holds"]},
    {"row": "F", "than": "E", "verdicts": ["undecided", "undecided"]},
    {"row": "F", "than": "E", "better": False, "margin": 0.2, "verdicts": ["holds", "holds"]},
    {"row": "B", "than": "A", "margin": 0.2, "columns": ["VE"], "verdicts": ["holds"]},
    {"row": "B", "than": "A", "margin": 0.6, "verdicts": ["does not hold", "does not hold"]},
]


def claims(tests):
    return [
        {
            "statement": f"{test['row']} and {test['than']}",
            "source": "Table 2",
            "tests": [
                {"kind": "configuration", "metric": "fd-digits"} | {k: v for k, v in test.items() if k != "verdicts"}
            ],
        }
        for test in tests
    ]


class TestClaims:
    def test_verdicts(self, make):
        store = make(the_plan=training_store.plan(claims=claims(CLAIMS)))
        judged = judged_claims(store)
        assert [[each.verdict for each in claim.judgements] for claim in judged] == [
            test["verdicts"] for test in CLAIMS
        ]
        (vp, ve), (only, *none) = judged[0].judgements, judged[5].judgements
        assert (vp.panel, ve.panel, only.panel, none) == ("VP", "VE", "VE", [])
        told = (
            r"B 2\.6 \(sd 0\.03, 3 seeds\), A 3 \(sd 0\.03, 3 seeds\): -0\.4 \(-0\.47 to -0\.33 over training seeds\)"
        )
        assert re.fullmatch(told, vp.asked[0].finding.measured)
        for judgement in [each for claim in judged for each in claim.judgements]:
            finding = judgement.asked[0].finding
            assert len(store.results(list(finding.trials))) == len(finding.trials) == 6
            assert (finding.verdict == "undecided") == bool(finding.why)
        said = words(render_claims(judged))
        assert "configuration B is better than A by fd-digits, on average over training seeds." in said
        assert "configuration B gains more than 0.2 over A by fd-digits, on average over training seeds (VE)." in said

    def test_missing_networks_are_undecided(self, make):
        tests = [{"row": "E", "than": "D"}, {"row": "F", "than": "E"}]
        store = make(the_plan=training_store.plan(claims=claims(tests)), skip=MISSING, fails=[FAILED])
        whys = {
            (claim.claim.statement, each.panel): each.asked[0].finding.why
            for claim in judged_claims(store)
            for each in claim.judgements
        }
        assert whys["E and D", "VP"] == "D: 1 of 3 networks not done (non-finite value in x)"
        assert whys["F and E", "VE"] == "F: 2 of 3 networks not done"
        assert whys["E and D", "VE"] == ""

    def test_along_another_series(self, make):
        tests = [{"row": "D", "than": "A", "series": ALONG}, {"row": "B", "than": "A", "series": ALONG}]
        plan = training_store.plan(along=True, claims=claims(tests))
        known, absent = judged_claims(make(the_plan=plan))
        assert known.judgements[0].verdict == "holds"
        assert absent.judgements[0].asked[0].finding.why == "B: no network is planned"


def test_every_step_of_the_plan_is_asked(store):
    training, board = board_of(store)
    assert [(one.before.row.name, one.after.row.name) for one in steps(training, board, training.columns[0])] == list(
        zip("ABCDE", "BCDEF", strict=True)
    )
