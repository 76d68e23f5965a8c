"""Results computed again: a healthy store passes, and whatever was changed is found."""

import numpy as np
import pytest

from harness.execution import reference as references
from harness.execution.verify import as_now, metric_of, verify
from harness.metrics import FrechetDigits
from harness.store import tables
from harness.store.database import Chunk, Store
from tests.execution.wide import FID, KID, PRECISION, SOURCE, _inline, by_metric, grid, reference, run, store

__all__ = ["_inline", "grid", "reference", "store"]

CURVATURE = "{kind: curvature, samples: 8}"


def problems(store, **options):
    return [found.problem for found in verify(store, **options) if found.problem]


def change(store, key, **values):
    table = tables.results
    same = (table.c.metric == key[0]) & (table.c.n == key[2])
    with store.engine.begin() as connection:
        assert connection.execute(table.update().where(same).values(values)).rowcount == 1


def test_a_healthy_store(store, grid):
    run(grid(FID, KID, PRECISION, CURVATURE, chunk=4), store)
    found = list(verify(store))
    assert len(found) == 4
    assert all((one.problem, one.worst < 1e-12) == ("", True) for one in found)
    assert list(verify(store, ["0" * 64])) == []


@pytest.mark.parametrize("name", ["value", "low", "high", "nfe"])
def test_a_changed_number(store, grid, name):
    run(grid(FID, KID, chunk=4), store)
    key = ("fd-pixels", 0, 40)
    before = by_metric(store)[key][name]
    change(store, key, **{name: before * (1 + 1e-5)})
    (problem,) = problems(store)
    assert problem.startswith(f"{name} was")
    change(store, key, **{name: None})
    assert problems(store) == [f"{name} was None and is {before!r}"]
    change(store, key, **{name: before})
    assert not problems(store)


def test_intervals_that_earlier_versions_wrote(store, grid):
    run(grid(PRECISION, chunk=4), store)
    key = ("precision-pixels", 0, 40)
    row = by_metric(store)[key]
    assert (row["value"], row["low"], row["high"]) == (1, None, None)
    assert "No interval: every block of images gives the same value." in row["details"]["cautions"]
    change(store, key, low=1.0, high=1.0)  # an interval of no width
    assert not problems(store)
    change(store, key, low=0.9, high=1.0)
    assert problems(store) == ["low was 0.9 and is None"]
    share, distance = metric_of(row), FrechetDigits()
    stored = {"low": -0.3, "high": 1.3}
    assert [as_now(share, stored, stored[end], 0.5) for end in stored] == [0, 1]
    assert [as_now(distance, stored, stored[end], 0.5) for end in stored] == [-0.3, 1.3]


def test_a_changed_file_and_a_missing_one(store, grid):
    run(grid(FID, chunk=4), store)
    rows = store.chunks(SOURCE)
    path = next(store.files.folder.rglob(f"{rows[1]['key']}.npz"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert ["was changed since it was written" in problem for problem in problems(store)] == [True]
    path.unlink()
    assert ["cannot be read" in problem for problem in problems(store)] == [True]
    store.drop_chunk(rows[1]["key"])
    (problem,) = problems(store)
    assert "seeds 4 to 7" in problem
    assert "run its grid again" in problem
    assert run(grid(FID, chunk=4), store).chunks == 1
    assert not problems(store)


def test_another_reference_is_told(store, grid, reference):
    run(grid(FID, chunk=4), store)
    np.save(reference, np.zeros((60, 3, 8, 8), dtype=np.uint8))
    (problem,) = problems(store)
    assert f"reference '{reference}' is" in problem
    reference.unlink()
    (problem,) = problems(store)
    assert "no such file" in problem


@pytest.mark.parametrize(("apart", "told"), [(5e-7, 0), (2e-6, 1)])
def test_features_of_real_images_may_have_the_last_digits_of_another_processor(store, grid, apart, told):
    run(grid(FID, chunk=4), store)
    key = ("fd-pixels", 0, 40)
    change(store, key, value=by_metric(store)[key]["value"] * (1 + apart))
    assert len(problems(store)) == told


def test_a_reference_that_the_store_lacks_is_computed_once(store, grid, monkeypatch):
    run(grid(FID, KID, chunk=4), store)
    with store.engine.begin() as connection:
        connection.execute(tables.facts.delete())
    asked, computed = [], references._ReferenceFacts._computed
    monkeypatch.setattr(
        references._ReferenceFacts, "_computed", lambda facts: asked.append(facts.place.source) or computed(facts)
    )
    assert not problems(store) and len(asked) == 2  # KID needs features, FID moments


def test_a_failed_result_is_nothing_to_verify(store, grid):
    run(grid(FID, chunk=4), store)
    (row,) = store.results()
    store.put_result({**{k: v for k, v in row.items() if k not in ("id", "finished_at")}, "status": "failed"})
    assert list(verify(store)) == []


def test_a_row_that_does_not_say_how(store, grid):
    run(grid(FID, chunk=4), store)
    change(store, ("fd-pixels", 0, 40), provenance={})
    assert problems(store) == ["the row does not say how 'fd-pixels' was measured"]
    change(store, ("fd-pixels", 0, 40), provenance={"choice": {"kind": "fid", "extractor": "nothing"}})
    (problem,) = problems(store)
    assert problem.startswith("the row's choice of 'fd-pixels' is none that this version knows")
    assert metric_of({"provenance": {}, "metric": "fd-digits"}).kind == "fd-digits"


def test_blocks_of_another_cut(store, grid):
    """A search measures by smaller blocks than the chunks that a run stored before; its row names them."""
    run(grid(FID, chunk=10), store)
    (row,) = store.results()
    other = store.files.folder.parent
    run(grid(FID, chunk=4), Store(str(other / "fine.sqlite"), files=other / "fine"))
    with Store(str(other / "fine.sqlite"), files=other / "fine") as fine:
        (finer,) = fine.results()
        for part in fine.chunks(SOURCE):
            chunk = Chunk(part["fingerprint"], part["first_seed"], part["last_seed"], SOURCE)
            assert store.claim(chunk, within=(chunk.first, chunk.last))
            store.finish(chunk, fine.moments(part), part["info"])
    assert row["blocks"] != finer["blocks"] and row["low"] != finer["low"]
    assert not problems(store)
    store.put_result({key: value for key, value in finer.items() if key != "id"})
    assert not problems(store)
