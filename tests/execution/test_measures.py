"""Several metrics in one run: each with its own samples and trials, stored in chunks, resumed; levels found once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import harness
from harness.execution import levels as settle
from harness.execution import run as run_module
from harness.execution import worker as chunk_module
from harness.execution.cost import costs
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.measurements import default_chunk, measurements, picture_key
from harness.execution.results import groups
from harness.execution.seed_ranges import SeedRange, partition_seeds
from harness.experiments.plan import plan
from harness.metrics import EndPointError, FrechetDigits
from harness.metrics.base import SamplingJob
from harness.report.data import load
from harness.sampling import optimize
from harness.sampling.optimize import reference
from harness.sampling.sampler import Sampler
from harness.store import tables
from harness.store.database import Store

GRID = """
title: Two metrics
samples: 20
chunk: 8
nfe: [3, 7]
metrics:
  - fd-digits
  - {kind: end-point-error, samples: 12, reference: 32, series: [heun]}
  - {kind: denoising-error, samples: 4, denoisers: [ideal]}
denoisers:
  exact: {source: {kind: gaussian, mean: 0.1, std: 0.4}}
  ideal:
series:
  - name: euler
    sampler: {solver: euler}
  - name: heun
    sampler: {solver: heun}
"""


@pytest.fixture(autouse=True)
def _inline(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    chunk_module._denoiser.cache_clear()


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture
def grid(tmp_path):
    def write(text=GRID):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return plan(path)

    return write


def rows(store, metric):
    return [row for row in store.results() if row["metric"] == metric]


def test_each_metric_has_its_own_trials_and_samples(store, grid):
    planned = grid()
    assert [len(measurement.trials) for measurement in measurements(planned)] == [8, 4, 4]
    summary = run_module.run(planned, store, device="cpu")
    assert (summary.trials, summary.done, summary.failed) == (16, 16, 0)
    assert summary.chunks == 8 * 3 + 4 * 2 + 4 * 1
    assert [len(rows(store, name)) for name in ("fd-digits", "end-point-error", "denoising-error")] == [8, 4, 4]
    assert {row["n"] for row in rows(store, "end-point-error")} == {12}
    assert run_module.run(planned, store, device="cpu").chunks == 0


def test_a_measures_row_is_what_the_measure_says(store, grid):
    run_module.run(grid(), store, device="cpu")
    for row in rows(store, "end-point-error"):
        sampler = Sampler.model_validate(row["trial"]["sampler"])
        denoiser = harness.load_denoiser(row["trial"]["denoiser"])
        seen = EndPointError(reference=32).observe(SamplingJob(denoiser, sampler, list(range(12)), batch=12))
        assert row["value"] == pytest.approx(seen.values.mean().item(), rel=1e-9)
        assert row["low"] < row["value"] < row["high"]
        assert row["nfe"] == seen.nfe[0].item()
        median = row["details"]["quantiles"]["0.5"]
        assert median == pytest.approx(np.median(seen.values.numpy()), rel=1e-9)
        assert (len(row["replicates"]), row["blocks"][0], row["reference"]) == (10, 0, "none")
    for row in rows(store, "denoising-error"):
        assert len(row["details"]["profile"]["level"]) == row["trial"]["sampler"]["steps"]


def test_more_samples_keep_what_is_there(store, grid):
    run_module.run(grid(), store, device="cpu")
    more = GRID.replace("samples: 12", "samples: 24")
    summary = run_module.run(grid(more), store, device="cpu")
    assert summary.chunks == 4 * 2  # 12-15 and 16-23; 0-7 and 8-11 are stored
    assert {row["n"] for row in rows(store, "end-point-error")} == {12, 24}


def test_pictures_are_kept_and_drawn_again_if_lost(store, grid):
    run_module.run(grid(), store, device="cpu")
    measurement = measurements(grid())[2]
    keys = [key for trial in measurement.trials for key in measurement.pictures(trial).values()]
    assert len(store.images(keys, 0)) == 2 * 4
    assert keys[0] == picture_key(next(iter(measurement.trials)), measurement.extractor, "noisy")
    store.forget("none", [], keys[:2])
    assert run_module.run(grid(), store, device="cpu").chunks == 1
    assert len(store.images(keys, 0)) == 2 * 4


def test_force_forgets_only_what_the_grid_asks_for(store, grid):
    run_module.run(grid(), store, device="cpu")
    before = {row["id"] for row in rows(store, "fd-digits")}
    only = GRID.replace("  - fd-digits\n", "")
    run_module.run(grid(only), store, device="cpu", force=True)
    assert {row["id"] for row in rows(store, "fd-digits")} == before


def test_costs_count_every_metric(store, grid):
    planned = grid()
    found = {cost.panel: cost for cost in costs(planned, None, "cpu", None)}
    assert (found["exact"].trials, found["ideal"].trials) == (6, 10)
    # Euler 3 + 7 and Heun 3 + 7 evaluations of 20 samples, whose first is one for all; end points of 12, one reference
    # of 63 for two trials
    assert found["exact"].evaluations == 20 * (20 - 3) + 12 * (3 + 7 + 2 * 32)
    run_module.run(planned, store, device="cpu")
    assert all(cost.evaluations == 0 for cost in costs(planned, store, "cpu", None))


def test_values_that_are_not_finite_fail_with_a_reason(store, grid, monkeypatch):
    real = EndPointError.measure

    def measure(self, job):
        seen = real(self, job)
        return replace(seen, values=seen.values * torch.nan)

    monkeypatch.setattr(EndPointError, "measure", measure)
    summary = run_module.run(grid(), store, device="cpu")
    assert (summary.done, summary.failed) == (12, 4)
    reasons = {row["reason"] for row in rows(store, "end-point-error")}
    assert reasons == {"12 of 12 values of end-point-error are not finite"}


def test_a_value_that_is_not_finite_failed_for_run_and_report_alike(store, grid, monkeypatch):
    planned = grid()
    assert run_module.run(planned, store, device="cpu").failed == 0
    table = tables.results
    with store.engine.begin() as connection:  # as an earlier version wrote it
        connection.execute(table.update().where(table.c.metric == "end-point-error").values(value=float("nan")))
    assert run_module.run(planned, store, device="cpu").failed == 0  # measured again
    assert all(row["value"] > 0 for row in rows(store, "end-point-error"))
    compute = FrechetDigits.compute
    monkeypatch.setattr(FrechetDigits, "compute", lambda *of: compute(*of)._replace(value=float("nan")))
    store.forget(FrechetDigits().identity, [item.trial.fingerprint for item in planned.items], [])
    summary = run_module.run(planned, store, device="cpu")
    assert summary.failed == 8
    assert {row["status"] for row in rows(store, "fd-digits")} == {"failed"}
    data = next(one for one in load(store, "grid") if one.metric["metric"] == "fd-digits")
    assert data.counts == {"failed": 8}
    assert {trial.reason for trial in data.trials} == {"the value of fd-digits is not finite (nan)"}


@pytest.mark.parametrize(
    ("metric", "half", "kind"),
    [
        (EndPointError, "measure", "end-point-error"),
        (EndPointError, "compute", "end-point-error"),
        (EndPointError, "read", "end-point-error"),
        (FrechetDigits, "observe", "fd-digits"),
        (FrechetDigits, "read", "fd-digits"),
        (FrechetDigits, "compute", "fd-digits"),
    ],
)
def test_any_exception_inside_a_metric_is_a_failed_row_and_the_sweep_goes_on(
    store, grid, monkeypatch, metric, half, kind
):
    def divide(*_):
        return 1 / 0

    monkeypatch.setattr(metric, half, divide)
    summary = run_module.run(grid(), store, device="cpu")
    found = rows(store, kind)
    assert {row["status"] for row in found} == {"failed"}
    assert {row["reason"] for row in found} == {"ZeroDivisionError: division by zero"}
    assert summary.failed == len(found) and summary.done == 16 - len(found) > 0


OPTIMIZED = """
title: Levels to be found
samples: 8
chunk: 8
nfe: [4, 6]
denoisers: [ideal]
series:
  - name: one
    sampler: {solver: ddim, discretization: {kind: optimized, reference: 16, seeds: 4}}
  - name: two
    sampler: {solver: heun, discretization: {kind: optimized, reference: 16, seeds: 4}}
"""


def test_levels_are_found_once_and_stay_with_the_trial(store, grid, monkeypatch):
    searches = []
    real = settle.find_levels
    monkeypatch.setattr(settle, "find_levels", lambda *args, **kw: searches.append(args[2]) or real(*args, **kw))
    planned = grid(OPTIMIZED)
    run_module.run(planned, store, device="cpu")
    assert sorted(searches) == [2, 3, 4, 6]  # steps; the search does not depend on the solver
    for row in store.results():
        levels = row["trial"]["sampler"]["discretization"]["levels"]
        assert len(levels) == row["trial"]["sampler"]["steps"]
    assert run_module.run(planned, store, device="cpu").chunks == 0
    assert len(searches) == 4
    settled = settle.fill_levels(planned, store)
    assert {item.trial.fingerprint for item in settled.items} == {row["fingerprint"] for row in store.results()}
    assert settle.fill_levels(planned, None).items == settled.items
    assert settle.fill_levels(planned, None, search=False).items == planned.items
    assert settle.fill_levels(planned, store, search=False).items == settled.items
    references = []
    monkeypatch.setattr(optimize, "reference", lambda *args: references.append(1) or reference(*args))
    settle.fill_levels(planned, None)
    assert len(references) == 1  # one trajectory for all numbers of levels


def test_too_many_levels_to_find(store, grid):
    with pytest.raises(harness.InputError, match=r"series.0.sampler: with denoiser 'ideal': .* cannot make 20"):
        run_module.run(grid(OPTIMIZED.replace("[4, 6]", "[20]")), store, device="cpu")


@pytest.mark.parametrize(
    ("samples", "most", "size"), [(24, 32, 8), (64, 32, 8), (240, 32, 16), (384, 32, 32), (1536, 32, 32)]
)
def test_default_chunks_are_powers_of_two(samples, most, size):
    assert default_chunk(samples, most) == size


def test_grids_of_other_n_cut_the_seeds_that_they_share_alike():
    """So trials of both can be paired: the first of a smaller N, run first, are chunks of the larger one too."""
    for small, large in ((384, 1024), (480, 640), (240, 1000)):
        assert default_chunk(large, 32) % default_chunk(small, 32) == 0
    shared = partition_seeds(0, 479, [SeedRange(at, at + 31) for at in range(0, 1024, 32)], default_chunk(480, 32))
    alone = partition_seeds(0, 479, [], default_chunk(480, 32))
    assert shared == alone and len(groups(shared)) == 12
