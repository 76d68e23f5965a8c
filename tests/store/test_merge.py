"""Two stores: what one takes from the other, what it has already, and what does not agree."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.store.database import Chunk, Store
from harness.store.forget import forget
from harness.store.merge import merge_stores
from harness.store.names import Named, keep_grid
from harness.store.studies import DONE, FAILED, RUNNING, Studies

TRIALS = {name: name * 64 for name in "abcd"}


@pytest.fixture
def stores(tmp_path):
    """Two empty stores in folders of their own."""
    with Store(str(tmp_path / "one" / "s.sqlite")) as one, Store(str(tmp_path / "two" / "s.sqlite")) as two:
        yield one, two


def chunk(store, trial, first=0, last=3, level=1.0, extractor="net+features"):
    made = Chunk(TRIALS[trial], first, last, extractor)
    assert store.claim(made)
    store.finish(made, {"mean": np.full(3, level)}, {"nfe": [5, 5, 5]})
    return made


def result(store, trial, value=1.0, status="done", n=4):
    row = {"fingerprint": TRIALS[trial], "extractor": "net", "reference": "r", "first_seed": 0, "n": n}
    row |= {
        "status": status,
        "metric": "fid",
        "trial": {},
        "provenance": {},
        "value": value if status == "done" else None,
    }
    store.put_result(row)


def grid(store, trials, folder="/grids", title="A", name="g"):
    items = [{"fingerprint": TRIALS[trial]} for trial in trials]
    record = {"name": name, "title": title, "source": f"title: {title}", "items": items}
    return keep_grid(store, record | {"place": f"{folder}/{name}.yaml"})


def slot(studies, number, status=DONE, value=1.0, fingerprint=None):
    studies.begin("one", number, {"status": RUNNING, "origin": "suggested", "params": {"x": number},
                                  "fingerprint": fingerprint or TRIALS["abcd"[number]]})  # fmt: skip
    if status != RUNNING:
        studies.settle("one", number, {"status": status, "value": value, "rungs": []})


def held(store):
    studies = Studies(store)
    rows = [{**row, "id": 0} for row in (*store.all_chunks(), *store.results(), *studies.slots("one"))]
    plans = {name: store.grid(name) for name in store.grid_names()}
    return sorted(map(str, rows)), plans, sorted(path.name for path in store.files.folder.rglob("*.npz"))


def test_everything_is_taken_once(stores):
    one, two = stores
    chunk(one, "a")
    result(one, "a")
    chunk(two, "b", 0, 3, 2.0)
    result(two, "b", 2.0)
    grid(two, "ab")
    two.put_fact("floor:x", {"mean": 1.0})
    sha256 = two.files.write("ab" * 32, {"mu": np.zeros(2)})
    two.put_fact("reference:x", {"id": "x", "key": "ab" * 32, "sha256": sha256})
    two.put_image(TRIALS["b"], 0, 4, b"png")
    slot_of = Studies(two)
    slot_of.open("one", {"nfe": 5}, {"title": "One"})
    slot(slot_of, 0)
    before = held(one), held(two)
    dry = merge_stores(one, two, dry_run=True)
    assert (held(one), held(two)) == before
    merged = merge_stores(one, two)
    assert merged == dry
    assert merged[:5] == (1, 1, 1, 1, 3) and not merged.conflicts
    (row,) = one.chunks("net+features", [TRIALS["b"]])
    assert np.array_equal(one.moments(row)["mean"], np.full(3, 2.0))
    assert {row["fingerprint"]: row["value"] for row in one.results()} == {TRIALS["a"]: 1.0, TRIALS["b"]: 2.0}
    assert one.grid("g") == two.grid("g") | {"place": one.grid("g")["place"]}
    assert one.files.has("ab" * 32) and one.fact("floor:x") == {"mean": 1.0}
    assert one.images([TRIALS["b"]], 0) == {TRIALS["b"]: b"png"}
    assert [row["value"] for row in Studies(one).slots("one")] == [1.0]
    assert held(two) == before[1]
    assert merge_stores(one, two)[:6] == (0, 0, 0, 0, 0, [])
    assert merge_stores(two, one)[:6] == (1, 1, 0, 0, 0, [])
    assert held(one)[0] == held(two)[0]


def test_rounding_is_no_conflict_and_more_is_one(stores):
    one, two = stores
    for store, level in ((one, 1.0), (two, 1.0 + 1e-13)):
        chunk(store, "a", level=level)
        result(store, "a", level)
    for store, level in ((one, 1.0), (two, 1.1)):
        chunk(store, "b", level=level)
        result(store, "b", level)
        chunk(store, "c", level=level)
    result(two, "c")
    merged = merge_stores(one, two)
    assert merged[:2] == (0, 0)
    assert merged.conflicts == [
        "trial bbbbbbbbbbbb, seeds 0 to 3: the arrays differ; what is here stays",
        "trial cccccccccccc, seeds 0 to 3: the arrays differ; what is here stays",
        "trial bbbbbbbbbbbb, seeds 0 to 3: fid is 1 here and 1.1 there; what is here stays",
    ]
    assert len(one.results()) == 2  # the third is of arrays that are not these


def test_failures_and_claims_stay_where_they_are(stores):
    one, two = stores
    lost = Chunk(TRIALS["a"], 0, 3, "net+features")
    one.claim(lost)
    one.fail(lost, "a bad day", None, {})
    result(one, "a", status="failed")
    chunk(two, "a")
    result(two, "a")
    other = Chunk(TRIALS["b"], 0, 3, "net+features")
    two.claim(other)
    two.fail(other, "NaN", 3, {})
    result(two, "b", status="failed")
    two.claim(Chunk(TRIALS["c"], 0, 3, "net+features"))
    assert merge_stores(one, two)[:2] == (1, 1)
    assert [(row["fingerprint"][0], row["status"]) for row in one.all_chunks()] == [("a", "done")]
    assert [(row["fingerprint"][0], row["status"]) for row in one.results()] == [("a", "done")]


def test_seeds_that_lie_in_a_larger_chunk_are_here(stores):
    one, two = stores
    chunk(one, "a", 0, 7)
    chunk(two, "a", 0, 3)
    chunk(two, "a", 4, 11)
    assert merge_stores(one, two).chunks == 1
    assert sorted((row["first_seed"], row["last_seed"]) for row in one.all_chunks()) == [(0, 7), (4, 11)]


def test_a_file_that_is_damaged_there_is_named_and_left(stores):
    one, two = stores
    chunk(two, "a")
    made = chunk(two, "b")
    path = next(two.files.folder.rglob(f"{made.key}.npz"))
    path.write_bytes(b"x")
    merged = merge_stores(one, two)
    assert merged.chunks == 1
    assert merged.conflicts[0].startswith(f"{path}: the file was changed")
    for file in two.files.folder.rglob("*.npz"):
        file.unlink()
    with pytest.raises(InputError, match="none of the files of the 2 finished chunks"):
        merge_stores(one, two)
    with pytest.raises(InputError, match="is the store itself"):
        merge_stores(one, one)


def test_grids_of_one_name(stores):
    one, two = stores
    grid(one, "a")
    grid(two, "ab", title="Edited")
    assert merge_stores(one, two).conflicts == ["grid 'g' has other trials there; what is here stays"]
    grid(two, "b", folder="/elsewhere", title="B")
    merged = merge_stores(one, two)
    assert merged.grids == 1
    assert merged.notes[0].endswith("this one is kept as 'elsewhere/g'")
    assert {name: one.grid(name)["title"] for name in one.grid_names()} == {"g": "A", "elsewhere/g": "B"}


def test_a_search_goes_on_from_where_the_other_store_has_it(stores):
    one, two = stores
    for store, count in ((one, 2), (two, 3)):
        studies = Studies(store)
        studies.open("one", {"nfe": 5}, {})
        for number in range(count):
            slot(studies, number)
    slot(Studies(one), 2, RUNNING)
    Studies(two).update("one", budget={"trials": 3}, finals=[])
    assert merge_stores(one, two).searches == 1
    assert [row["status"] for row in Studies(one).slots("one")] == [DONE] * 3
    assert Studies(one).find("one")["budget"] == {"trials": 3}
    assert merge_stores(one, two).searches == 0
    slot(Studies(one), 3, value=1.0)
    slot(Studies(two), 3, FAILED)
    assert merge_stores(one, two).conflicts == ["search 'one' differs there; what is here stays"]


def test_forgetting_a_grid_keeps_what_others_use(stores):
    one, _ = stores
    for trial in "abc":
        chunk(one, trial)
        result(one, trial)
        one.put_image(TRIALS[trial], 0, 1, b"")
    grid(one, "ab")
    grid(one, "b", name="other")
    slot(Studies(one), 0, fingerprint=TRIALS["c"])
    assert forget(one, Named("grid", "g")) == (1, 0, 0)
    assert one.grid_names() == ["other"]
    assert len(one.results()) == 3
    grid(one, "abc")
    Studies(one).open("one", {}, {})
    assert forget(one, Named("grid", "g"), with_results=True) == (1, 1, 1)
    assert sorted(row["fingerprint"][0] for row in one.results()) == ["b", "c"]
    assert sorted(one.images(list(TRIALS.values()), 0)) == [TRIALS["b"], TRIALS["c"]]
    assert len(list(one.files.folder.rglob("*.npz"))) == 2
    assert forget(one, Named("search", "one"), with_results=True) == (1, 1, 1)
    assert (Studies(one).names(), Studies(one).slots("one")) == ([], [])
