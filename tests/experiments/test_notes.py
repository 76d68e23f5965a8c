"""Settings without effect: the same sentences in the plan, the rows of a run, its report, and what `sample` says."""

import json

import pytest
import torch
from typer.testing import CliRunner

from harness.cli.main import app
from harness.denoisers.load import load_denoiser, rounding_of
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.experiments.notes import joined_notes
from harness.experiments.plan import plan
from harness.store.database import Store

GRID = """
title: Without effect
samples: 4
metrics: detail
nfe: [5, 9, 39]
denoisers:
  exact: {source: {kind: gaussian, std: 0.5, shape: [1, 8, 8]}}
series:
  - {name: clamped, sampler: {solver: euler, stochasticity: {kind: churn, S_churn: 8}}}
  - {name: plain}
"""
CLAMP = "S_churn = 8 is above its clamp, 0.414 N, and acts as 0.414 N."


@pytest.fixture
def planned(tmp_path):
    def make(text):
        (tmp_path / "grid.yaml").write_text(text)
        return plan(tmp_path / "grid.yaml")

    return make


def run(*command):
    done = CliRunner().invoke(app, list(command))
    assert done.exit_code == 0, done.output
    return done


def test_each_note_once_with_its_trials():
    told = [("A.", "p · s", "5"), ("B.", "p · s", "5"), ("A.", "p · s", "9"), ("A.", "q · s", "9")]
    assert joined_notes([*told, told[0]]) == ["A. (p · s, NFE 5, 9; q · s, NFE 9)", "B. (p · s, NFE 5)"]


def test_plan_rows_and_report_say_the_same(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    said = f"{CLAMP} (exact · clamped, NFE 5, 9)"
    assert planned(GRID).notes == [said]
    assert f"note: {said}" in run("plan", "grid.yaml", "--device", "cpu").stdout
    assert f"note: {said}" in run("run", "grid.yaml", "--device", "cpu", "--store", "s.sqlite").stderr
    run("report", "grid", "-o", "grid.html", "--store", "s.sqlite")
    assert said in (tmp_path / "grid.html").read_text()
    with Store("s.sqlite", create=False) as store:
        notes = [row["provenance"].get("notes") for row in store.results()]
    assert [each for each in notes if each is not None] == [[CLAMP], [CLAMP]]


@pytest.mark.parametrize(("lo", "hi", "is_noted"), [(0.5, 0.5001, True), (0.5, 5.0, False)])
def test_a_window_of_guidance_without_a_level_is_noted(planned, lo, hi, is_noted):
    source = {"kind": "cfg", "denoiser": "digits-adm", "weight": 2.0, "sigma_lo": lo, "sigma_hi": hi}
    panels = f"denoisers: {{guided: {{source: {json.dumps(source)}}}}}"
    made = planned(f"title: t\nsamples: 4\nsteps: 4\n{panels}\nseries: [{{name: s}}]\n")
    assert any("guidance has no effect" in note for note in made.notes) == is_noted


def test_levels_that_a_network_rounds_are_known_without_its_weights(planned):
    rounding, real = rounding_of("digits-adm"), load_denoiser("digits-adm")
    levels = 10 ** torch.linspace(-2, 2, 99, dtype=torch.float64)
    assert torch.equal(rounding(levels), real.round_sigma(levels))
    assert rounding_of({"kind": "gaussian"}) is None
    grid = "title: t\nsamples: 4\nsteps: 200\ndenoisers: [digits-adm, digits-vp]\nseries: [{name: s}]\n"
    (told,) = planned(grid).notes
    assert "of 200 noise levels repeat the one before" in told and told.endswith("(digits-adm · s, NFE 399)")


def test_sample_says_it_too(tmp_path):
    sampler = "{steps: 3, stochasticity: {kind: churn, S_churn: 8}}"
    place = ("-o", str(tmp_path / "a.png"), "--seeds", "0-3", "--sampler", sampler)
    assert f"note: {CLAMP}" in run("sample", "{kind: gaussian, shape: [1, 2, 2]}", *place).stderr
