"""Looking after a store: what is merged, what is dropped, and what has to stay."""

import os
import sqlite3
import time

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.execution.gc import GRACE, collect
from harness.execution.merging import Merger
from harness.execution.verify import verify
from harness.store.database import Chunk, Owner, Store
from tests.execution.wide import FID, KID, SOURCE, _inline, grid, reference, run, spans, store, ten_blocks

__all__ = ["_inline", "grid", "reference", "store", "ten_blocks"]

pytestmark = pytest.mark.usefixtures("ten_blocks")

DIGITS = "{kind: fd-digits}"
LATER = GRACE + 60


@pytest.fixture
def apart(monkeypatch):
    """Runs that merge nothing."""
    monkeypatch.setattr(Merger, "finished", lambda self, job: None)


def healthy(store):
    found = list(verify(store))
    return bool(found) and not [one.problem for one in found if one.problem]


def everything(store):
    return store.all_chunks(), store.results(), sorted(store.files.folder.rglob("*"))


def orphan(store, name="ab" * 32 + ".npz"):
    path = store.files.folder / "ab" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    return path


@pytest.mark.usefixtures("apart")
@pytest.mark.parametrize("few", [13, 14, 20, 37])
def test_merges_keep_the_blocks_of_every_result(store, grid, few):
    """Some chunks are shared by metrics of unlike numbers of seeds."""
    run(grid(FID, KID.replace("kind: kid", f"kind: kid, samples: {few}")), store)
    run(grid(FID, samples=26), store)
    before = len(spans(store))
    dry = collect(store, dry_run=True)
    found = collect(store)
    assert (found.merged, found.blocks) == (dry.merged, dry.blocks)
    assert found.blocks > 0
    assert len(spans(store)) == before - found.merged + found.blocks
    assert found.freed > 0
    assert healthy(store)
    assert collect(store).merged == 0
    assert run(grid(FID, samples=40), store).chunks == run(grid(FID, samples=26), store).chunks == 0


def test_after_a_run_that_merged_there_is_nothing_to_merge(store, grid):
    run(grid(FID), store)
    assert collect(store) == (0, 0, 0, 0, 0, 0)


@pytest.mark.usefixtures("apart")
def test_a_dry_run_changes_nothing(store, grid):
    run(grid(FID), store)
    old = orphan(store)
    other = Store(str(store.path))
    other.owner = Owner(store.owner.host, 2**22 + 1, "1")
    other.claim(Chunk("e" * 64, 0, 1, "x"))
    before = everything(store)
    found = collect(store, unused=True, dry_run=True, now=time.time() + LATER)
    assert (found.merged, found.orphans, found.claims) == (20, 1, 1)
    assert everything(store) == before
    assert old.exists()


def test_orphans_go_after_an_hour(store, grid):
    run(grid(FID), store)
    old, half, foreign = orphan(store), orphan(store, f".{'ab' * 32}.npz.77.tmp"), orphan(store, "notes.txt")
    known = [path for path in store.files.folder.rglob("*.npz") if path != old]
    assert collect(store).orphans == 0
    found = collect(store, now=time.time() + LATER)
    assert (found.orphans, found.freed) == (2, 10)
    assert not old.exists()
    assert not half.exists()
    assert foreign.exists()  # not a name that a store gives
    assert all(path.exists() for path in known)
    assert healthy(store)


def test_a_neighbours_arrays_are_no_orphans(store, grid, tmp_path):
    """Two SQLite files in one folder keep their arrays in one folder."""
    with Store(str(tmp_path / "other.db")) as other:
        run(grid(FID, mean=0.3), other)
    run(grid(FID), store)
    (tmp_path / "text.sqlite").write_text("no database")
    sqlite3.connect(tmp_path / "foreign.sqlite").execute("CREATE TABLE t (a)").connection.close()
    assert collect(store, now=time.time() + LATER).orphans == 0
    with Store(str(tmp_path / "other.db")) as other:
        assert healthy(other)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("UPDATE harness_meta SET value = '999' WHERE key = 'schema'")
    connection.close()
    with pytest.raises(InputError, match="schema version 999"):
        collect(store, now=time.time() + LATER)
    assert len(list(store.files.folder.rglob("*.npz"))) == 2 * 10 + 1


def test_chunks_of_no_result(store, grid):
    run(grid(FID, DIGITS.replace("fd-digits}", "curvature, samples: 8}")), store)
    chunk = Chunk("e" * 64, 0, 1, SOURCE)
    store.claim(chunk)
    store.finish(chunk, {"n": np.array(2)}, {})
    assert collect(store).unused == 0
    assert collect(store, unused=True).unused == 1
    assert not store.files.has(chunk.key)
    assert healthy(store)


def test_lapsed_claims(store):
    mine, gone = Chunk("e" * 64, 0, 1, "x"), Chunk("e" * 64, 2, 3, "x")
    store.claim(mine)
    other = Store(str(store.path))
    other.owner = Owner(store.owner.host, 2**22 + 1, "1")
    other.claim(gone)
    assert collect(store).claims == 1
    assert [row["first_seed"] for row in store.chunks("x")] == [0]


def test_a_file_that_goes_meanwhile(store, grid, monkeypatch):
    run(grid(FID), store)
    real = os.stat

    def stat(path, *arguments, **options):
        if str(path).endswith(f"{'ab' * 32}.npz"):
            raise FileNotFoundError(2, "gone")
        return real(path, *arguments, **options)

    orphan(store)
    monkeypatch.setattr(os, "stat", stat)
    assert collect(store, now=time.time() + LATER).orphans == 0
