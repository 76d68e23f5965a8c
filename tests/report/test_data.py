import io
import math
from pathlib import Path

import pytest
from rich.text import Text

import harness
from harness.cli.tables import results_table
from harness.core.errors import InputError
from harness.core.published import load_paper
from harness.report.curves import panels
from harness.report.data import COLUMNS, load, results, trial_results, write_csv
from harness.report.text.provenance import card_facts, facts
from tests.report import synthetic


def test_every_item_has_a_line(store):
    data = load(store, "fig2")[0]
    assert len(data.trials) == len(synthetic.items()) == 80
    assert (data.counts["done"], data.counts["failed"], data.counts["missing"]) == (79, 1, 0)
    trial = data.trials[0]
    line = trial.record()
    assert (line["solver"], line["discretization"]) == ("euler", "vp (epsilon_s 0.001)")
    assert trial.value == pytest.approx(synthetic.row(synthetic.items()[0])["value"])
    assert len(data.rows) == 80
    assert data.left_out == []
    assert data.floor.mean == 1.62


def test_missing_and_failed(make_store):
    data = load(make_store(skip=range(5)), "fig2")[0]
    assert data.counts["missing"] == 5
    assert math.isnan(data.trials[0].value)
    assert data.trials[0].nfe == 8  # as planned
    failed = next(trial for trial in data.trials if trial.status == "failed")
    assert (failed.reason, failed.step, failed.nfe) == ("non-finite value in x", 3, 5)


def test_results_that_differ_are_left_out_with_the_reason(make_store):
    store = make_store(skip=range(3))
    first, second, third, *_ = synthetic.items()
    store.put_result(synthetic.row(first, n=256))
    store.put_result(synthetic.row(second, n=256))
    store.put_result(synthetic.row(third, extractor="other", first_seed=512))
    data = load(store, "fig2")[0]
    assert data.counts["missing"] == 3
    assert data.left_out == [
        "2 rows with N 256 instead of 512",
        f"1 row with extractor other instead of {synthetic.EXTRACTOR} and first seed 512 instead of 0",
    ]


def test_a_value_that_is_not_finite_is_not_a_result(make_store):
    store = make_store(skip=[0])
    store.put_result(synthetic.row(synthetic.items()[0], value=None))
    trial = load(store, "fig2")[0].trials[0]
    assert (trial.status, trial.reason) == ("failed", "the value is not finite")


def test_series_may_share_a_trial(make_store):
    plan = synthetic.plan()
    shared = plan["items"][0] | {"series": "Our choices"}
    data = load(make_store(the_plan=plan | {"items": [*plan["items"], shared]}), "fig2")[0]
    assert len(data.trials) == 81
    assert len(data.rows) == 80


def test_an_unknown_grid_names_the_known_ones(store):
    with pytest.raises(InputError, match=r"no grid 'fig3'.*it has: fig2"):
        load(store, "fig3")
    with pytest.raises(InputError):
        results(store, "fig3")


def test_the_table_of_results(store):
    table = results(store, "fig2")
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 80
    every = results(store)
    assert list(every.columns) == list(COLUMNS)
    assert set(every["panel"]) == {"digits-vp", "digits-ve", "digits-adm"}
    assert every["steps"].notna().all()


def test_csv_is_the_table_of_results(store, make_store):
    """Byte by byte what pandas writes of it, with missing, failed and quoted cells."""
    other = make_store(skip=range(5))
    other.put_result(synthetic.failed(synthetic.items()[0], 'a "quoted", reason\nin two lines', None))
    for opened, grid in ((store, "fig2"), (store, None), (other, "fig2"), (other, None)):
        out = io.StringIO()
        write_csv(trial_results(opened, grid), out)
        assert out.getvalue() == results(opened, grid).to_csv(index=False)
    assert len(out.getvalue().splitlines()) > 70


def test_results_by_the_path_of_a_store(store):
    path = store.engine.url.database
    assert harness.results(path, "fig2").equals(results(store, "fig2"))
    assert harness.results(Path(path)).equals(results(store))
    with pytest.raises(InputError, match="there is no store yet"):
        harness.results(Path(path).with_name("other.sqlite"))


def test_the_table_of_an_empty_store(tmp_path):
    with synthetic.Store(str(tmp_path / "empty.sqlite")) as empty:
        assert list(results(empty).columns) == list(COLUMNS)
        assert results_table(trial_results(empty)).row_count == 0


def test_an_analytic_denoiser_in_the_table(make_store):
    store = make_store(skip=range(80))
    row = synthetic.row(synthetic.items()[0])
    store.put_result(row | {"trial": row["trial"] | {"denoiser": {"kind": "gaussian", "mean": 1.0}}})
    assert [trial.panel for trial in trial_results(store)] == ["gaussian"]


def test_the_terminal_table_escapes_markup(make_store):
    store = make_store(skip=[0], break_one=False)
    store.put_result(synthetic.failed(synthetic.items()[0], "[red]bad[/red] value", 3))
    table = results_table(trial_results(store, "fig2"))
    assert table.row_count == 80
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns["status"][0] == Text("failed", "red")
    assert columns["reason"][:2] == [Text("step 4: [red]bad[/red] value"), Text()]


def test_the_terminal_table_has_no_reasons_where_nothing_failed(make_store):
    table = results_table(trial_results(make_store(break_one=False), "fig2"))
    assert "reason" not in {column.header for column in table.columns}


def test_panels_and_their_curves(store):
    vp, ve, adm = panels(load(store, "fig2")[0])
    assert [curve.name for curve in adm.curves] == ["Original choices", "Heun and time steps"]
    assert (vp.baseline.name, vp.ours.name, adm.ours.name) == ("Original choices", "Our choices", "Heun and time steps")
    assert vp.ours.published == (2.93, 35)
    assert vp.speed_up(vp.baseline) is None
    assert ve.speed_up(ve.ours).verdict == "faster"
    best = next(trial for trial in vp.ours.done if trial.fingerprint == vp.ours.lowest.best.fingerprint)
    assert best.low < vp.ours.lowest.best.value == best.value < best.high


def test_without_a_baseline_there_is_no_speed_up(make_store):
    plan = synthetic.plan()
    series = [entry | {"role": None} for entry in plan["series"]]
    found = panels(load(make_store(the_plan=plan | {"series": series}), "fig2")[0])
    assert all(panel.ours is None and panel.baseline is None for panel in found)


def test_published_figures():
    paper = load_paper()
    assert paper.panels["cifar10_ve"].points["reimplementation"] == (4.78, 8192)
    figure2 = [paper.panels[name] for name in ("cifar10_vp", "cifar10_ve", "imagenet64_adm")]
    assert [panel.speedup for panel in figure2] == [7.3, 300, 3.2]
    assert [panel.title for panel in figure2] == ["CIFAR-10, VP", "CIFAR-10, VE", "ImageNet-64, ADM"]
    assert paper.panels["figure4.cifar10_vp"].points["optimal"] == (2.27, 383)
    assert paper.panels["figure4.cifar10_vp"].speedup is None
    assert paper.panels["peers_cifar10_uncond_vp"].tables["heun"] == {4: 319.87, 6: 99.74, 8: 38.06, 10: 15.93}
    assert paper.status == "one source"


def test_provenance_of_any_shape():
    rows = [
        {"provenance": {"dtype": "float32", "device": ["cpu"], "batch": [64], "versions": {"torch": "2"}, "chunks": i}}
        for i in range(10)
    ]
    rows[0]["provenance"]["versions"] = [{"torch": "2"}, {"torch": "3"}]
    found = {fact.name: fact.values for fact in facts(rows)}
    assert found["dtype"] == ["float32"]
    assert found["versions.torch"] == ["2 (10 of 10 rows)", "3 (1 of 10 rows)"]
    assert found["chunks"] == ["0 to 9.00"]
    assert facts([{"provenance": None}]) == []
    card = {fact.name: fact.values for fact in card_facts({"shape": [1, 8, 8], "sigma_max": 80.0, "labels": "none"})}
    assert card == {"shape": ["[1, 8, 8]"], "sigma_max": ["80"], "labels": ["none"]}
