"""The command on a tiny study: what it prints, its exit codes, and that mistakes leave nothing behind."""

import re

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.store.database import Store
from harness.store.studies import Studies

SPACE = """
title: Tiny
nfe: 5
sampler:
  discretization: {kind: edm, rho: {low: 3, high: 12, values: [5, 7, 9]}}
enqueue:
  - {name: Heun, role: baseline, sampler: {discretization: edm}}
  - {name: RK4, sampler: {solver: rk4, discretization: edm}}
"""
GAUSSIAN = "{kind: gaussian, std: 0.5, shape: [1, 2, 2]}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    monkeypatch.setattr("harness.report.pages.search.write_search_report", lambda store, study, out: out)
    (tmp_path / "tiny.yaml").write_text(SPACE)
    return tmp_path


def run(*more):
    arguments = ["--target", "tiny.yaml", "--denoiser", GAUSSIAN, "--metric", "end-point-error", "--samples", "16"]
    return CliRunner().invoke(app, ["search", *arguments, "--device", "cpu", *map(str, more)])


def test_a_study_from_one_end_to_the_other(folder):
    one = ("--study", "one", "--samples", 8)
    done = run(*one, "--budget", 5)
    assert done.exit_code == 0, done.output + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("one: 5/5 trials · ")
    assert "evaluations" in lines[0]
    assert any(line.startswith("fresh seeds, outside the budget: ") for line in lines)
    assert any(line.startswith("best on fresh seeds: No. ") for line in lines)
    assert any(line.startswith("  against Heun") for line in lines)
    assert lines[-1] == "reports/search_one.html"
    again = run(*one, "--budget", 5)
    assert again.exit_code == 0
    assert "fresh seeds, outside the budget: 0 settings measured, 0 failed; 0 network" in _zeros(again.stdout)
    small = run(*one, "--budget", 2)
    assert small.exit_code == 0
    assert "note: the budget of 2 trials is below the 5 that this study has begun; nothing was run" in small.stdout
    status = CliRunner().invoke(app, ["search", "--status"], env={"COLUMNS": "250"})
    assert status.exit_code == 0
    assert re.search(r"one +. tiny +. gaussian", status.stdout)
    other = run(*one, "--budget", 9, "--seed", 3)
    assert other.exit_code == 2
    assert "study 'one' is another search: seed is 0 there and 3 here" in other.stderr.replace("\n", " ")
    with Store() as store:
        assert len(Studies(store).slots("one")) == 5


def _zeros(text):
    """Settings whose results are there already may be counted; the evaluations may not."""
    return re.sub(r"\d+ settings measured", "0 settings measured", text)


def test_what_is_left_out_is_said(folder):
    done = run("--budget", 2, "--nfe", 3)
    assert done.exit_code == 0
    assert "note: 'RK4' is left out: end-point-error needs a step beside the last one" in done.stderr.replace("\n", " ")


BAD = [
    (["--target", "nothing"], "unknown target 'nothing'"),
    (["--rungs", "a,b"], "--rungs takes numbers such as 128,256,512; we got 'a,b'"),
    (["--rungs", "3,16", "--pruner", "paired"], "decides nothing below 4 blocks, that is 4 seeds; we got a rung at 3"),
    (["--rungs", "8,\u00b2"], "--rungs takes numbers such as 128,256,512"),
    (["--device", "cuda:77"], "--device cuda:77: no such device here"),
    (["--method", "anneal"], "--method anneal: unknown; known: tpe"),
    (["--method", "cmaes"], "method cmaes needs at least two numbers"),
    (["--budget", "0"], "greater than or equal to 1"),
    (["--samples", "3"], "over 4 blocks of seeds at least, and N is 3"),
    (["--denoiser", "{kind: gaussian, std: -1}"], "std"),
    (["--label", "7"], "class 7 was asked for and the denoiser has no classes"),
    (["--metric", "fid9"], "--metric fid9: unknown kind 'fid9'"),
    (["--target", "guidance"], "such as --denoiser digits-adm"),
    (["--status"], "there is no store yet"),
]


@pytest.mark.parametrize(("more", "message"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_mistakes_leave_nothing_behind(folder, more, message):
    done = run(*more)
    assert done.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", done.stderr)
    assert "Traceback" not in done.output + done.stderr
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]
