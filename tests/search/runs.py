"""Small studies, and what is to be the same of them however they were run."""

import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import optuna
from optuna.trial import TrialState

from harness.cli.main import app
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, Studies

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

PROGRAM = """
import os
import re
from harness.cli.main import main
from harness.store.database import Store

finish = Store.finish

def noting(store, chunk, *rest):
    finish(store, chunk, *rest)
    with open(os.environ["CHUNK_LOG"], "a") as log:
        log.write(chunk.key + "\\n")

Store.finish = noting
main()
"""
"""`harness`, which notes in a file what was computed and stored."""

ROOT = Path(__file__).parents[2]

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}

OTHER = {"id", "study", "trial", "started_at", "finished_at"}
"""Columns of a slot that are times, or that others say already; all others follow from the study."""


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
    return [*start, sys.executable, "-c", PROGRAM, *asked]


def start(arguments, log):
    """The process, with its output to be read; it runs this package, wherever the test was started from."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "CHUNK_LOG": str(log)}
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, preexec_fn=_hear_ctrl_c, **pipes)


def _hear_ctrl_c():
    """Shells start background jobs with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def inline(arguments):
    """The same command in this process, which computes by itself."""
    app([*arguments[arguments.index("search") :], "--executor", "inline"], standalone_mode=False)


def finish(process, code=0, timeout=240):
    """What it said, once it has ended as it should."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, out + err
    return out, err


def slots(store, name="little"):
    """What is to be the same of a study's slots."""
    return [{key: value for key, value in row.items() if key not in OTHER} for row in Studies(store).slots(name)]


def finals(store, name="little"):
    """The settings of the end, each with what was measured of it on fresh seeds."""
    row = Studies(store).find(name)
    first = row["spec"]["fresh_seed"]
    found = {result["fingerprint"]: result for result in store.results() if result["first_seed"] == first}
    measured = ("n", "status", "metric", "reference", "value", "low", "high", "replicates", "blocks", "nfe")
    return [final | {"fresh": {key: found[final["fingerprint"]][key] for key in measured}} for final in row["finals"]]


def log_of(path):
    """Keys of what was computed and stored, as processes noted them; nothing twice."""
    keys = path.read_text().split() if path.exists() else []
    assert len(keys) == len(set(keys)), "a chunk was computed twice"
    return set(keys)


def chunks(store):
    """Seconds of every finished chunk by its seeds; each is there once, and no two hold the same seeds."""
    rows = store.all_chunks()
    assert {row["status"] for row in rows} <= {"done"}, rows
    keys = [(row["fingerprint"], row["extractor"], row["first_seed"], row["last_seed"]) for row in rows]
    for before, after in itertools.pairwise(sorted(keys)):
        assert before[:2] != after[:2] or before[3] < after[2], "two chunks hold the same seeds"
    return {row["key"]: row["info"]["seconds"] for row in rows}


def check(store, budget, name="little"):
    """A study that is over: no slot lost or doubled, Optuna's tables say the same, nothing is claimed any more."""
    rows = Studies(store).slots(name)
    assert [row["number"] for row in rows] == list(range(budget))
    assert {row["status"] for row in rows} <= {DONE, PRUNED, FAILED}
    url = store.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    storage = optuna.storages.RDBStorage(url)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        trials = sorted(study.trials, key=lambda trial: trial.user_attrs["number"])
        assert [trial.user_attrs["number"] for trial in trials] == list(range(budget))
        for row, trial in zip(rows, trials, strict=True):
            assert (trial.state, trial.params) == (STATES[row["status"]], row["params"] or {})
            if row["status"] == DONE:
                assert trial.values[0] == row["value"]
            if len(study.directions) == 1:  # Optuna has no intermediate values of several objectives
                assert trial.intermediate_values == {rung["n"]: rung["value"] for rung in row["rungs"]}
    finally:
        storage.remove_session()
        storage.engine.dispose()
    found = Studies(store).find(name)
    assert found["mirror_owner"] is None
    chunks(store)


def same(mine: Store, theirs: Store, name="little"):
    """Two stores hold one study with the same outcome."""
    assert slots(mine, name) == slots(theirs, name)
    assert finals(mine, name) == finals(theirs, name)
    assert Studies(mine).find(name)["spec"] == Studies(theirs).find(name)["spec"]
    assert _page(mine, name) == _page(theirs, name)


def _page(store, name):
    """The report, without its times and where it was made; "" while there is none."""
    from harness.report.pages import search as page

    if not hasattr(page, "render_search"):
        return ""
    text = str(page.render_search(store, name))
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?|[\d.,]+ ?(s|min|h)\b", "TIME", text).replace(
        store.name, "STORE"
    )
