"""Metrics of features in the report: which way is better, ranges of seeds, details, cautions, label policies."""

import re

import numpy as np
import pytest

from harness.cli.tables import results_table
from harness.report.curves import panels
from harness.report.data import load, results, trial_results
from harness.report.figures.axes import Frame, label_room
from harness.report.figures.legend import mark_entries
from harness.report.figures.quality import common_frame, plot
from harness.report.figures.svg import inline
from harness.report.pages.grid import render
from harness.report.pages.metrics import GridReport
from harness.report.tables.curve_summary import curve_summary
from harness.report.tables.detail_columns import detail_columns
from harness.report.tables.matrix import matrices
from harness.report.tables.seed_ranges import ranges_in_words, seed_range_table
from harness.report.tables.trials import failed_table, missing
from harness.report.text.provenance import cautions, identity, spent
from harness.report.text.summary import summarize
from tests.report import features, synthetic
from tests.report.test_page import Page, words


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with features.fill(tmp_path_factory.mktemp("features") / "store.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def every(store):
    return {data.metric["metric"]: data for data in load(store, "fig2")}


@pytest.fixture(scope="module")
def shown(store):
    return {metric.data.metric["metric"]: metric for metric in GridReport(store, "fig2").metrics}


def summary(metric):
    """The lines of the curve summary, by their headings."""
    return curve_summary(metric.data, metric.panels, metric.axis, False, "h").records()


@pytest.fixture(scope="module")
def html(store):
    return render(store, "fig2")


def test_one_section_a_metric_whatever_its_ranges(shown, every):
    assert list(shown) == [entry["metric"] for entry in features.METRICS]
    assert all(data.left_out == [] for data in every.values())
    data = every["fd-digits"]
    assert (data.first_seeds, len(data.further)) == (features.RANGES, 2)
    assert (data.counts["done"], data.counts["failed"], data.counts["missing"]) == (237, 1, 2)
    assert {trial.first_seed for trial in data.trials} == {0}


def test_curves_are_of_the_first_range_and_the_table_of_all(shown, every):
    data = every["fd-digits"]
    item = data.plan["items"][0]
    values = [features.row(item, data.metric, first)["value"] for first in features.RANGES]
    assert data.trials[0].value == pytest.approx(values[0])
    assert data.trials[0].range_values == pytest.approx(values)
    rows = seed_range_table(data, shown["fd-digits"].panels, "NFE", "h").records()
    assert rows[0]["NFE"] == "8"
    assert float(rows[0]["least"]) == pytest.approx(min(values), rel=0.01)
    assert float(rows[0]["mean"]) == pytest.approx(np.mean(values), rel=0.01)
    assert float(rows[0]["greatest"]) == pytest.approx(max(values), rel=0.01)
    assert [row["ranges done"] for row in rows[2:6]] == ["3 of 3", "2 of 3", "2 of 3", "2 of 3, 1 failed"]
    assert seed_range_table(every["kid-digits"], shown["kid-digits"].panels, "NFE", "h") is None


def test_bars_reach_over_the_ranges(shown):
    def marks(metric):
        entries = mark_entries(metric.panels, metric.data.floor, ranges_in_words(metric.data))
        return {entry.id: entry.words for entry in entries}

    assert marks(shown["fd-digits"])["mark-ranges"] == "least and greatest of 3 ranges of 512 seeds"
    assert "mark-ranges" not in marks(shown["kid-digits"])


def test_what_the_paper_reports_is_said_of_distances_only(html):
    text = words(html)
    assert "thin bars are the least and greatest of 3 ranges of 512 seeds; the paper reports the least of three" in text
    assert "thin bars are the least and greatest of 2 ranges of 512 seeds." in text


def test_other_ranges_are_told_where_they_lack(every):
    data = every["fd-digits"]
    (failure,) = failed_table([data], [panels(data)]).records()
    assert (failure["Metric"], failure["at step"]) == ("FD-digits, seeds from 1024", "3")
    assert missing(data, panels(data)) == ["FD-digits: the range of seeds from 1024: 2 of 80 trials"]


def test_the_table_of_results_has_every_range(store):
    assert len(results(store, "fig2")) == 80 * (3 + 1 + 2 + 1 + 1 + 1)
    table = results_table(trial_results(store, "fig2"))
    assert "from seed" in {column.header for column in table.columns}


def test_only_distances_have_the_rule_and_a_floor(shown, every):
    assert [name for name, metric in shown.items() if metric.is_ruled] == ["fd-digits"]
    assert [name for name, data in every.items() if data.floor] == ["fd-digits"]
    for name in list(every)[1:]:
        assert all(curve.lowest is None for panel in panels(every[name]) for curve in panel.curves)


def test_higher_is_better_where_it_is(shown, every):
    data = every["coverage-digits"]
    row = summary(shown["coverage-digits"])[2]
    best = "Highest Coverage (digits)"
    assert row["Series"] == "Our choices"
    assert row[f"{best}, value"].startswith("0.962 (")
    left = row["At the ends, against that, left"]
    assert (row[f"{best}, at NFE"], left.split(", ")[-1]) == ("255", "lower)")
    assert "×" not in left
    assert "255" in row[f"{best}, not worse"]
    told = summarize([data], [panels(data)])
    assert told.opening == "The highest coverage (digits): "
    assert told.findings[0].number == "0.962"
    assert "by “Our choices” at NFE 255" in told.findings[0].rest
    panel = panels(data)[0]
    svg = inline(plot(data, panel, common_frame(data, [panel])), "p")
    assert "Our choices: highest 0.962 at 255" in svg
    assert "least" not in svg


def test_the_best_of_a_column_is_the_highest(tmp_path):
    plan = synthetic.plan()
    items = [item for item in plan["items"] if item["steps"] in (9, 18, 25)]
    for item in items:
        item["nfe"] = 2 * item["steps"] - 1
    with features.fill(tmp_path / "store.sqlite", features.METRICS[2:3], items=items) as store:
        (data,) = load(store, "fig2")
        matrix = matrices(data, panels(data))[0]
    cells = [list(row.cells.values()) for row in matrix.rows]
    best = [[cell.css == "key" for cell in row] for row in cells]
    values = [[float(cell.text) for cell in row] for row in cells]
    assert np.array(best).T.argmax(1).tolist() == np.array(values).T.argmax(1).tolist()


@pytest.mark.parametrize(
    ("name", "y_log"),
    [
        ("fd-digits", True),
        ("kid-digits", False),
        ("fid-infinity-digits", True),
        ("coverage-digits", False),
        ("memorisation", False),
        ("inception-score-digits", False),
    ],
)
def test_axes_that_suit_the_metric(every, name, y_log):
    data = every[name]
    frame = common_frame(data, panels(data))
    assert frame.y_log == y_log
    low, high = frame.y
    values = [trial.value for trial in data.trials if trial.done]
    assert low > 0 if y_log else low <= min(values)
    assert high >= max(values)
    assert data.is_share == (name in ("coverage-digits", "memorisation"))
    if data.is_share:
        assert -0.1 <= low <= high <= 1.1


def test_a_share_that_is_zero_everywhere_stands_on_a_whole_axis(tmp_path):
    with features.fill(tmp_path / "store.sqlite", features.METRICS[-1:], items=synthetic.items()[:3]) as store:
        for item in synthetic.items()[:3]:
            nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "replicates": [0.0] * synthetic.BLOCKS}
            store.put_result(features.row(item, features.METRICS[-1]) | nothing)
        (data,) = load(store, "fig2")
        frame = common_frame(data, panels(data))
    assert frame.y == pytest.approx((-0.06, 1.06))


def test_the_axis_has_room_for_its_labels():
    plain = Frame((1, 10), (1, 50), "", y_log=True)
    signed = Frame((1, 10), (-0.0031, 0.002), "", y_log=False)
    assert label_room(plain) < 0.3 < 0.5 < label_room(signed)


def test_no_quantiles_and_no_powers_of_what_has_none(html, shown):
    for metric in shown.values():
        headings = set(summary(metric)[0])
        assert not any("5 to 95 %" in heading or "power" in heading for heading in headings)
    assert "power of NFE" not in html
    assert "5 to 95 % of samples" not in words(html)


def test_details_stand_beside_the_value(html, shown):
    headings = {name: [column.heading for column in detail_columns(metric.data)] for name, metric in shown.items()}
    assert headings == {
        "fd-digits": [],
        "kid-digits": ["subset mean"],
        "coverage-digits": [],
        "inception-score-digits": ["split mean"],
        "fid-infinity-digits": ["slope", "r²"],
        "memorisation": ["exact", "nearest"],
    }
    row = summary(shown["fid-infinity-digits"])[0]
    assert [row[f"Least FID∞ (digits), {heading}"] for heading in ("slope", "r²")] == ["812", "0.930"]
    assert re.fullmatch(r"\S+ ± 0\.00020", summary(shown["kid-digits"])[0]["Least KID (digits), subset mean"])
    assert "the mean over 100 random subsets of 512 images" in words(html)


def test_details_of_a_curve_that_is_not_done(tmp_path):
    with features.fill(tmp_path / "store.sqlite", features.METRICS[1:2]) as store:
        name = synthetic.items()[0]["fingerprint"]
        plan = store.grid("fig2")
        extra = plan["items"][0] | {"series": "Heun and time steps", "fingerprint": "0" * 64}
        store.put_grid("fig2", plan | {"items": [plan["items"][0], extra]})
        (data,) = load(store, "fig2")
        done, undone = curve_summary(data, panels(data), "NFE", False, "h").records()
        assert data.trials[0].fingerprint == name
        assert done["subset mean"] != "–"
        assert undone["subset mean"] == undone["NFE"] == "–"
        assert undone["Series"] == "Heun and time steps (0 of 1 trial done)"


def test_cautions_once_a_section_and_once_in_the_summary(html, shown, store):
    assert cautions(shown["fd-digits"].data) == [features.CAUTION]
    assert cautions(shown["kid-digits"].data) == []
    assert html.count('<p class="caution">') == 2
    report = GridReport(store, "fig2")
    told = summarize(report.every, report.panels).cautions
    assert told.count(f"FD-digits and FID∞ (digits): {features.CAUTION}") == 1
    assert summarize(report.every[:1], report.panels[:1]).cautions.count(features.CAUTION) == 1


def test_cautions_are_text(tmp_path):
    with features.fill(tmp_path / "store.sqlite", features.METRICS[1:2]) as store:
        row = features.row(synthetic.items()[0], features.METRICS[1])
        store.put_result(row | {"details": {"cautions": ["<script>alert(1)</script>"]}})
        page = Page(render(store, "fig2"))
    assert len(page.all("script")) == 1
    assert page.text.count("<script>alert(1)</script>") == 2


def test_sheets_of_samples_are_shown_once(html):
    assert re.findall(r'<h2 id="h-images-metric-(\w+)">', html) == ["m0"]
    sources = [image["src"] for image in Page(html).all("img")]
    assert len(sources) == len(set(sources)) == 20


def test_what_identifies_a_metric(html, every):
    kid = identity(every["kid-digits"])
    assert (kid.reference, kid.method) == (synthetic.REFERENCE, "cubic kernel, 100 subsets of 1000")
    assert identity(every["inception-score-digits"]).reference == "–"
    assert identity(every["fd-digits"]).seeds == "0 to 511, 512 to 1023 and 1024 to 1535"
    assert "the reference is" in words(html)
    assert "No image of any data set is compared with" not in html


def test_shared_samples_are_counted_once(store, every):
    once = spent(every["fd-digits"].rows)
    together = spent(row for data in every.values() for row in data.rows)
    assert together == once
    assert once.evaluations == sum(row["evaluations"] for row in every["fd-digits"].rows)


def test_pages_are_whole_and_the_same(store, html):
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    labels = {name for _, attrs in page.tags for name in attrs.get("aria-labelledby", "").split()}
    assert labels <= set(ids)
    assert render(store, "fig2") == html


def test_earlier_records_still_render(tmp_path):
    """Plans without ranges, methods and kinds of metrics; one with an entry for every range."""
    new = ("first_seeds", "method", "is_measure", "is_share")
    old = {key: value for key, value in features.METRICS[0].items() if key not in new}
    with features.fill(tmp_path / "store.sqlite", features.METRICS[:1]) as store:
        store.put_grid("fig2", store.grid("fig2") | {"metrics": [old, old, old]})
        (data,) = load(store, "fig2")
        assert data.first_seeds == [0]
        assert not data.is_measure
        assert "Seed ranges" not in render(store, "fig2")
        assert {line.split(" with ")[1] for line in data.left_out} == {
            "first seed 512 instead of 0",
            "first seed 1024 instead of 0",
        }


def test_left_out_rows_say_why(tmp_path):
    item = synthetic.items()[0]
    entry = features.METRICS[0]
    with features.fill(tmp_path / "store.sqlite", features.METRICS[:2]) as store:
        for changes in ({"n": 64, "first_seed": 512}, {"reference": "another"}, {"extractor": "another", "n": 64}):
            store.put_result(features.row(item, entry) | changes)
        trial = features.row(item, entry)["trial"] | {"labels": "unconditional"}
        store.put_result(features.row(item, entry) | {"trial": trial})
        data, _ = load(store, "fig2")
        assert set(data.left_out) == {
            "1 row with label policy unconditional instead of random",
            "1 row with N 64 instead of 512",
            f"1 row with reference another instead of {synthetic.REFERENCE}",
            f"1 row with extractor another instead of {synthetic.EXTRACTOR} and N 64 instead of 512",
        }
        assert data.trials[0].status == "missing"
        assert "FD-digits: 1 row with N 64 instead of 512" in words(render(store, "fig2"))


def test_label_policies_never_share_a_curve(tmp_path):
    """Two policies under one panel and series: two panels, each with curves, best and comparisons of its own."""
    items = [item for item in synthetic.items() if item["panel"] == "digits-vp"]
    for index, item in enumerate(items):
        item["labels"] = "random" if index % 2 else "unconditional"
    with features.fill(tmp_path / "store.sqlite", features.METRICS[:3], items=items) as store:
        for item in items:
            for entry in features.METRICS[:3]:
                row = features.row(item, entry)
                store.put_result(row | {"trial": row["trial"] | {"labels": item["labels"]}})
        every = load(store, "fig2")
        for data in every:
            apart = [panel for panel in panels(data) if panel.curves]
            assert [panel.title for panel in apart] == [
                "VP, DDPM++ style, labels unconditional",
                "VP, DDPM++ style, labels random",
            ]
            for panel in apart:
                for curve in panel.curves:
                    assert len({trial.labels for trial in curve.trials}) == 1
                assert panel.title.endswith(data.best(curve.done).labels)
        told = summarize(every, [panels(data) for data in every])
        assert [finding.lead.split(", “")[0] for finding in told.findings] == [
            "On VP, DDPM++ style, labels unconditional",
            "on VP, DDPM++ style, labels random",
        ]
        assert "<svg" in render(store, "fig2")


def test_metrics_of_some_denoisers_are_asked_of_both_label_policies(tmp_path):
    items = [item for item in synthetic.items() if item["panel"] == "digits-vp"]
    items[0]["labels"] = 3
    entry = features.METRICS[1] | {"denoisers": ["digits-vp"]}
    with features.fill(tmp_path / "store.sqlite", [entry], items=items) as store:
        assert len(load(store, "fig2")[0].trials) == len(items)
