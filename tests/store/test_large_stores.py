"""Stores of many rows: commands read a page or a stream of them, by indices, in few statements."""

import contextlib
import csv
import io
import tracemalloc

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from benchmarks.large_stores import churn_grid, fill, rows_of, together
from harness.cli.main import app
from harness.cli.tables import PAGE
from harness.experiments.plan import plan
from harness.report.comparability import SAME
from harness.report.data import COLUMNS, NUMBERS, load, stored_results, write_csv
from harness.store.database import PORTION, RESULT_KEY, Store
from harness.store.results import put_results, stream_results
from harness.store.tables import chunks, results

TRIALS = 1_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "harness.sqlite"
    with Store(str(path)) as store:
        fill(store, TRIALS, TRIALS)
    return str(path)


@pytest.fixture
def store(place):
    with Store(place, read_only=True) as opened:
        yield opened


@contextlib.contextmanager
def statements(store):
    """The statements that a store's database is given."""
    given: list[str] = []

    def note(connection, cursor, statement, *_):
        given.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    yield given
    sa.event.remove(store.engine, "before_cursor_execute", note)


def query_plan(store, query):
    """How SQLite goes about a query, in its own words."""
    text = str(query.compile(store.engine, compile_kwargs={"literal_binds": True}))
    with store.engine.connect() as connection:
        return " ".join(row[-1] for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {text}")))


class TestBulk:
    def test_writes_what_single_rows_write(self, tmp_path):
        rows = list(rows_of(plan(churn_grid("Bulk", (2, 2, 1, 1)))))
        rows[0] = {key: rows[0][key] for key in (*RESULT_KEY, "metric", "trial", "provenance")} | {"status": "failed"}
        with Store(str(tmp_path / "one.sqlite")) as one, Store(str(tmp_path / "many.sqlite")) as many:
            for row in rows:
                one.put_result(row)
            assert put_results(many, iter(rows)) == put_results(many, rows) == len(rows)  # in place of the earlier ones
            kept = [[{**row, "id": 0, "finished_at": ""} for row in each.results()] for each in (one, many)]
        assert kept[0] == kept[1] and len(kept[1]) == len(rows)

    def test_statements_do_not_grow_with_rows(self, tmp_path):
        rows = list(rows_of(plan(churn_grid("Bulk", (5, 5, 1, 1)))))
        with Store(str(tmp_path / "store.sqlite")) as store, statements(store) as given:
            put_results(store, rows)
        assert sum(each.startswith(("INSERT", "DELETE")) for each in given) <= 3  # the claims are released at the end


class TestIndices:
    def test_results_of_trials_are_searched_by_index(self, store):
        told = query_plan(store, sa.select(results).where(results.c.fingerprint.in_(["a", "b"])))
        assert "SEARCH harness_results USING INDEX" in told and "SCAN" not in told

    def test_chunks_of_trials_are_searched_by_index(self, store):
        query = sa.select(chunks).where(chunks.c.extractor.in_(["e"]) & chunks.c.fingerprint.in_(["a", "b"]))
        told = query_plan(store, query.order_by(chunks.c.fingerprint, chunks.c.first_seed))
        assert "SEARCH harness_chunks USING INDEX" in told and "SCAN" not in told

    def test_latest_page_reads_no_other_row(self, store):
        with statements(store) as given:
            page = list(stream_results(store, ["id"], 10))
        assert len(given) == 1
        assert [row["id"] for row in page] == list(range(TRIALS + 100 - 9, TRIALS + 101))
        assert "SEARCH harness_results USING INTEGER PRIMARY KEY" in query_plan(
            store, sa.select(results.c.metric).where(results.c.id >= 5).order_by(results.c.id)
        )


class TestReading:
    def test_stream_is_all_results_in_order(self, store):
        streamed = [trial.record() for trial in stored_results(store)]
        rows = store.results()
        assert [record["fingerprint"] for record in streamed] == [row["fingerprint"] for row in rows]
        assert [[record[name] for name in (*SAME, *NUMBERS[:4])] for record in streamed] == [
            [row[name] for name in (*SAME, *NUMBERS[:4])] for row in rows
        ]

    @pytest.mark.parametrize("latest", [1, 7, TRIALS + 100, 10**6])
    def test_latest_are_the_last(self, store, latest):
        every = [trial.fingerprint for trial in stored_results(store)]
        assert [trial.fingerprint for trial in stored_results(store, latest)] == every[-latest:]

    def test_memory_is_that_of_a_portion(self, store):
        def peak(read):
            tracemalloc.start()
            read()
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

        list(stored_results(store, 1))
        streamed = peak(lambda: write_csv(stored_results(store), io.StringIO()))
        assert streamed < peak(store.results) / 2

    def test_a_grid_is_read_in_few_statements(self, store):
        with statements(store) as given:
            (data,) = load(store, "small")
        assert len(data.trials) == 100 and data.counts["done"] == 100
        assert len(given) <= 4  # the plan, its rows, the floor

    def test_statements_of_a_grid_grow_by_portions(self, store):
        with statements(store) as given:
            load(store, "part0")
        assert len(given) <= 3 + -(-TRIALS // PORTION)


class TestShow:
    def run(self, place, *arguments):
        done = CliRunner().invoke(app, ["show", *arguments, "--store", place])
        assert done.exit_code == 0, done.output
        return done

    def test_lists_the_last_page(self, place, store):
        done = self.run(place)
        listed = done.stdout.splitlines()[1:]
        assert len(listed) == PAGE
        last = [trial.fingerprint[:8] for trial in stored_results(store, PAGE)]
        assert [line.split()[-1] for line in listed] == last
        assert done.stderr == (
            f"note: the last {PAGE} of {TRIALS + 100:,} trials are listed; --csv FILE writes all of them\n"
        )

    def test_says_nothing_of_pages_where_all_are_listed(self, place):
        done = self.run(place, "small")
        assert len(done.stdout.splitlines()) == 101 and not done.stderr

    @pytest.mark.parametrize("to_file", [True, False])
    def test_csv_has_every_row(self, place, tmp_path, to_file):
        file = tmp_path / "all.csv"
        done = self.run(place, "--csv", str(file) if to_file else "-")
        rows = list(csv.reader(io.StringIO(file.read_text() if to_file else done.stdout)))
        assert rows[0] == list(COLUMNS) and len(rows) == 1 + TRIALS + 100

    def test_csv_that_cannot_be_written(self, place, tmp_path):
        done = CliRunner().invoke(app, ["show", "--csv", str(tmp_path), "--store", place])
        assert done.exit_code == 2 and "give another --csv" in done.stderr


def test_readers_and_writers_share_a_store(place):
    figures = together(place, 1.0, readers=2, writers=2)
    assert figures["rows_per_second"] > 0 and figures["pages_per_second"] > 0
