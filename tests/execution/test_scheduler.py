"""Running plans: only what is missing, more samples, failures as rows, full disks; the work is done in this process."""

from importlib import import_module

import pytest
import torch

from harness.core.errors import MachineError, RunError
from harness.execution import run as run_module
from harness.execution import scheduler as scheduler_module
from harness.execution import worker as chunk_module
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.experiments.plan import plan
from harness.store import arrays as array_files
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
    assert sum(row["evaluations"] for row in rows) == summary.evaluations == (3 + 7 + 3 + 7 - 3) * 20
    for row in rows:
        assert row["status"] == "done"
        assert row["n"] == 20
        assert row["low"] < row["value"] < row["high"]
        assert row["blocks"] == [0, 8, 16]
        assert len(row["replicates"]) == 3
        # three chunks in one call of 20 rows, the first of which all trials share
        assert row["evaluations"] in (row["nfe"] * 20, (row["nfe"] - 1) * 20)
        assert row["provenance"]["device"] == ["cpu"]
        assert row["provenance"]["batch"] == [80]  # side by side
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
    assert values(store) == pytest.approx(before, rel=1e-6)  # computed by itself, beside no other trials


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


def test_a_failure_of_the_machine_is_tried_again_by_the_next_run(store, grid, monkeypatch):
    real = chunk_module.load_denoiser

    def away(*_, **__):
        raise FileNotFoundError(2, "No such file or directory", "net.safetensors")

    monkeypatch.setattr(chunk_module, "load_denoiser", away)
    summary = run_module.run(grid(), store, device="cpu")
    assert (summary.done, summary.failed, summary.chunks) == (0, 4, 0)
    ((reason, is_transient, trials),) = summary.failures
    assert reason.startswith("the denoiser cannot be loaded: FileNotFoundError")
    assert (is_transient, trials) == (True, 4)
    assert {row["status"] for row in store.results()} == {"failed"}
    assert store.all_chunks() == []
    monkeypatch.setattr(chunk_module, "load_denoiser", real)
    chunk_module._denoiser.cache_clear()
    again = run_module.run(grid(), store, device="cpu")
    assert (again.done, again.failed, again.failures) == (4, 0, ())


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory: 1 bytes"), True),
        (ImportError("no module named scipy"), True),
        (OSError(5, "Input/output error", "/mnt/x"), True),
        (ValueError("a bug of a plugin"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_the_machines_and_what_is_the_trials(store, grid, monkeypatch, error, is_transient):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("harness.sampling.sample.sample", fail)
    summary = run_module.run(grid(), store, device="cpu")
    assert [each.is_transient for each in summary.failures] == [is_transient]
    assert {row["status"] for row in store.all_chunks()} == (set() if is_transient else {"failed"})
    second = run_module.run(grid(), store, device="cpu")
    assert [each.trials for each in second.failures] == [4]


def test_an_error_of_the_device_goes_to_a_fresh_process(monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ...")

    monkeypatch.setattr(chunk_module, "_compute", fail)
    with pytest.raises(MachineError, match=r"^CUDA error: an illegal memory access was encountered$"):
        chunk_module.run_task(chunk_module.ChunkTask("", (), "", 1, False), device="cpu")


def test_a_finished_row_outlives_failures_of_the_machine(store, grid, monkeypatch):
    """A lost file whose chunk cannot be computed again, and pictures that cannot be drawn."""
    notes = []
    listener = run_module.Listener()
    listener.note = notes.append
    run_module.run(grid(GRID.replace("mosaics: [7]\n", "")), store, device="cpu")
    before = values(store)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("harness.sampling.sample.sample", fail)
    summary = run_module.run(grid(), store, device="cpu", listener=listener)
    assert (summary.done, summary.failed) == (4, 0)
    assert len(notes) == 2
    assert all(note.startswith("pictures could not be drawn: out of memory with one row") for note in notes)
    assert values(store) == before
    store.files.remove(store.all_chunks()[0]["key"])
    summary = run_module.run(grid(), store, device="cpu")
    assert (summary.done, summary.failed) == (3, 1)
    assert values(store) == before


def test_a_failure_after_another_process_took_the_chunk_is_not_stored(store, grid, monkeypatch):
    """The claim lapsed meanwhile; the other process's answer counts."""
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.01)
    planned = grid(GRID.replace("[3, 7]", "[3]").replace("mosaics: [7]\n", ""))
    run_module.run(planned, store, device="cpu")
    rows, arrays = store.all_chunks(), {}
    for row in rows:
        arrays[row["key"]] = store.moments(row)
        store.drop_chunk(row["key"])
    other = Store(store.name.removeprefix("sqlite:///"))
    other.owner = Owner("elsewhere", 1, "1")

    def fail(*_, **__):
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE harness_chunks SET owner = 'elsewhere|1|1'")
        raise ValueError("a bug")

    monkeypatch.setattr("harness.sampling.sample.sample", fail)

    def look(self, real=scheduler_module.Scheduler._look_at_others):
        for row in rows:
            if not other.files.has(row["key"]):
                chunk = run_module.Chunk(row["fingerprint"], row["first_seed"], row["last_seed"], row["extractor"])
                other.finish(chunk, arrays[row["key"]], row["info"])
        return real(self)

    monkeypatch.setattr(scheduler_module.Scheduler, "_look_at_others", look)
    summary = run_module.run(planned, store, device="cpu")
    assert (summary.done, summary.failed) == (2, 0)
    assert {row["status"] for row in store.all_chunks()} == {"done"}


def test_an_error_of_the_system_beside_the_store_is_told_as_it_is(store, grid, monkeypatch):
    def lost(*_, **__):
        raise OSError(5, "Input/output error", "/mnt/reference.npz")

    monkeypatch.setattr(run_module, "with_reference", lost)
    with pytest.raises(RunError, match=r"^/mnt/reference\.npz: Input/output error; 0 chunks of this run are stored"):
        run_module.run(grid(), store, device="cpu")


def test_who_is_waited_for_is_said_once(store, monkeypatch):
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(scheduler_module, "WAIT_SECONDS", 0.0)
    notes = []
    other = Store(store.name.removeprefix("sqlite:///"))
    other.owner = Owner("node7 boot pid:[1]", 12, "1")
    monkeypatch.setattr(store, "claim", lambda chunk, *_: other.claim(chunk) and False)
    scheduler = scheduler_module.Scheduler(store, "cpu", InlineExecutor)
    scheduler.on_note = notes.append
    task = chunk_module.ChunkTask("", (), "", 4, False)
    chunk = run_module.Chunk("f" * 64, 0, 3, "x")
    scheduler.add(scheduler_module.Job(chunk, ("key",), task, run_module.SeedRange(0, 3)))
    for _ in range(4):
        assert list(scheduler.step()) == []
    scheduler.close()
    assert notes == [
        "waiting for 1 chunks of process 12 on node7; a claim that is not renewed for a minute is taken over"
    ]


def test_a_full_disk_stops_the_run_and_loses_nothing(store, grid, monkeypatch):
    real, written = array_files.write_bytes, []

    def write(path, content):
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        written.append(path)
        return real(path, content)

    monkeypatch.setattr(array_files, "write_bytes", write)
    with pytest.raises(RunError, match="the disk is full; 4 chunks of this run are stored and safe"):
        run_module.run(grid(), store, device="cpu")
    done = [row for row in store.chunks(store.grid("grid")["metrics"][0]["extractor"]) if row["status"] == "done"]
    assert len(done) == 4
    assert not [row for row in store.chunks(done[0]["extractor"]) if row["status"] == "claimed"]
    reasons = [row["reason"] for row in store.results() if row["status"] == "failed"]
    assert reasons
    assert all("disk is full" in reason for reason in reasons)
    monkeypatch.setattr(array_files, "write_bytes", real)
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
    run_module.run(grid(), store, device="cpu", batch=20)
    assert shapes[:4] == [20, 10, 5, 2]
    assert store.results()[0]["provenance"]["batch"] == [2]


def test_padding_is_counted(store, grid, monkeypatch):
    monkeypatch.setattr("harness.execution.sharing._place", lambda *_: None)
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
