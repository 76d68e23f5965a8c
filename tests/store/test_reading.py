"""Stores that are only read: nothing is made, changed or left behind, wherever they lie and whatever they are."""

import sqlite3

import pytest
import sqlalchemy as sa

from harness.core.errors import InputError
from harness.store import tables
from harness.store.database import Store
from harness.store.location import NoStoreError
from harness.store.studies import Studies

ROW = {"fingerprint": "f", "extractor": "e", "reference": "r", "first_seed": 0, "n": 4, "status": "done"}
ROW |= {"metric": "m", "trial": {}, "provenance": {}, "value": 1.5}


@pytest.fixture
def path(tmp_path):
    """A store with a result, closed, in a folder whose name needs quoting."""
    made = tmp_path / "50% of#what?" / "a b.sqlite"
    with Store(str(made)) as store:
        store.put_result(ROW)
    return made


def state(folder):
    return {str(one): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


@pytest.mark.parametrize("as_url", [False, True])
def test_reading_changes_and_leaves_nothing(path, tmp_path, as_url):
    before = state(tmp_path)
    name = sa.URL.create("sqlite", database=str(path)).render_as_string() if as_url else str(path)
    with Store(name, read_only=True) as store:
        assert [row["value"] for row in store.results()] == [1.5]
        assert (store.path, store.files.folder) == (path, path.parent / "files")
        with pytest.raises(InputError, match=r"attempt to write a readonly database; .* give another --store"):
            store.put_fact("a", 1)
    assert state(tmp_path) == before


def test_a_file_that_cannot_be_written(path, tmp_path, monkeypatch):
    """A mount for reading, or somebody else's folder: SQLite cannot make its index of the log there."""
    monkeypatch.setattr("harness.store.connection.os.access", lambda place, mode: False)
    before = state(tmp_path)
    with Store(str(path), read_only=True) as store:
        assert len(store.results()) == 1
        assert state(tmp_path) == before
    assert state(tmp_path) == before


def test_rows_that_are_in_the_log_alone_are_read(path, monkeypatch):
    writer = Store(str(path))
    writer.put_result(ROW | {"n": 5})
    assert path.with_name(f"{path.name}-wal").stat().st_size
    with Store(str(path), read_only=True) as store:
        assert len(store.results()) == 2
        writer.put_result(ROW | {"n": 6})
        assert len(store.results()) == 3
    monkeypatch.setattr("harness.store.connection.os.access", lambda place, mode: False)
    with Store(str(path), read_only=True) as store:
        assert len(store.results()) == 3
    writer.close()


def test_sqlites_own_uri(tmp_path):
    path = tmp_path / "s.sqlite"
    Store(str(path)).close()
    for place in (path, f"//{path}"):
        with Store(f"sqlite:///file:{place}?mode=ro&immutable=1&uri=true", read_only=True) as store:
            assert (store.results(), store.path) == ([], path)
    with pytest.raises(InputError, match="attempt to write a readonly database"):
        Store(f"sqlite:///file:{path}?mode=ro&uri=true").put_fact("a", 1)


@pytest.mark.parametrize("options", [{"read_only": True}, {"create": False}])
@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_what_is_no_store(tmp_path, prefix, options):
    foreign, empty, missing = (tmp_path / f"{name}.db" for name in ("foreign", "empty", "missing"))
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE runs (a)")
    connection.close()
    empty.touch()
    before = state(tmp_path)
    said = {foreign: r"its tables are another program's \(runs\)", empty: "holds no store|no store yet", missing: "yet"}
    for path, words in said.items():
        with pytest.raises(NoStoreError, match=words) as caught:
            Store(f"{prefix}{path}", **options)
        assert caught.value.can_be_made == (path != foreign)
    assert state(tmp_path) == before


def test_damage_is_told_in_sqlites_words_with_a_remedy(path, tmp_path):
    with Store(str(path)) as store:
        for n in range(5, 200):
            store.put_result(ROW | {"n": n, "details": {"long": "x" * 900}})
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * 40000 + content[48192:])
    for options in ({"read_only": True}, {}):
        with pytest.raises(InputError, match=r"database disk image is malformed; .*\.recover"):
            Store(str(path), **options).results()
    path.write_bytes(b"SQLite format 3\0" + b"\x07" * 5000)
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, by any means, however long one makes this text")
    for damaged in (path, text):
        with pytest.raises(InputError, match=r"file is not a database; give --store an SQLite file that `harness run`"):
            Store(str(damaged), read_only=True)
    with pytest.raises(InputError, match=r"is a folder; --store takes the SQLite file, such as .*harness\.sqlite"):
        Store(str(tmp_path), read_only=True)


def test_an_earlier_schema_is_read_as_it_is(path, tmp_path):
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE harness_results DROP COLUMN details")
        connection.execute("DROP TABLE harness_studies")
        connection.execute("DROP TABLE harness_slots")
        connection.execute("UPDATE harness_meta SET value = '1' WHERE key = 'schema'")
    connection.close()
    before = state(tmp_path)
    with Store(str(path), read_only=True) as store:
        (row,) = store.results()
        assert (row["value"], row["details"]) == (1.5, None)
        assert (Studies(store).names(), Studies(store).find("x"), Studies(store).slots("x")) == ([], None, [])
        assert not store.notes
    assert state(tmp_path) == before
    with Store(str(path), create=False) as store:
        assert store.notes == [
            f"{store.name}: the store of schema 1 was brought to schema {tables.SCHEMA_VERSION}; earlier versions of "
            "the program do not read it"
        ]
    with Store(str(path)) as store:
        assert (store.notes, Studies(store).names()) == ([], [])


def test_a_store_that_another_process_is_making(path):
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM harness_meta")
        connection.execute("DROP TABLE harness_results")
    connection.close()
    with Store(str(path), read_only=True) as store:
        assert store.results() == []


def test_a_later_schema_is_refused(path):
    with Store(str(path)) as store:
        store.write(sa.update(tables.meta).values(value="999"))
    with pytest.raises(InputError, match="schema version 999"):
        Store(str(path), read_only=True)


def test_a_busy_writer_is_no_reason_to_wait(path):
    """Readers go on while somebody writes."""
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with Store(str(path), read_only=True) as store:
        assert len(store.results()) == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    assert [one.name for one in path.parent.iterdir()] == [path.name]
