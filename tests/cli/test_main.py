"""The command line over a small store: every command, its output and its exit codes."""

import csv
import io
import re

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from harness import __version__
from harness.cli.main import app
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor

GRID = """
title: A small grid
description: Two solvers on a Gaussian.
samples: 16
chunk: 4
nfe: [5, 9]
mosaics: 9
denoisers:
  exact: {source: {kind: gaussian, std: 0.4}}
series:
  - {name: Euler, role: baseline, sampler: {solver: euler}}
  - {name: Heun, role: ours}
"""


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, the work done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    (tmp_path / "small.yaml").write_text(GRID)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_run_report_show(harness, tmp_path):
    done = harness("run", "small.yaml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "small: 4 of 4 trials done, 0 failed; 16 chunks and 400 network evaluations" in done.stdout
    assert (tmp_path / "results" / "harness.sqlite").exists()

    done = harness("report")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "reports/small.html"
    page = (tmp_path / "reports" / "small.html").read_text()
    assert "A small grid" in page

    done = harness("show", "--csv", "-")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 4
    assert {row["status"] for row in rows} == {"done"}
    assert harness("show", "small").exit_code == 0

    done = harness("run", "small.yaml", "--device", "cpu")
    assert "0 chunks and 0 network evaluations" in done.stdout


def test_plan_runs_nothing(harness, tmp_path):
    done = harness("plan", "small.yaml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "timed" in done.stdout
    assert "400" in done.stdout  # 16 samples at NFE 5, 9, 5 and 9, whose first evaluation is one for all
    assert not (tmp_path / "results").exists()
    harness("run", "small.yaml", "--device", "cpu")
    done = harness("plan", "small.yaml", "--device", "cpu")
    assert "store" in done.stdout


def test_a_store_elsewhere(harness, tmp_path):
    assert (
        harness("run", "small.yaml", "--store", "here/s.sqlite", "--files", "there", "--device", "cpu").exit_code == 0
    )
    assert (tmp_path / "there").is_dir()
    assert harness("show", "--store", "here/s.sqlite").exit_code == 0
    assert harness("report", "--store", "here/s.sqlite", "-o", "page.html").exit_code == 0
    assert (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report",), "there is no store yet"),
        (("show",), "there is no store yet"),
        (("run", "small.yaml", "--device", "cuda:99"), "no such device here"),
        (("run", "small.yaml", "--store", "postgresql://u:secret@h/d"), "--files DIR"),
        (("sample", "digits-pv", "-o", "x.png"), "unknown denoiser 'digits-pv'"),
        (("sample", "ideal", "-o", "x.png", "--sampler", "{solver: hoin}"), "unknown kind 'hoin'"),
        (("sample", "ideal", "-o", "x.png", "--seeds", "5-1"), "--seeds takes numbers and ranges"),
        (("sample", "ideal", "-o", "x.png", "--label", "cat"), "--label takes"),
        (("sample", "ideal", "-o", "x.png", "--label", "3"), "no classes"),
        (("ls", "engines"), "nothing is called 'engines'"),
        (("train", "nowhere.yaml"), "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_exit_with_2(harness, arguments, message):
    done = harness(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.output


def test_a_report_of_a_grid_that_was_not_run(harness):
    harness("run", "small.yaml", "--device", "cpu")
    done = harness("report", "large")
    assert done.exit_code == 2
    assert "it has: small" in done.stderr


def test_usage_mistakes_exit_with_2(harness):
    assert harness("run").exit_code == 2
    assert harness("run", "small.yaml", "--samples", "1").exit_code == 2
    assert harness("run", "small.yaml", "--nothing").exit_code == 2
    assert harness("fly").exit_code == 2


def test_sample_to_a_sheet_and_to_a_folder(harness, tmp_path):
    done = harness("sample", "ideal", "-o", "sheet.png", "--sampler", "{steps: 4}", "--seeds", "0-9", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "10 images, NFE 7" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 9 - 1, 2 * 9 - 1)
    done = harness("sample", "{kind: gaussian}", "-o", "folder", "--seeds", "3,8", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["000003.png", "000008.png"]


def test_ls_names_every_choice(harness):
    done = harness("ls")
    assert done.exit_code == 0
    for word in ("digits-vp", "fig2_deterministic", "heun", "rk2", "iddpm", "linear", "churn", "fd-digits", "ideal"):
        assert word in done.stdout
    assert harness("ls", "solvers").stdout.startswith("solvers")


def test_help_lists_every_command_once_under_what_a_person_is_doing(harness):
    text = harness("--help").output
    headings = ["Run:", "Look at results:", "Models:", "Images and data:", "Keep the store in order:"]
    places = [text.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    commands = re.findall(r"^  ([a-z-]+) {2,}\S", text[places[0] :], re.MULTILINE)
    assert sorted(commands) == sorted(get_command(app).commands)


def test_version(harness):
    assert harness("--version").stdout.strip() == f"harness {__version__}"


def test_a_failed_trial_exits_with_1(harness, monkeypatch):
    from harness.core.errors import SamplingError

    def broken(*_, **__):
        raise SamplingError("the state is not finite", 3)

    monkeypatch.setattr("harness.sampling.sample.sample", broken)
    done = harness("run", "small.yaml", "--device", "cpu")
    assert done.exit_code == 1
    assert "0 of 4 trials done, 4 failed" in done.stdout
    assert "failed: exact · Euler · NFE 5 at step 4: the state is not finite" in done.stderr.replace("\n", " ")
    assert harness("report").exit_code == 0
