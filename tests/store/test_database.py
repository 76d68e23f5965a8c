"""The store: claims and leases, arrays with checksums, results, and what it refuses."""

import sqlite3
import time
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.store import database as module
from harness.store import leases
from harness.store.database import Chunk, Owner, Store

CHUNK = Chunk("f" * 64, 0, 63, "pixels")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "results" / "store.sqlite")


@pytest.fixture
def store(path):
    with Store(path) as opened:
        yield opened


def as_owner(path, host="elsewhere", pid=1, started="1"):
    other = Store(path)
    other.owner = Owner(host, pid, started)
    return other


def test_a_chunk_goes_in_and_out(store):
    assert store.claim(CHUNK)
    assert not store.claim(CHUNK)
    moments = {"n": np.array(64), "mean": np.arange(3.0), "scatter": np.eye(3)}
    store.finish(CHUNK, moments, {"nfe": [35, 35.0, 35]})
    (row,) = store.chunks("pixels")
    assert (row["status"], row["first_seed"], row["last_seed"]) == ("done", 0, 63)
    assert row["info"] == {"nfe": [35, 35.0, 35]}
    for name, value in store.moments(row).items():
        assert np.array_equal(value, moments[name])
    assert not store.claim(CHUNK)
    assert not store.claim(CHUNK, retry_failed=True)


def test_another_live_process_keeps_its_claim(path, store):
    other = as_owner(path)
    assert other.claim(CHUNK)
    assert not store.claim(CHUNK)
    other.release()
    assert store.claim(CHUNK)


@pytest.fixture
def clock(monkeypatch):
    """The clock by which claims are watched, in seconds: `clock.now` may be set."""
    made = SimpleNamespace(now=0.0, time=time.time)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(leases, "time", made)
    return made


def test_a_claim_that_stays_as_it_is_for_a_minute_is_taken_over(path, store, clock):
    other = as_owner(path)
    assert other.claim(CHUNK)
    for now, taken in ((0, False), (leases.LEASE_SECONDS, False), (leases.LEASE_SECONDS + 1, True)):
        clock.now = now
        assert store.claim(CHUNK) == taken
    assert not other.claim(CHUNK)


def test_renewing_keeps_a_lease(path, store, clock):
    other = as_owner(path)
    assert other.claim(CHUNK)
    assert not store.claim(CHUNK)
    for _ in range(3):
        clock.now += leases.LEASE_SECONDS * 0.9
        other.renew()
        assert not store.claim(CHUNK)


@pytest.mark.parametrize("wrong_by", [-3600.0, 3600.0, -1.6e9])
def test_a_wrong_clock_elsewhere_neither_loses_claims_nor_keeps_them(path, store, clock, monkeypatch, wrong_by):
    """The clock of the machine that claims is behind, ahead, or at the start of 1970."""
    other = as_owner(path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "time", SimpleNamespace(time=lambda: time.time() + wrong_by))
        assert other.claim(CHUNK)
        assert not store.claim(CHUNK)
        clock.now += 50
        other.renew()
    for passed, taken in ((50, False), (61, True)):  # renewed once, and then no more
        clock.now += passed
        assert store.claim(CHUNK) == taken


def test_a_failure_leaves_the_claim_of_another_alone(path, store, clock):
    other = as_owner(path)
    assert other.claim(CHUNK)
    assert not store.claim(CHUNK)
    clock.now = leases.LEASE_SECONDS + 1
    assert store.claim(CHUNK)
    assert not other.fail(CHUNK, "NaN", 3, {})
    other.give_back(CHUNK)
    (row,) = store.chunks("pixels")
    assert (row["status"], row["owner"]) == ("claimed", str(store.owner))
    assert store.fail(CHUNK, "NaN", 3, {})


def test_a_chunk_that_is_given_back_is_free(path, store):
    assert store.claim(CHUNK)
    store.give_back(CHUNK)
    assert as_owner(path).claim(CHUNK)


def test_a_dead_process_on_this_host_loses_its_claim_at_once(path, store):
    other = as_owner(path, host=store.owner.host, pid=2**22 + 1, started="123")
    assert other.claim(CHUNK)
    assert store.claim(CHUNK)


def test_a_process_id_used_again_is_another_process(store):
    mine = store.owner
    assert not mine.is_gone()
    assert Owner(mine.host, mine.pid, mine.started + "0").is_gone()
    assert Owner.parse(str(mine)) == mine


def test_failed_chunks_are_retried_only_on_request(store):
    assert store.claim(CHUNK)
    store.fail(CHUNK, "NaN", 3, {})
    (row,) = store.chunks("pixels")
    assert (row["status"], row["reason"], row["step"]) == ("failed", "NaN", 3)
    assert not store.claim(CHUNK)
    assert store.claim(CHUNK, retry_failed=True)


def test_a_changed_array_file_is_refused(store):
    store.claim(CHUNK)
    store.finish(CHUNK, {"mean": np.zeros(2)}, {})
    (row,) = store.chunks("pixels")
    path = next(store.files.folder.rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="was changed since it was written"):
        store.moments(row)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        store.moments(row)


def test_a_folder_of_files_that_is_away(store, tmp_path):
    store.check_files()
    chunks = [Chunk("f" * 64, first, first + 9, "pixels") for first in (0, 10)]
    for chunk in chunks:
        store.claim(chunk)
        store.finish(chunk, {"mean": np.zeros(2)}, {})
    store.check_files()
    next(store.files.folder.rglob("*.npz")).unlink()
    store.check_files()
    assert store.drop_lost("pixels", ["f" * 64]) == 1
    store.files.folder.rename(tmp_path / "away")
    with pytest.raises(
        InputError, match=f"{store.files.folder}: none of the files of the 1 finished chunks .* --files DIR"
    ):
        store.check_files()


def test_no_half_written_files(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.core.files.os.fsync", full)
    store.claim(CHUNK)
    with pytest.raises(OSError, match="No space left"):
        store.finish(CHUNK, {"mean": np.zeros(2)}, {})
    assert not [path for path in store.files.folder.rglob("*") if path.is_file()]
    assert store.chunks("pixels")[0]["status"] == "claimed"


result_rows = st.fixed_dictionaries(
    {
        "value": st.floats(0, 1e6),
        "low": st.none() | st.floats(-10, 1e6),
        "high": st.none() | st.floats(0, 1e6),
        "replicates": st.lists(st.floats(0, 1e6), max_size=10),
        "nfe": st.floats(1, 1e4),
        "details": st.none()
        | st.dictionaries(st.text(max_size=5), st.lists(st.floats(-10, 10), max_size=3), max_size=3),
        "trial": st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3),
        "reason": st.none() | st.text(max_size=20).filter(lambda text: "\x00" not in text),
    }
)


@given(row=result_rows)
def test_results_go_in_and_out(tmp_path_factory, row):
    key = {"fingerprint": "a", "extractor": "e", "reference": "r", "first_seed": 0, "n": 10}
    full = {**key, "status": "done", "metric": "m", "provenance": {"chunks": 1}, **row}
    with Store(str(tmp_path_factory.mktemp("store") / "s.sqlite")) as opened:
        opened.put_result({**full, "value": 1.0})
        opened.put_result(full)
        (found,) = opened.results()
        assert {name: found[name] for name in full} == full
        assert opened.results(["a"]) == [found]
        assert opened.results(["b"]) == []


def test_grids_facts_and_images(store):
    store.put_grid("one", {"title": "1"})
    store.put_grid("one", {"title": "2"})
    store.put_fact("floor", {"mean": 1.5})
    store.put_image("f", 0, 64, b"png")
    assert store.grid("one") == {"title": "2"}
    assert store.grid("two") is None
    assert store.grid_names() == ["one"]
    assert store.fact("floor") == {"mean": 1.5}
    assert store.fact("none") is None
    assert store.images(["f", "g"], 0) == {"f": b"png"}


def test_forgetting_a_trial(store):
    store.claim(CHUNK)
    store.finish(CHUNK, {"mean": np.zeros(2)}, {})
    store.put_image(CHUNK.fingerprint, 0, 1, b"")
    store.forget("pixels", [CHUNK.fingerprint], [CHUNK.fingerprint])
    assert store.chunks("pixels") == []
    assert store.images([CHUNK.fingerprint], 0) == {}
    assert store.claim(CHUNK)


def test_forgetting_leaves_other_metrics_alone(store):
    row = {"fingerprint": "f", "reference": "r", "first_seed": 0, "n": 4, "status": "done", "metric": "m"}
    row |= {"trial": {}, "provenance": {}}
    for extractor in ("pixels", "other"):
        store.put_result(row | {"extractor": extractor})
    for name in ("picture", "f"):
        store.put_image(name, 0, 1, b"")
    store.forget("pixels", ["f"], ["picture"])
    assert [found["extractor"] for found in store.results()] == ["other"]
    assert list(store.images(["picture", "f"], 0)) == ["f"]


def test_a_store_of_the_first_schema_is_brought_up(tmp_path):
    path = str(tmp_path / "old.sqlite")
    row = {"fingerprint": "f", "extractor": "e", "reference": "r", "first_seed": 0, "n": 4, "status": "done"}
    row |= {"metric": "m", "trial": {}, "provenance": {}, "value": 1.5}
    with Store(path) as made:
        made.put_result(row)
        with made.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE harness_results DROP COLUMN details"))
            connection.execute(sa.text("UPDATE harness_meta SET value = '1' WHERE key = 'schema'"))
    for _ in range(2):
        with Store(path) as opened:
            (found,) = opened.results()
            assert (found["value"], found["details"]) == (1.5, None)
            opened.put_result(row | {"n": 5, "details": {"a": [1]}})
            assert opened.results()[1]["details"] == {"a": [1]}
            opened.forget("e", [])
            with opened.engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM harness_results WHERE n = 5"))


def test_what_is_not_a_store(tmp_path):
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, by any means, however long one makes this text")
    with pytest.raises(InputError, match="cannot open the store"):
        Store(str(text))
    with pytest.raises(InputError, match="there is no store yet"):
        Store(str(tmp_path / "none.sqlite"), create=False)
    with pytest.raises(InputError, match="--files DIR"):
        Store("postgresql+psycopg://user:secret@host/db")


def test_another_schema_version_is_refused(path):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE harness_meta SET value = '999'")
    connection.close()
    with pytest.raises(InputError, match="schema version 999"):
        Store(path)


def test_no_password_in_the_stores_name(tmp_path):
    with pytest.raises(InputError) as caught:
        Store("postgresql+psycopg://user:secret@127.0.0.1:1/db", files=tmp_path)
    assert "secret" not in str(caught.value)
