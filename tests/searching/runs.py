"""Small studies, and what is to be the same of them however they were run."""

import subprocess
import sys
from pathlib import Path

import optuna
from optuna.trial import TrialState

from harness.store import Store
from harness.studies import DONE, FAILED, PRUNED, Studies

TARGET = """
title: A little space
nfe: 7
sampler:
  solver: {kind: rk2, alpha: {low: 0.5, high: 1, values: [0.5, 0.75, 1]}}
  discretization: {kind: edm, rho: {low: 3, high: 12, values: [3, 7, 12]}}
  stochasticity: {kind: churn, gamma: {low: 0, high: 0.4142, values: [0, 0.2, 0.4]}}
enqueue:
  - {name: Deterministic, role: baseline, sampler: {stochasticity: deterministic}}
"""

ROOT = Path(__file__).parents[2]

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}

SAME = (
    "number origin status params settings fingerprint nfe twin rival held rungs value reason step evaluations".split()
)
"""Columns of a slot that follow from the study alone: all but its times and ids."""


def write_target(folder):
    """The target as a file."""
    path = Path(folder) / "little.yaml"
    path.write_text(TARGET)
    return path


def command(target, store, *more, cpu=None):
    """`harness search` in a process of its own, on one core where `cpu` names it."""
    start = [] if cpu is None else ["taskset", "-c", str(cpu)]
    output = ["-o", str(target.with_suffix(".html")), "--device", "cpu", "--denoiser", "ideal", "--study", "little"]
    small = ["--samples", "60", "--top", "2", "--ahead", "3"]
    asked = ["search", "--target", str(target), "--store", str(store), *output, *small, *map(str, more)]
    return [*start, sys.executable, "-m", "harness.cli", *asked]


def start(arguments, **options):
    """The process, with its output to be read; it runs this package, wherever the test was started from."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, cwd=ROOT, **pipes, **options)


def finish(process, code=0, timeout=240):
    """What it said, once it has ended as it should."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, out + err
    return out, err


def slots(store, name="little"):
    """What is to be the same of a study's slots."""
    return [{key: row[key] for key in SAME} for row in Studies(store).slots(name)]


def finals(store, name="little"):
    """The settings of the end, each with what was measured of it on fresh seeds; numbers to nine places."""
    row = Studies(store).find(name)
    first = row["spec"]["fresh_seed"]
    found = {result["fingerprint"]: result for result in store.results() if result["first_seed"] == first}
    measured = ("n", "status", "metric", "reference", "value", "low", "high", "replicates", "blocks", "nfe")
    return [final | {"fresh": {key: found[final["fingerprint"]][key] for key in measured}} for final in row["finals"]]


def chunks(store):
    """Seconds of every finished chunk by its seeds; each is there once, and no two hold the same seeds."""
    rows = store.all_chunks()
    assert {row["status"] for row in rows} <= {"done"}, rows
    keys = [(row["fingerprint"], row["extractor"], row["first_seed"], row["last_seed"]) for row in rows]
    ordered = sorted(keys)
    for before, after in zip(ordered, ordered[1:], strict=False):
        assert before[:2] != after[:2] or before[3] < after[2], "two chunks hold the same seeds"
    return {row["key"]: row["info"]["seconds"] for row in rows}


def check(store, budget, name="little"):
    """A study that is over: no slot lost or doubled, Optuna's tables say the same, nothing is claimed any more."""
    rows = Studies(store).slots(name)
    assert [row["number"] for row in rows] == list(range(budget))
    assert {row["status"] for row in rows} <= {DONE, PRUNED, FAILED}
    study = optuna.load_study(study_name=name, storage=store.url.render_as_string(hide_password=False))
    try:
        trials = sorted(study.trials, key=lambda trial: trial.user_attrs["number"])
        assert [trial.user_attrs["number"] for trial in trials] == list(range(budget))
        for row, trial in zip(rows, trials, strict=True):
            assert (trial.state, trial.params) == (STATES[row["status"]], row["params"] or {})
            if row["status"] == DONE:
                assert trial.values[0] == row["value"]
            if len(study.directions) == 1:  # Optuna has no intermediate values of several objectives
                assert trial.intermediate_values == {rung["n"]: rung["value"] for rung in row["rungs"]}
    finally:
        study._storage._backend.engine.dispose()
    found = Studies(store).find(name)
    assert found["mirror_owner"] is None
    chunks(store)


def same(mine: Store, theirs: Store, name="little"):
    """Two stores hold one study with the same outcome."""
    assert slots(mine, name) == slots(theirs, name)
    assert finals(mine, name) == finals(theirs, name)
    assert Studies(mine).find(name)["spec"] == Studies(theirs).find(name)["spec"]
