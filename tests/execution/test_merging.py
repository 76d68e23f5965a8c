"""Chunks with large moments become blocks; nothing of a result changes by that, whoever else reads or writes."""

from itertools import count

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.execution import run as run_module
from harness.execution.chunks import load_chunks, plan_chunks
from harness.execution.measurements import measurements
from harness.execution.merging import Merger, merge_rows, together
from harness.execution.results import groups
from harness.execution.seed_ranges import SeedRange
from harness.execution.verify import verify
from harness.store.database import Chunk, Owner, Store
from tests.execution.wide import FID, KID, SOURCE, _inline, by_metric, grid, reference, run, spans, store, ten_blocks

__all__ = ["_inline", "grid", "reference", "store", "ten_blocks"]

pytestmark = pytest.mark.usefixtures("ten_blocks")


def healthy(store):
    found = list(verify(store))
    return bool(found) and not [one.problem for one in found if one.problem]


def pieces(step, last):
    return [SeedRange(at, min(at + step - 1, last)) for at in range(0, last + 1, step)]


def rows_of(store):
    rows = [row for row in store.chunks(SOURCE) if row["status"] == "done"]
    return sorted(rows, key=lambda row: row["first_seed"])


class TestTogether:
    def test_of_one_use_are_its_blocks(self):
        assert together(pieces(2, 39), [pieces(2, 39)]) == groups(pieces(2, 39))

    def test_of_two_uses_are_the_parts_of_both(self):
        every, few = pieces(2, 39), pieces(2, 13)
        found = together(every, [every, few])
        assert [span for group in found for span in group] == every
        for use in (every, few):
            for block in groups(use):
                inside = [group for group in found if set(group) & set(block)]
                assert all(set(group) <= set(block) for group in inside)

    def test_what_nobody_uses_stays_out(self):
        assert together(pieces(2, 39), [[], pieces(2, 3)]) == [[SeedRange(0, 1)], [SeedRange(2, 3)]]


def test_a_block_is_merged_as_soon_as_it_is_complete(store, grid, monkeypatch):
    seen = []

    def finished(self, chunk, real=Merger.finished):
        real(self, chunk)
        seen.append(len(rows_of(self.store)))

    monkeypatch.setattr(Merger, "finished", finished)
    run(grid(FID), store)
    assert seen == [n for block in range(10) for n in (block + 1, block + 1)]
    assert spans(store) == [(at, at + 3) for at in range(0, 40, 4)]
    assert len(list(store.files.folder.rglob("*.npz"))) == 10 + 1  # and the reference


def test_the_result_is_the_same_and_verifiable(store, grid, tmp_path, monkeypatch):
    run(grid(FID, KID), store)
    monkeypatch.setattr(Merger, "finished", lambda self, chunk: None)
    with Store(str(tmp_path / "apart" / "s.sqlite")) as apart:
        run(grid(FID, KID), apart)
        assert len(spans(apart)) == 20
        before, now = by_metric(apart), by_metric(store)
        for key, row in now.items():
            for name in ("value", "low", "high", "nfe", "evaluations"):
                assert row[name] == pytest.approx(before[key][name], rel=1e-12)
            assert np.allclose(row["replicates"], before[key]["replicates"], rtol=1e-12, atol=0)
            assert row["blocks"] == before[key]["blocks"]
            assert row["provenance"]["chunks"] == before[key]["provenance"]["chunks"] == 20
    assert healthy(store)


def test_after_a_merge_nothing_is_computed(store, grid):
    run(grid(FID), store)
    before = store.results()
    assert run(grid(FID), store).chunks == 0
    assert store.results() == before


def test_a_run_that_was_interrupted_goes_on(store, grid, monkeypatch):
    class Interrupted(Exception):
        pass

    counter = count()

    def finish(*arguments, real=store.finish):
        if next(counter) == 7:
            raise Interrupted
        real(*arguments)

    monkeypatch.setattr(store, "finish", finish)
    with pytest.raises(Interrupted):
        run(grid(FID), store)
    assert spans(store) == [(0, 3), (4, 7), (8, 11), (12, 13)]
    monkeypatch.setattr(store, "finish", Store.finish.__get__(store))
    assert run(grid(FID), store).chunks == 20 - 7
    assert spans(store) == [(at, at + 3) for at in range(0, 40, 4)]


def test_a_row_of_fewer_blocks_is_as_stored_and_is_measured_again(store, grid, monkeypatch):
    """Of a store from before: nothing is sampled, the value stays, and the interval is over as many blocks as now."""
    monkeypatch.setattr(Merger, "finished", lambda self, chunk: None)
    run(grid(FID), store)
    (before,) = store.results()
    monkeypatch.setattr(groups, "__defaults__", (12,))
    assert healthy(store)
    assert run(grid(FID), store).chunks == 0
    (after,) = store.results()
    assert (len(before["blocks"]), len(after["blocks"])) == (10, 12)
    assert after["value"] == pytest.approx(before["value"], rel=1e-12)
    assert healthy(store)


def test_going_on_merges_what_was_begun(store, grid):
    planned = grid(FID)
    (measurement,) = measurements(planned)
    run(planned, store)
    (row,) = store.results()
    for part in rows_of(store)[3:]:
        store.drop_chunk(part["key"])
    summary = run(planned, store)
    assert summary.chunks == 14
    assert spans(store) == [(at, at + 3) for at in range(0, 40, 4)]
    assert store.results()[0]["value"] == pytest.approx(row["value"], rel=1e-12)
    assert not plan_chunks([measurement], store).chunks
    assert healthy(store)


def test_more_seeds_use_the_blocks_again(store, grid):
    run(grid(FID, samples=40), store)
    summary = run(grid(FID, samples=80), store)
    assert summary.chunks == 20
    assert spans(store)[:10] == [(at, at + 3) for at in range(0, 40, 4)]  # the smaller number's blocks stay
    assert set(by_metric(store)) == {("fd-pixels", 0, 40), ("fd-pixels", 0, 80)}
    assert healthy(store)
    assert run(grid(FID, samples=40), store).chunks == run(grid(FID, samples=80), store).chunks == 0


@pytest.mark.parametrize("few", [13, 14, 37, 70])
def test_metrics_of_unlike_numbers_of_seeds_keep_their_blocks(store, grid, few):
    """No merge of one reaches across a block of the other, or beyond its last seed."""
    pairs = KID.replace("kind: kid", f"kind: kid, samples: {few}")
    assert run(grid(FID, pairs, samples=40), store).failed == 0
    assert healthy(store)
    assert run(grid(FID, pairs, samples=40), store).chunks == 0


def test_a_smaller_number_of_seeds_after_a_merge(store, grid):
    """The blocks reach beyond the seeds that are wanted, so those are computed for themselves."""
    run(grid(FID, samples=80), store)
    summary = run(grid(FID, samples=12), store)
    assert (summary.done, summary.failed) == (1, 0)
    assert healthy(store)
    assert run(grid(FID, samples=80), store).chunks == 0


def test_a_chunk_that_was_merged_meanwhile_is_not_claimed(store, grid):
    run(grid(FID), store)
    key = store.results()[0]["fingerprint"]
    merge_rows(store, rows_of(store)[:2])
    part = Chunk(key, 0, 3, SOURCE)
    assert not store.claim(part)
    assert not store.claim(part, within=(0, 39))
    assert store.claim(part, within=(0, 3))  # for somebody who wants these seeds only
    assert not store.claim(Chunk(key, 2, 5, SOURCE))
    store.release()
    assert [row["status"] for row in store.chunks(SOURCE) if row["first_seed"] == 0] == ["done"]


def test_a_stale_run_finishes_by_what_was_merged_meanwhile(store, grid, monkeypatch):
    """It planned chunks that another process finished and merged before they were claimed here."""
    planned = grid(FID, samples=20)
    run(planned, store)
    (before,) = store.results()
    kept = [(row, store.moments(row)) for row in rows_of(store)]
    store.forget(SOURCE, [before["fingerprint"]], (), [SOURCE])
    other = Store(store.name.removeprefix("sqlite:///"))
    other.owner = Owner("elsewhere", 1, "1")

    def made(*arguments, real=run_module.plan_chunks):
        found = real(*arguments)
        for row, arrays in kept:
            chunk = Chunk(row["fingerprint"], row["first_seed"], row["last_seed"], SOURCE)
            assert other.claim(chunk)
            other.finish(chunk, arrays, row["info"])
        merge_rows(other, rows_of(other)[:5])
        return found

    monkeypatch.setattr(run_module, "plan_chunks", made)
    summary = run(planned, store)
    assert (summary.done, summary.chunks) == (1, 0)
    (row,) = store.results()
    assert row["value"] == pytest.approx(before["value"], rel=1e-12)


def test_reading_while_another_process_merges(store, grid, monkeypatch):
    run(grid(FID), store)
    key = store.results()[0]["fingerprint"]
    merged = []

    def moments(row, real=store.moments):
        if not merged:
            merged.append(merge_rows(Store(store.name.removeprefix("sqlite:///")), rows_of(store)[:3]))
        return real(row)

    monkeypatch.setattr(store, "moments", moments)
    found = load_chunks(store, [SOURCE], key, SeedRange(0, 39))
    assert merged == [True]
    assert [tuple(piece.seeds) for piece in found] == [(0, 11), *((at, at + 3) for at in range(12, 40, 4))]


def test_what_is_lost_is_said(store, grid):
    run(grid(FID), store)
    key = store.results()[0]["fingerprint"]
    with pytest.raises(InputError, match=r"seeds 40 to 47 .* is not in the store any more; run its grid again"):
        load_chunks(store, [SOURCE], key, SeedRange(0, 47))
    path = next(store.files.folder.rglob(f"{rows_of(store)[2]['key']}.npz"))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="was changed since it was written"):
        load_chunks(store, [SOURCE], key, SeedRange(0, 39))


WHOLE = {"a": np.arange(8)}


class TestStoreMerge:
    @pytest.fixture
    def parts(self, store):
        for first in (0, 4):
            chunk = Chunk("f" * 64, first, first + 3, "x")
            assert store.claim(chunk)
            store.finish(chunk, {"a": np.arange(first, first + 4)}, {})
        return store.chunks("x")

    def test_only_the_first_of_two_merges(self, store, parts):
        other = Store(store.name.removeprefix("sqlite:///"))
        assert store.merge(parts, WHOLE, {"by": 1})
        assert not other.merge(parts, {"a": np.zeros(8)}, {"by": 2})  # other bits would not fit the first one's sum
        (row,) = store.chunks("x")
        assert row["info"] == {"by": 1}
        assert store.moments(row)["a"].tolist() == list(range(8))

    def test_a_crash_before_the_end_leaves_the_parts(self, store, parts, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store.files, "write", full)
        with pytest.raises(OSError, match="No space left"):
            store.merge(parts, WHOLE, {})
        assert store.chunks("x") == parts
        assert [store.moments(row)["a"].sum() for row in parts] == [6, 22]

    def test_a_chunk_of_all_these_seeds_is_in_the_way(self, store, parts):
        whole = Chunk("f" * 64, 0, 7, "x")
        with store.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO harness_chunks (key, fingerprint, first_seed, last_seed, extractor, status)"
                " VALUES (?, ?, 0, 7, 'x', 'claimed')",
                (whole.key, whole.fingerprint),
            )
        assert not store.merge(parts, WHOLE, {})
        assert len(store.chunks("x")) == 3
        assert not store.files.has(whole.key)

    def test_work_whose_claim_is_gone_is_kept(self, store):
        chunk = Chunk("f" * 64, 0, 3, "x")
        store.finish(chunk, {"a": np.arange(4)}, {"nfe": 1})
        (row,) = store.chunks("x")
        assert (row["status"], row["info"]) == ("done", {"nfe": 1})

    def test_work_that_became_part_of_a_larger_chunk_is_not(self, store, parts):
        store.merge(parts, WHOLE, {})
        store.finish(Chunk("f" * 64, 0, 3, "x"), {"a": np.arange(4)}, {})
        (row,) = store.chunks("x")
        assert row["last_seed"] == 7
        assert len(list(store.files.folder.rglob("*.npz"))) == 1

    def test_a_late_failure_does_not_undo_what_another_did(self, store, parts):
        store.fail(Chunk("f" * 64, 0, 3, "x"), "NaN", 1, {})
        assert {row["status"] for row in store.chunks("x")} == {"done"}
