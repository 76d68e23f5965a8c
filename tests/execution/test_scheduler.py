"""Running plans: only what is missing, more samples, failures as rows, full disks; the work is done in this process."""

from importlib import import_module

import pytest
import torch

from harness.core.errors import RunError
from harness.execution import run as run_module
from harness.execution import scheduler as scheduler_module
from harness.execution import worker as chunk_module
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.experiments.plan import plan
from harness.store.database import Owner, Store

GRID = """
title: Two solvers on a Gaussian
samples: 20
chunk: 8
nfe: [3, 7]
mosaics: [7]
denoisers:
  exact: {source: {kind: gaussian, mean: 0.1, std: 0.4}}
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
    def write(text=GRID, **changes):
        for old, new in changes.items():
            text = text.replace(*new) if isinstance(new, tuple) else text.replace(old, new)
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return plan(path)

    return write


def values(store):
    return {row["fingerprint"]: row["value"] for row in store.results()}


def test_a_run_measures_every_trial(store, grid):
    summary = run_module.run(grid(), store, device="cpu")
    assert (summary.trials, summary.done, summary.failed, summary.chunks) == (4, 4, 0, 12)
    rows = store.results()
    assert [row["nfe"] for row in rows] == [3, 7, 3, 7]
    for row in rows:
        assert row["status"] == "done"
        assert row["n"] == 20
        assert row["low"] < row["value"] < row["high"]
        assert row["blocks"] == [0, 8, 16]
        assert len(row["replicates"]) == 3
        assert row["evaluations"] == row["nfe"] * 20  # three chunks in one call of 20 rows
        assert row["provenance"]["device"] == ["cpu"]
        assert row["provenance"]["batch"] == [20]
        assert row["provenance"]["versions"]["torch"] == torch.__version__.split("+")[0] or "+" in torch.__version__
    assert len(store.images([row["fingerprint"] for row in rows], 0)) == 2
    assert store.grid("grid")["items"][0]["series"] == "euler"


def test_the_second_run_computes_nothing_and_changes_nothing(store, grid):
    run_module.run(grid(), store, device="cpu")
    before = store.results()
    summary = run_module.run(grid(), store, device="cpu")
    assert (summary.chunks, summary.evaluations, summary.done) == (0, 0, 4)
    assert store.results() == before


def test_a_comment_or_another_order_computes_nothing(store, grid):
    run_module.run(grid(), store, device="cpu")
    text = "# a comment\n" + GRID.replace(
        "{kind: gaussian, mean: 0.1, std: 0.4}", "{std: 0.4, mean: 0.1, kind: gaussian}"
    )
    assert run_module.run(grid(text), store, device="cpu").chunks == 0


def test_more_samples_are_more_chunks(store, grid):
    run_module.run(grid(), store, device="cpu")
    more = GRID.replace("samples: 20", "samples: 40")
    summary = run_module.run(grid(more), store, device="cpu")
    assert summary.chunks == 4 * 3  # 20-23, 24-31, 32-39
    once = Store(str(store.files.folder.parent / "other.sqlite"), files=store.files.folder.parent / "other")
    run_module.run(grid(more), once, device="cpu")
    grown = {row["fingerprint"]: row["value"] for row in store.results() if row["n"] == 40}
    for key, value in values(once).items():
        assert grown[key] == pytest.approx(value, rel=1e-9)


def test_trials_are_shared_between_grids(store, grid, tmp_path):
    run_module.run(grid(), store, device="cpu")
    path = tmp_path / "another.yaml"
    path.write_text(GRID.replace("[3, 7]", "[7, 9]").replace("name: euler", "name: first order"))
    summary = run_module.run(plan(path), store, device="cpu")
    assert summary.chunks == 2 * 3
    assert sorted(store.grid_names()) == ["another", "grid"]


def test_force_computes_again(store, grid):
    run_module.run(grid(), store, device="cpu")
    before = values(store)
    summary = run_module.run(grid(), store, device="cpu", force=True)
    assert summary.chunks == 12
    assert values(store) == before


def test_a_lost_file_is_computed_again(store, grid):
    run_module.run(grid(), store, device="cpu")
    before = values(store)
    row = store.chunks(store.results()[0]["extractor"])[0]
    store.files.remove(row["key"])
    summary = run_module.run(grid(), store, device="cpu")
    assert summary.chunks == 1
    assert values(store) == before


def test_mosaics_asked_for_later_are_drawn(store, grid):
    run_module.run(grid(GRID.replace("mosaics: [7]\n", "")), store, device="cpu")
    assert store.images(list(values(store)), 0) == {}
    run_module.run(grid(), store, device="cpu")
    assert len(store.images(list(values(store)), 0)) == 2


class Broken:
    """NaN below sigma 1, in the shape of digits."""

    shape, label_dim, sigma_min, sigma_max, cost = (1, 8, 8), 0, 0.0, float("inf"), 1
    dtype, device = torch.float64, torch.device("cpu")

    def __call__(self, x, sigma, labels=None):
        return torch.where(sigma > 1, x / 2, torch.nan)

    def round_sigma(self, sigma):
        return sigma


def test_a_trial_that_fails_is_a_row_and_the_sweep_goes_on(store, grid, monkeypatch):
    real = chunk_module.load_denoiser
    text = GRID.replace("series:", "  second: {source: {kind: gaussian, mean: 0.5}}\nseries:")

    def load(source, **options):
        return Broken() if source["mean"] == 0.5 else real(source, **options)

    monkeypatch.setattr(chunk_module, "load_denoiser", load)
    summary = run_module.run(grid(text), store, device="cpu")
    assert (summary.done, summary.failed) == (4, 4)
    bad = [row for row in store.results() if row["status"] == "failed"]
    assert len(bad) == 4
    for row in bad:
        assert row["reason"] == "the state is not finite (NaN or infinity)"
        assert row["step"] is not None
        assert row["value"] is None
    again = run_module.run(grid(text), store, device="cpu")
    assert (again.chunks, again.failed) == (0, 4)
    monkeypatch.setattr(chunk_module, "load_denoiser", real)
    chunk_module._denoiser.cache_clear()
    mended = run_module.run(grid(text), store, device="cpu", retry_failed=True)
    assert (mended.done, mended.failed) == (8, 0)
    assert all(row["status"] == "done" for row in store.results())


def test_a_full_disk_stops_the_run_and_loses_nothing(store, grid, monkeypatch):
    real, written = store.files.write, []

    def write(key, arrays):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(key)
        return real(key, arrays)

    monkeypatch.setattr(store.files, "write", write)
    with pytest.raises(RunError, match="the disk is full; 4 chunks of this run are stored and safe"):
        run_module.run(grid(), store, device="cpu")
    done = [row for row in store.chunks(store.grid("grid")["metrics"][0]["extractor"]) if row["status"] == "done"]
    assert len(done) == 4
    assert not [row for row in store.chunks(done[0]["extractor"]) if row["status"] == "claimed"]
    reasons = [row["reason"] for row in store.results() if row["status"] == "failed"]
    assert reasons
    assert all("disk is full" in reason for reason in reasons)
    monkeypatch.setattr(store.files, "write", real)
    summary = run_module.run(grid(), store, device="cpu")
    assert summary.chunks == 12 - 4
    assert all(row["status"] == "done" for row in store.results())


def test_chunks_of_another_process_are_waited_for(store, grid, monkeypatch):
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.01)
    planned = grid()
    summary = run_module.run(planned, store, device="cpu")
    before = values(store)
    rows = store.chunks(store.grid("grid")["metrics"][0]["extractor"])
    taken = rows[2]
    other = Store(store.name.removeprefix("sqlite:///"))
    other.owner = Owner("elsewhere", 1, "1")
    arrays, info = store.moments(taken), taken["info"]
    key = run_module.Chunk(taken["fingerprint"], taken["first_seed"], taken["last_seed"], taken["extractor"])
    store.forget(taken["extractor"], [taken["fingerprint"]])
    assert other.claim(key)
    polls = []

    def look(self, real=scheduler_module.Scheduler._look_at_others):
        polls.append(self.is_idle)
        if len(polls) == 2:
            other.finish(key, arrays, info)
        return real(self)

    monkeypatch.setattr(scheduler_module.Scheduler, "_look_at_others", look)
    second = run_module.run(planned, store, device="cpu")
    assert second.chunks == 3 - 1
    assert second.done == summary.done
    assert values(store) == before


def test_out_of_memory_halves_the_batch(store, grid, monkeypatch):
    module = import_module("harness.sampling.sample")
    real, shapes = module.sample, []

    def sample(*arguments, batch, **options):
        shapes.append(batch)
        if batch > 2:
            raise torch.OutOfMemoryError
        return real(*arguments, batch=batch, **options)

    monkeypatch.setattr(module, "sample", sample)
    run_module.run(grid(), store, device="cpu")
    assert shapes[:4] == [20, 10, 5, 2]
    assert store.results()[0]["provenance"]["batch"] == [2]


def test_padding_is_counted(store, grid):
    run_module.run(grid(), store, device="cpu", batch=16)
    for row in store.results():
        assert row["evaluations"] == row["nfe"] * 32  # calls of 8 + 8 and of 4 rows, each of 16
        assert row["provenance"]["batch"] == [16]


def test_the_grouping_of_chunks_changes_nothing(store, grid, tmp_path):
    """At one call shape, chunks computed together and one by one have the same bits."""
    run_module.run(grid(), store, device="cpu", batch=8)
    with Store(str(tmp_path / "grouped.sqlite"), files=tmp_path / "grouped") as grouped:
        planned = grid()
        run_module.run(planned, grouped, device="cpu", batch=20)
        together = values(grouped)
        for row in grouped.chunks(grouped.grid("grid")["metrics"][0]["extractor"])[::2]:
            grouped.files.remove(row["key"])
        for row in grouped.results():
            assert row["value"] == together[row["fingerprint"]]
        assert run_module.run(planned, grouped, device="cpu", batch=20).chunks == 6
        assert values(grouped) == together
        assert {key: pytest.approx(value, rel=1e-6) for key, value in values(store).items()} == together
