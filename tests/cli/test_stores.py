"""Commands over stores: what only looks changes nothing; grids of one name; searches as good as grids; two stores."""

import re
import sqlite3

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import SamplingError
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.metrics.diagnostics.curvature import Curvature
from harness.store import tables
from harness.store.database import Store
from harness.store.studies import Studies

GRID = """
title: {title}
samples: 8
chunk: 4
nfe: {nfe}
metrics: [{{kind: curvature, samples: 8}}]
denoisers:
  exact: {{source: {{kind: gaussian, std: 0.4, shape: [1, 2, 2]}}}}
series:
  - {{name: Heun}}
"""
SPACE = """
title: Tiny
nfe: 5
sampler:
  discretization: {kind: edm, rho: {low: 3, high: 12, values: [5, 7, 9]}}
"""
SEARCH = ["search", "--target", "tiny.yaml", "--denoiser", "{kind: gaussian, std: 0.5, shape: [1, 2, 2]}", "--metric"]
SEARCH += ["curvature", "--samples", "8", "--device", "cpu", "--top", "1", "--budget", "3"]
LOOKING = {
    "show": ["show"],
    "report": ["report"],
    "report all": ["report", "--all"],
    "claims": ["claims"],
    "verify": ["verify"],
    "compare": ["compare", "aaaaaa", "bbbbbb"],
    "status": ["search", "--status"],
    "gc": ["gc", "--dry-run"],
    "forget": ["forget", "g"],
    "merge": ["merge", "OTHER", "--dry-run"],
}


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, the work done in this process; compares the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    (tmp_path / "tiny.yaml").write_text(SPACE)

    def run(*words, code=0):
        done = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "250"})
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def _no_page(monkeypatch):
    monkeypatch.setattr("harness.report.pages.search.write_search_report", lambda store, study, out: out)


def write(folder, title, nfe=5, name="g"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(GRID.format(title=title, nfe=nfe))
    return folder / f"{name}.yaml"


def state(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", LOOKING.values(), ids=list(LOOKING))
@pytest.mark.parametrize("kind", ["foreign", "empty", "text"])
def test_what_is_no_store_is_named_and_left_as_it_is(harness, tmp_path, kind, words):
    path = tmp_path / "other.db"
    path.write_text("hello" * 300 if kind == "text" else "")
    if kind == "foreign":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE runs (a)")
        connection.close()
    before = state(tmp_path)
    where = ["other.db"] if "OTHER" in words else ["--store", "other.db"]
    done = harness(*[word for word in words if word != "OTHER"][:1], *where, *words[1 + ("OTHER" in words) :], code=2)
    told = {"foreign": "other.db: is no store; its tables are another program's (runs)", "empty": "no store yet"}
    assert told.get(kind, "file is not a database") in done.stderr
    assert state(tmp_path) == before


def test_a_plan_of_what_is_no_store(harness, tmp_path):
    write(tmp_path, "A")
    (tmp_path / "empty.db").touch()
    for place, told in (("empty.db", "no store yet"), ("none.sqlite", "there is no store yet")):
        for prefix in ("", "sqlite:///"):
            assert told in harness("plan", "g.yaml", "--store", f"{prefix}{place}").stderr
    with sqlite3.connect("foreign.db") as connection:
        connection.execute("CREATE TABLE runs (a)")
    connection.close()
    assert "is no store" in harness("plan", "g.yaml", "--store", "foreign.db", code=2).stderr
    assert (tmp_path / "empty.db").stat().st_size == 0
    assert not (tmp_path / "none.sqlite").exists()
    assert harness("plan", "nothing", code=2).stderr.startswith("error: nothing: no such file, nor a grid that comes")


def test_looking_changes_nothing_in_a_folder_that_cannot_be_written(harness, tmp_path, monkeypatch):
    grid = write(tmp_path, "A", [3, 5])
    harness("run", grid)
    with Store(read_only=True) as store:
        first, second = (row["fingerprint"][:8] for row in store.results())
    before = state(tmp_path / "results")
    monkeypatch.setattr("harness.store.connection.os.access", lambda place, mode: False)
    for words in (["show", "g"], ["report", "g"], ["verify", "g"], ["compare", first, second], ["plan", grid]):
        harness(*words)
    harness("search", "--status", code=2)
    harness("report", "--all", "--store", "sqlite:///results/harness.sqlite")
    assert state(tmp_path / "results") == before


def test_two_grids_of_one_name(harness, tmp_path):
    one, two = write(tmp_path / "a", "Grid A", [3, 5]), write(tmp_path / "b", "Grid B")
    done = harness("run", one, two)
    assert "another grid 'g' ('Grid A', ../a/g.yaml) is in the store; this one is kept as 'b/g'" in done.stderr
    assert "it has" not in done.output
    assert len(harness("show", "a/g", "--csv", "-").stdout.splitlines()) == 3
    assert len(harness("show", "b/g", "--csv", "-").stdout.splitlines()) == 2
    for command in ("show", "report", "verify", "claims", "forget"):
        assert "'g' is the name of 2 grids: b/g ('Grid B'), a/g ('Grid A')" in harness(command, "g", code=2).stderr
    written = harness("report", "--all").stdout.split()
    pages = {path: (tmp_path / path).read_text() for path in written}
    assert len(written) == 3
    assert sum("<title>Grid A" in page for page in pages.values()) == 1
    assert sum("<title>Grid B" in page for page in pages.values()) == 1
    assert "<title>Grid B" in (tmp_path / harness("report").stdout.strip()).read_text()
    harness("forget", "b/g")
    assert len(harness("show", "g", "--csv", "-").stdout.splitlines()) == 3
    harness("run", one)
    assert "<title>Grid A" in (tmp_path / harness("report", "g.yaml").stdout.strip()).read_text()


def test_a_page_that_cannot_be_written_stops_no_other(harness, tmp_path):
    harness("run", write(tmp_path, "Bad", name="bad"), write(tmp_path, "Long", name="n" * 245))
    harness("run", write(tmp_path, "Good", name="zz"))
    with Store() as store:
        store.write(
            sa.update(tables.grids).where(tables.grids.c.name == "bad").values(plan={"name": "bad", "items": 3})
        )
    done = harness("report", "--all", code=2)
    assert "not written: bad (" in done.stderr
    written = done.stdout.split()
    assert "reports/zz.html" in written and "reports/index.html" in written and len(written) == 3
    index = (tmp_path / "reports" / "index.html").read_text()
    assert "bad is not here: " in index and 'href="zz.html"' in index
    assert harness("report", "n" * 245).stdout.strip() in written


def test_a_search_is_reported_shown_verified_and_forgotten(harness, tmp_path):
    page = harness(*SEARCH, "--study", "one").stdout.splitlines()[-1]
    assert harness("report").stdout.strip() == harness("report", "one").stdout.strip() == page
    shown = harness("show", "one", "--csv", "-").stdout.splitlines()
    assert len(shown) == 1 + 3 + 1
    assert sum(",done," in line for line in shown) == 4
    assert "of 4 results are as stored" in harness("verify", "one").stdout
    harness("run", write(tmp_path, "A", name="one"))
    assert (
        "'one' is a grid and a search; give one.yaml for the grid, or --search" in harness("show", "one", code=2).stderr
    )
    assert harness("report", "one", "--search").stdout.strip() == page
    assert harness("report", "one.yaml").stdout.strip() == "reports/one.html"
    assert "no search 'two' was run into this store; it has: searches: one" in (
        harness("forget", "two", "--search", code=2).stderr
    )
    told = harness("forget", "one", "--search", "--results").stdout
    assert re.fullmatch(r"one: forgotten, with 4 results and \d+ chunks of 3 trials that no other .* has\n", told)
    assert harness("report").stdout.strip() == "reports/one.html"
    again = harness(*SEARCH, "--study", "one", "--seed", "5").stdout
    assert again.startswith("one: 3/3 trials")
    with Store() as store, store.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM trials")) == 3  # Optuna's own copy began anew


@pytest.mark.usefixtures("_no_page")
def test_a_search_of_failures_exits_with_1_and_tries_again(harness, monkeypatch):
    def broken(*_, **__):
        raise SamplingError("the state is not finite", 3)

    with monkeypatch.context() as patch:
        patch.setattr(Curvature, "observe", broken)
        done = harness(*SEARCH, "--study", "one", code=1)
        assert "none of 3 trials was done; no. 0 failed: the state is not finite; " in done.stderr
        assert "--retry-failed" in done.stderr
        assert len(harness("show", "one", "--csv", "-").stdout.splitlines()) == 4
    assert "3 failed" in harness(*SEARCH, "--study", "one", code=1).stdout
    done = harness(*SEARCH, "--study", "one", "--retry-failed")
    assert done.stdout.startswith("one: 3/3 trials") and " · 3 done · best " in done.stdout
    with Store() as store:
        assert [row["status"] for row in Studies(store).slots("one")] == ["done"] * 3


@pytest.mark.usefixtures("_no_page")
def test_some_failures_of_a_search_are_no_failure_of_the_search(harness, monkeypatch):
    calls, real = [], Curvature.observe

    def broken_once(self, job):
        calls.append(1)
        if len(calls) == 1:
            raise SamplingError("once", 0)
        return real(self, job)

    monkeypatch.setattr(Curvature, "observe", broken_once)
    done = harness(*SEARCH, "--study", "one")
    assert "1 failed" in done.stdout
    with Store() as store:
        suggested = [row["params"] for row in Studies(store).slots("one")]
    done = harness(*SEARCH, "--study", "one", "--retry-failed")
    assert "failed" not in done.stdout.splitlines()[0]
    with Store() as store:
        assert [row["params"] for row in Studies(store).slots("one")] == suggested


def test_a_folder_of_files_that_is_away_stops_everything_that_needs_it(harness, tmp_path):
    grid = write(tmp_path, "A")
    harness("run", grid)
    (tmp_path / "results" / "files").rename(tmp_path / "away")
    (tmp_path / "results" / "files").mkdir()
    for words in (
        ["run", grid],
        ["plan", grid],
        ["verify"],
        ["gc"],
        SEARCH,
        ["merge", "results/harness.sqlite", "--store", "n"],
    ):
        assert "results/files: none of the files of the 2 finished chunks" in harness(*words, code=2).stderr
    harness("show", "g")
    assert "0 chunks and 0 network" in harness("run", grid, "--files", "away").stdout
    next((tmp_path / "away").rglob("*.npz")).unlink()
    done = harness("run", grid, "--files", "away")
    assert "1 chunks have no file in away, and are computed again" in done.stderr
    assert " 1 chunks and " in done.stdout
    assert " 2 chunks and " in harness("run", grid, "--force").stdout


def test_two_stores(harness, tmp_path):
    one, two = write(tmp_path, "A", 3, "one"), write(tmp_path, "B", 5, "two")
    harness("run", one)
    harness("run", one, two, "--store", "there/s.sqlite")
    with Store("there/s.sqlite", read_only=True) as store:
        first, second = (row["fingerprint"][:8] for row in store.results())
    told = harness("compare", first, first, "--other", "there/s.sqlite").stdout
    assert "a - b = 0 (0 to 0)" in told
    assert "no trial begins so" in harness("compare", first, second, code=2).stderr
    assert "verdict: " in harness("compare", "one:exact:Heun@3", "two:exact:Heun@5", "--other", "there/s.sqlite").stdout
    taken = "2 chunks, 1 results, 1 grids, 0 searches, 0 facts and pictures {}taken; 0 not taken\n"
    assert harness("merge", "there/s.sqlite", "--dry-run").stdout == taken.format("would be ")
    assert harness("merge", "there/s.sqlite").stdout == taken.format("")
    assert "0 chunks and 0 network" in harness("run", two).stdout
    assert "2 of 2 results are as stored" in harness("verify").stdout
    with Store("there/s.sqlite") as store:
        store.write(sa.update(tables.results).where(tables.results.c.fingerprint.like(f"{second}%")).values(value=9.0))
    done = harness("merge", "there/s.sqlite", code=1)
    assert f"not taken: trial {second}" in done.stdout and "curvature is " in done.stdout
