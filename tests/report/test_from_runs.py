"""Metrics of features from a grid that is run for real, in this process, to the page."""

import re

import pytest

from harness.execution import run as run_module
from harness.execution import worker as chunk_module
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.experiments.plan import plan
from harness.report.data import load
from harness.report.pages.grid import render
from harness.report.pages.metrics import GridReport
from harness.report.tables.detail_columns import detail_columns
from harness.report.tables.seed_ranges import seed_range_table
from harness.report.text.provenance import cautions
from harness.store.database import Store
from tests.report.test_page import Page, words

GRID = """
title: Every kind of number
samples: 40
chunk: 4
nfe: [3, 7, 15]
mosaics: [7]
metrics:
  - fd-digits
  - {kind: kid, extractor: digits, reference: digits, subset: 20, subsets: 5}
  - {kind: coverage, extractor: digits, reference: digits}
  - {kind: inception-score, extractor: digits}
  - {kind: fid-infinity, extractor: digits, reference: digits}
  - {kind: fid, extractor: raw, reference: digits, ranges: 3, samples: 20}
  - {kind: memorisation, reference: digits}
denoisers: {exact: {title: A Gaussian, source: {kind: gaussian, mean: 0.1, std: 0.4}}}
series:
  - {name: Euler, role: baseline, sampler: {solver: euler}}
  - {name: Heun, role: ours, sampler: {solver: heun}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, Store(str(folder / "store.sqlite")) as opened:
        patch.setitem(EXECUTORS, "processes", InlineExecutor)
        chunk_module._denoiser.cache_clear()
        path = folder / "kinds.yaml"
        path.write_text(GRID)
        summary = run_module.run(plan(path), opened, device="cpu")
        assert (summary.trials, summary.failed) == (6 * (6 + 3), 0)
        yield opened


def test_from_a_run_to_sections(store):
    every = load(store, "kinds")
    names = [data.metric["metric"] for data in every]
    assert names[:2] == ["fd-digits", "kid-digits"]
    assert (len(names), len(set(names))) == (7, 7)
    for data in every:
        assert data.counts["done"] == 6 * len(data.first_seeds)
        assert data.left_out == []
    pixels = every[5]
    assert pixels.first_seeds == [0, 20, 40]
    assert [data.is_distance for data in every] == [True, False, False, False, False, True, False]
    assert [data.is_share for data in every] == [False, False, True, False, False, False, True]
    assert [data.lower_is_better for data in every] == [True, True, False, False, True, True, True]
    assert not any(data.is_measure for data in every)


def test_from_a_run_to_the_page(store):
    metrics = GridReport(store, "kinds").metrics
    assert [[column.heading for column in detail_columns(metric.data)] for metric in metrics] == [
        [],
        ["subset mean"],
        [],
        ["split mean"],
        ["slope", "r²"],
        [],
        ["exact", "nearest"],
    ]
    ranges = seed_range_table(metrics[5].data, metrics[5].panels, "NFE", "h")
    assert [line["ranges done"] for line in ranges.records()] == ["3 of 3"] * 6
    assert cautions(metrics[0].data)
    html = render(store, "kinds")
    assert re.findall(r'<h2 id="h-images-metric-(\w+)">', html) == ["m0"]
    text = words(html)
    assert "least and greatest of 3 ranges of 20 seeds" in text
    assert "N = 40 images are not more than the 64 features" in text
    assert "54 of 54 trials are done" in text
    assert "cubic kernel, 5 subsets of 20" in text
    assert "No result was left out" in text or "no result was left out" in text
    ids = [attrs["id"] for _, attrs in Page(html).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
