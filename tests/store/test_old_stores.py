"""Stores made by earlier versions: they are read, nothing in them is computed again, and a search goes on.

`old/README.md` says how they were made.
"""

import csv
import io
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.store.database import Store

OLD = Path(__file__).parent / "old"
GRIDS = ("smoke", "fig2_part", "sde_raw")
STUDY = "deterministic_digits-ve_nfe9"
SEARCH = ("--target", "deterministic", "--denoiser", "digits-ve", "--nfe", "9", "--proxy", "end-point-error")
SEARCH += ("--samples", "6", "--rungs", "4,6", "--top", "1", "--device", "cpu", "--executor", "inline")


FRESH = "fresh seeds, outside the budget: {} settings measured, 0 failed; {} network evaluations in "
NEXT_TRIALS = [
    ("iPNDM-4, EDM levels", "28d60488", "done"),
    ("DEIS-3, EDM levels", "a908a9f6", "done"),
    ("suggested", "8bf1c312", "done"),
    ("suggested", "fbc2e15d", "pruned"),
]
"""Trials 6 to 9 of the search, as the code that made the store goes on with it."""


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs one command of the command line in a folder of its own, on the store that `unpack` put there."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        done = CliRunner().invoke(app, [*arguments, "--store", "store/harness.sqlite"], env={"COLUMNS": "200"})
        assert done.exit_code == code, done.output
        return done.stdout

    return run


def unpack(name):
    with tarfile.open(OLD / f"{name}.tar.xz") as archive:
        archive.extractall(filter="data")
    shutil.copy(OLD / "digits-edm.safetensors", ".")
    Path(name).rename("store")


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


class TestSchema2:
    @pytest.fixture(autouse=True)
    def _unpacked(self, harness):
        unpack("schema2")

    def test_nothing_is_computed_again_and_every_page_is_written(self, harness):
        for grid, trials in zip(GRIDS, (2, 4, 8), strict=True):
            said = harness("run", str(OLD / f"{grid}.yaml"), "--executor", "inline").strip().splitlines()[-1]
            start = f"{grid}: {trials} of {trials} trials done, 0 failed; 0 chunks and 0 network evaluations in "
            assert said.startswith(start), said
            assert harness("report", grid).strip() == f"reports/{grid}.html"
            assert grid in Path(f"reports/{grid}.html").read_text()
        assert "26 of 26 results are as stored" in harness("verify")
        assert rows(harness("show", "--csv", "-")) == rows((OLD / "schema2.csv").read_text())
        assert "heun" in harness("show")

    def test_a_search_is_finished_as_it_was(self, harness):
        said = harness("search", *SEARCH, "--budget", "6").splitlines()
        assert said[0].startswith(f"{STUDY}: 6/6 trials · 324 evaluations · 6 done · best 0.01662 (no. 2)")
        assert said[1].startswith(FRESH.format(6, 0))
        assert said[2].startswith("best on fresh seeds: No. 5, FD-digits 9.943, discretization edm, edm.rho 7, ")
        assert said[-2] == "  against Heun, EDM time steps, 11.02: difference -1.076"
        assert Path(said[-1]).read_text().count("UniPC")
        assert "6/6 trials" in harness("search", "--status")

    @pytest.mark.slow
    def test_a_search_goes_on(self, harness):
        longer = harness("search", *SEARCH, "--budget", "10").splitlines()
        assert longer[0] == f"{STUDY}: 10/10 trials · 522 evaluations · 9 done · 1 pruned · best 0.01617 (no. 7)"
        assert longer[1].startswith(FRESH.format(10, 198))
        with sqlite3.connect("store/harness.sqlite") as connection:
            query = (
                "SELECT origin, substr(fingerprint, 1, 8), status FROM harness_slots WHERE number > 5 ORDER BY number"
            )
            assert connection.execute(query).fetchall() == NEXT_TRIALS
        connection.close()


def test_schema_1_is_read_as_it_is_and_brought_up_by_what_writes(harness):
    """Its trials have other fingerprints: the identity of weights changed with schema 2. Its rows can be looked at."""
    unpack("schema1")
    before = {path: path.read_bytes() for path in Path("store").rglob("*") if path.is_file()}
    shown = {row["solver"]: row for row in rows(harness("show", "--csv", "-"))}
    assert float(shown["heun"]["value"]) == pytest.approx(3.42, abs=0.005)
    assert float(shown["euler"]["value"]) == pytest.approx(8.55, abs=0.005)
    assert [row["series"] for row in rows(harness("show", "networks", "--csv", "-"))] == ["Euler", "Heun"]
    assert harness("report").strip() == "reports/networks.html"
    page = Path("reports/networks.html").read_text()
    assert "Two solvers on a trained network" in page and "VE (NCSN++ style)" in page and "8.55" in page
    assert harness("report", "--all").split() == ["reports/networks.html", "reports/index.html"]
    assert "a - b" not in harness("compare", "networks:digits-ve:Euler@5", "networks:digits-ve:Heun@5")
    said = harness("verify", code=1)
    assert said.count("reference 'digits' is digits:b7cebd7775d3") == 2
    assert "0 of 2 results are as stored; the largest relative difference is 0.0e+00" in said
    assert "0 chunks would be merged" in harness("gc", "--dry-run")
    assert {path: path.read_bytes() for path in Path("store").rglob("*") if path.is_file()} == before
    assert "0 chunks merged" in harness("gc")
    with sqlite3.connect("store/harness.sqlite") as connection:
        assert connection.execute("SELECT value FROM harness_meta").fetchall() == [("2",)]
    connection.close()
    shown = {row["solver"]: row for row in rows(harness("show", "--csv", "-"))}
    assert float(shown["heun"]["value"]) == pytest.approx(3.42, abs=0.005)
    with Store("store/harness.sqlite") as store:
        assert not store.notes
        (first, _) = store.chunks(store.results()[0]["extractor"])
        assert store.moments(first)
