"""A study in PostgreSQL: two processes at once, and the same outcome as one process over SQLite."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from harness.core.errors import InputError
from harness.store.database import Chunk, Store
from harness.store.location import NoStoreError
from harness.store.merge import merge_stores
from harness.store.names import find_in_store, keep_grid, latest
from harness.store.studies import Studies
from tests.postgresql import PASSWORD, NoServer, server
from tests.search import runs

BUDGET = 10


@pytest.fixture(scope="module")
def running():
    """A server of our own, started from the PostgreSQL that the machine has.

    The server is no Python package, so `make` cannot install it. On a machine without one these tests are left out, and
    pytest's summary says so with the reason; the same checks over SQLite are in test_processes and tests/store.
    """
    try:
        with server() as found:
            yield found
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def opened(running, tmp_path):
    with Store(running.make(tmp_path.name), tmp_path / "files") as store:
        yield store


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(running, tmp_path):
    target, url, files = runs.write_target(tmp_path), running.make("study"), tmp_path / "shared"
    more = ("--budget", BUDGET, "--files", files)
    both = [runs.start(runs.command(target, url, *more, cpu=cpu), tmp_path / "log") for cpu in (0, 1)]
    said = [text for process in both for text in runs.finish(process)]
    alone = runs.command(target, tmp_path / "alone.sqlite", "--budget", BUDGET, cpu=0)
    runs.finish(runs.start(alone, tmp_path / "other log"))
    with Store(url, files) as store, Store(str(tmp_path / "alone.sqlite")) as other:
        runs.check(store, BUDGET)
        runs.check(other, BUDGET)
        runs.same(store, other)
        assert runs.log_of(tmp_path / "log") == runs.chunks(store).keys() == runs.chunks(other).keys()
        rows = [store.all_chunks(), store.results(), Studies(store).find("little"), Studies(store).slots("little")]
    written = "".join([*said, str(rows), *(page.read_text() for page in tmp_path.glob("*.html"))])
    assert f"little: {BUDGET}/{BUDGET} trials" in written
    assert PASSWORD not in written


def test_a_chunk_is_claimed_once_and_finished(opened, tmp_path):
    chunk = Chunk("f" * 64, 4_294_967_290, 4_294_967_295, "x")
    with Store(opened.url.render_as_string(hide_password=False), tmp_path / "files") as other:
        other.owner = other.owner._replace(host="elsewhere")
        assert opened.claim(chunk) and not other.claim(chunk)
        opened.renew()
        opened.release()
        assert other.claim(chunk) and not opened.claim(chunk)
        other.finish(chunk, {}, {"seconds": 1.5})
        assert not opened.claim(chunk)
    (row,) = opened.all_chunks()
    assert (row["status"], row["info"], row["last_seed"]) == ("done", {"seconds": 1.5}, 4_294_967_295)


def test_rows_that_many_write_at_once(running, tmp_path):
    """Making tables, and replacing one fact, one picture and one result, from several connections at the same time."""
    url = running.make("many")

    def work(number):
        with Store(url, tmp_path / "files") as store:
            for _ in range(5):
                store.put_fact("key", {"number": number})
                store.put_image("f" * 64, 0, 1, b"\x00\xff")
                store.put_result(RESULT | {"value": float(number)})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    with Store(url, tmp_path / "files") as store:
        assert store.images(["f" * 64], 0) == {"f" * 64: b"\x00\xff"}
        assert len(store.results()) == 1 and store.fact("key")["number"] in range(6)


RESULT = {
    "fingerprint": "f" * 64, "extractor": "x", "reference": "r", "first_seed": 2**32 - 10, "n": 10, "status": "done",
    "metric": "fd-digits", "evaluations": 2**40, "trial": {}, "provenance": {},
}  # fmt: skip


def test_a_server_that_does_not_answer_is_named_without_the_password(running):
    with pytest.raises(InputError) as found:
        Store(running.url("no such database"), "files")
    assert PASSWORD not in str(found.value) and "no such database" in str(found.value)


def test_a_database_is_read_without_being_changed(running, tmp_path):
    url, files = running.make("reading"), tmp_path / "files"
    with pytest.raises(NoStoreError, match="an empty database, and no store yet") as caught:
        Store(url, files, read_only=True)
    assert caught.value.can_be_made and PASSWORD not in str(caught.value)
    with Store(url, files) as store:
        record = {"name": "g", "title": "A", "source": "title: A", "place": "/a/g.yaml", "items": []}
        keep_grid(store, record)
        assert keep_grid(store, record | {"source": "title: B", "place": "/b/g.yaml"})[0] == "b/g"
        Studies(store).open("one", {}, {})
    with Store(url, files, read_only=True) as store, Store(str(tmp_path / "s.sqlite")) as other:
        assert (find_in_store(store, "a/g"), find_in_store(store, "b/g.yaml")) == ("g", "b/g")
        assert latest(store).name == "one"
        with pytest.raises(InputError, match="read-only transaction"):
            store.put_fact("a", 1)
        merged = merge_stores(other, store)
        assert (merged.grids, merged.searches, merged.conflicts) == (2, 1, [])
        assert other.grid_names() == store.grid_names()
    with Store(url, files) as store:
        store.write(sa.text("ALTER TABLE harness_results DROP COLUMN details"))
        store.write(sa.text("UPDATE harness_meta SET value = '1'"))
    with Store(url, files, read_only=True) as store:
        assert store.results() == [] and not store.notes
    with Store(url, files) as store:
        assert store.notes and store.results() == []
