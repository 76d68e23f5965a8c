"""Pages of grids that are not Figure 2: other axes, laboratory measures, pictures, the design table, the index."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from harness.execution import run as run_module
from harness.execution import worker as chunk_module
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.experiments.plan import plan
from harness.report.curves import panels
from harness.report.data import load
from harness.report.figures.image_sheets import level_sheets
from harness.report.figures.noise_levels import common_frame, level_panels
from harness.report.pages.grid import render
from harness.report.pages.index import write_reports
from harness.report.pages.metrics import GridReport, noise_level_figures, quality_figures, trajectory_figures
from harness.report.tables.curve_summary import curve_summary
from harness.report.tables.matrix import matrices
from harness.report.text.formula import html, symbols
from harness.store.database import Store
from tests.report.test_page import Page, words

CHURN = """
title: Churn on a Gaussian
description: "An axis that is not NFE."
metrics:
  - fd-digits
  - {kind: jacobian-asymmetry, samples: 4, probes: 1, series: [Churned]}
samples: 24
chunk: 8
x: stochasticity.S_churn
x_title: S_churn
denoisers:
  exact: {source: {kind: gaussian, mean: 0.1, std: 0.4}}
series:
  - name: Churned
    note: With new noise.
    nfe: [5, 9]
    sampler: {stochasticity: {kind: churn, S_churn: [0, 1, 2]}}
  - {name: Plain, note: Without., nfe: [5, 9]}
design: true
"""
MEASURES = """
title: Measures of one number
metrics:
  - {kind: end-point-error, samples: 12, reference: 128}
  - {kind: truncation-error, samples: 12, substeps: 4, series: [Heun]}
  - {kind: curvature, samples: 12, points: 16, series: [Heun]}
samples: 12
chunk: 6
nfe: [5, 9, 17]
denoisers: {one: {title: One number, source: {kind: gaussian, mean: 0.1, std: 0.4, shape: [1, 1, 1]}}}
series:
  - {name: DDIM, sampler: {solver: ddim}}
  - {name: Heun, role: ours}
  - {name: Optimized, sampler: {solver: ddim, discretization: {kind: optimized, reference: 32, seeds: 4}}}
  - name: RK45
    along: solver.rtol
    sampler: {solver: {kind: rk45, rtol: [0.1, 0.001]}}
"""
PICTURES = """
title: Pictures
metrics: {kind: denoising-error, samples: 6}
samples: 6
chunk: 6
denoisers: [ideal]
series:
  - {name: Levels, sampler: {discretization: {kind: explicit, sigmas: [5, 1, 0.2]}}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with three small grids, run for real in this process."""
    folder = tmp_path_factory.mktemp("sections")
    with pytest.MonkeyPatch.context() as patch, Store(str(folder / "store.sqlite")) as opened:
        patch.setitem(EXECUTORS, "processes", InlineExecutor)
        chunk_module._denoiser.cache_clear()
        for name, text in (("churn", CHURN), ("measures", MEASURES), ("pictures", PICTURES)):
            path = folder / f"{name}.yaml"
            path.write_text(text)
            assert run_module.run(plan(path), opened, device="cpu").failed == 0
        yield opened


def made(store, grid):
    return GridReport(store, grid).metrics


def summary(metric):
    """The lines of the curve summary, by their headings without the one that they share."""
    levels = bool(level_panels(metric.data, metric.panels))
    lines = curve_summary(metric.data, metric.panels, metric.axis, levels, "h").records()
    return [{heading.split(", ")[-1]: text for heading, text in line.items()} for line in lines]


def test_another_axis_has_curves_by_budget_and_levels_across(store):
    distance, asymmetry = made(store, "churn")
    panel = distance.panels[0]
    assert [curve.name for curve in panel.curves] == [
        "Churned, NFE 5",
        "Churned, NFE 9",
        "Plain, NFE 5",
        "Plain, NFE 9",
    ]
    assert [trial.x for trial in panel.curves[1].done] == [0, 1, 2]
    assert panel.curves[2].is_level
    assert (distance.is_ruled, distance.is_flat, distance.axis) == (False, False, "S_churn")
    (figure,) = quality_figures(distance)
    assert "S_churn" in figure.svg
    assert "Cost and speed-up" not in render(store, "churn")
    churned = summary(distance)[1]
    assert churned["not worse"] != "–"
    notes = [re.search(r"\((at .*)\)$", churned[side])[1] for side in ("left", "right")]
    assert [note.split(":")[0] for note in notes] == ["at 0", "at 2.00"]
    assert any(re.search(r"× \(.*\), (worse|undecided)$", note) for note in notes)
    assert summary(distance)[2]["left"] == "–"
    assert [curve.name for curve in asymmetry.panels[0].curves] == ["Churned, NFE 5", "Churned, NFE 9"]
    assert asymmetry.data.metric["n"] == 4


def test_laboratory_measures_have_powers_profiles_and_paths(store):
    error, truncation, curvature = made(store, "measures")
    ddim, heun, optimized, rk45 = summary(error)
    power = "power of NFE"
    assert -2.5 < float(ddim[power].replace("−", "-")) < -0.5
    assert float(heun[power].replace("−", "-")) < float(ddim[power].replace("−", "-"))
    assert optimized["value"] != "–"
    assert rk45["Series"] == "RK45"
    assert any(trial.nfe_min < trial.nfe_max for trial in error.data.trials if trial.series == "RK45")
    levels = level_panels(truncation.data, truncation.panels)
    assert len(list(noise_level_figures(truncation, levels))) == 1
    assert [line.label for panel in levels for line in panel.lines] == ["NFE 5", "NFE 9", "NFE 17"]
    assert [path.title for path in trajectory_figures(curvature)] == ["Heun"] * 3
    matrix = matrices(error.data, error.panels)[0]
    assert [column.heading for column in matrix.columns[1:]] == ["5", "9", "17"]
    assert [row.series.text for row in matrix.rows] == ["DDIM", "Heun", "Optimized"]
    assert sum(cell.css == "key" for row in matrix.rows for cell in row.cells.values()) == 3


def test_pictures_stand_beside_their_levels(store):
    (metric,) = made(store, "pictures")
    assert metric.is_flat
    sheets = level_sheets(store, metric.data, metric.panels)
    assert [sheet.title for sheet in sheets] == ["x = y + σ n", "ideal: D(x; σ)"]
    assert sheets[0].levels == ["5", "1", "0.2"]
    keys = next(iter(metric.data.metric["pictures"].values()))
    png = Image.open(io.BytesIO(store.images([keys["denoised"]], 0)[keys["denoised"]]))
    assert png.size == (3 * 9 - 1, 6 * 9 - 1)
    assert np.asarray(png).std() > 10


@pytest.mark.parametrize("grid", ["churn", "measures", "pictures"])
def test_pages_are_whole(store, grid):
    text = render(store, grid)
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {attrs["href"][1:] for _, attrs in page.tags if attrs.get("href", "").startswith("#")}
    labels = {name for _, attrs in page.tags for name in attrs.get("aria-labelledby", "").split()}
    assert wanted | labels <= set(ids)
    assert "undefined" not in text
    assert render(store, grid) == text


def test_the_words_of_pages(store):
    text = words(render(store, "measures"))
    assert "The lowest end-point error: on One number" in text
    assert "Each is judged by 12 images, from seeds 0 to 11" in text
    assert "power of NFE" in text
    assert "Truncation error by noise level" in text
    assert "not FID" not in text
    churn = words(render(store, "churn"))
    assert "FD-digits is not FID" in churn
    assert "Speed-up" not in churn
    assert "Churned With new noise. Plain Without." in re.sub(r"\s+", " ", churn)


def test_the_design_table_is_the_codes(store):
    design = load(store, "churn")[0].plan["design"]
    assert [column["series"] for column in design["columns"]] == ["Churned", "Plain"]
    sampling = {row["name"]: row["cells"] for row in design["groups"][0]["rows"]}
    assert sampling["ODE or SDE solver"][0] == {"name": "heun", "formula": "", "words": "order 2"}
    assert sampling["Stochasticity"][0]["name"] == "churn"
    assert "closed form" in words(render(store, "churn"))


def test_the_index_links_every_report(store, tmp_path):
    written = write_reports(store, tmp_path / "reports").files
    assert [path.name for path in written] == ["churn.html", "measures.html", "pictures.html", "index.html"]
    index = Page(written[-1].read_text())
    links = {attrs["href"] for attrs in index.all("a")}
    assert links == {"churn.html", "measures.html", "pictures.html"}
    ids = [attrs["id"] for _, attrs in index.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "Measures of one number" in index.text


def test_results_of_other_metrics_are_not_called_left_out(store):
    assert [data.left_out for data in load(store, "measures")] == [[], [], []]


def test_nothing_is_judged_by_a_rule_that_does_not_apply(store):
    for grid in ("churn", "measures"):
        for data in load(store, grid):
            assert all(curve.lowest is None for panel in panels(data) for curve in panel.curves)
            assert curve_summary(data, panels(data), "NFE", False, "h").rows
            assert common_frame(level_panels(data, panels(data)), "x") or not data.metric["by_level"]
    assert matrices(load(store, "churn")[0], panels(load(store, "churn")[0])) == []


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1/sqrt(sigma**2 + sigma_data**2)", "1/√(<i>σ</i><sup>2</sup> + <i>σ</i><sub>data</sub><sup>2</sup>)"),
        ("-sigma", "−<i>σ</i>"),
        ("(M - 1)*t(sigma)", "(<i>M</i> − 1) <i>t</i>(<i>σ</i>)"),
        ("log(sigma)/4", "log(<i>σ</i>)/4"),
        ("minimum(sigma, 2)/abs(sigma - 1)", "minimum(<i>σ</i>, 2)/|<i>σ</i> − 1|"),
        ("a/(b*c)", "<i>a</i>/(<i>b</i> <i>c</i>)"),
        ("a - (b - c)", "<i>a</i> − (<i>b</i> − <i>c</i>)"),
        ("2**(1/rho)", "2<sup>1/<i>ρ</i></sup>"),
        ("import os; <b>", "import os; &lt;b&gt;"),
        ("__import__('os')", "__import__(&#39;os&#39;)"),
    ],
)
def test_formulas_are_written_and_never_run(expression, expected):
    assert html(expression) == expected


def test_names_get_greek_letters():
    assert symbols("sigma_min = 0.002, rho = 7, S_churn") == "σ_min = 0.002, ρ = 7, S_churn"
