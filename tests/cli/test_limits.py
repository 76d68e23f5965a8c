"""`--max-hours` and `--max-evaluations` of runs and searches, and what is said of predicted time and cost."""

import re

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.cli.run_terminal import cost_table, left_line, prediction_line, speed_lines
from harness.execution import worker
from harness.execution.cost import Cost
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.run import Prediction, Summary
from tests.search.runs import write_target

GRID = """
title: A small grid
samples: 16
chunk: 4
nfe: [5, 9]
denoisers:
  exact: {source: {kind: gaussian, std: 0.4}}
series:
  - {name: Euler, sampler: {solver: euler}}
  - {name: Heun}
"""


@pytest.fixture(autouse=True)
def _apart(monkeypatch):
    """Trials share no evaluations, so that each takes its NFE."""
    monkeypatch.setattr("harness.execution.sharing._place", lambda *_: None)


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, the work done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    for name in ("small", "other"):
        (tmp_path / f"{name}.yaml").write_text(GRID.replace("0.4", "0.4" if name == "small" else "0.3"))
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_a_run_stops_and_goes_on(harness):
    command = ("run", "small.yaml", "other.yaml", "--device", "cpu", "--max-evaluations", "300")
    done = harness(*command)
    assert done.exit_code == 3, done.output
    assert done.stdout.startswith("small: 2 of 4 trials done, 0 failed; 8 chunks and 224 network evaluations in ")
    assert done.stderr.splitlines()[-1] == (
        "small: stopped at the limit of 300 network evaluations, 224 of them spent, and the next chunks take 80; left "
        "are 2 of 4 trials, 8 chunks and 224 evaluations, and all of other; the same command goes on"
    )
    codes = [harness(*command).exit_code for _ in range(3)]
    assert codes == [3, 3, 0]
    done = harness(*command)
    assert done.exit_code == 0
    assert [line.split(" in ")[0] for line in done.stdout.splitlines()] == [
        f"{name}: 4 of 4 trials done, 0 failed; 0 chunks and 0 network evaluations" for name in ("small", "other")
    ]
    assert "stopped" not in done.stderr and "predicted" not in done.stderr


def test_a_limit_that_no_chunk_fits_is_to_be_raised(harness):
    done = harness("run", "small.yaml", "--device", "cpu", "--max-evaluations", "79")
    assert done.exit_code == 3
    assert "raise that limit to go on" in done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option in ("--max-hours", "--max-evaluations") for value in ("0", "-1", "nan")],
)
@pytest.mark.parametrize("command", [("run", "small.yaml"), ("search", "--budget", "1")], ids=lambda words: words[0])
def test_limits_that_are_none(harness, tmp_path, command, option, value):
    done = harness(*command, option, value)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {option} takes") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_force_would_forget_each_time_anew(harness):
    done = harness("run", "small.yaml", "--force", "--max-hours", "1")
    assert done.exit_code == 2
    assert "--force with a limit" in done.stderr


def test_predicted_beside_actual(harness):
    done = harness("run", "small.yaml", "--device", "cpu")
    assert "small: predicted 448 network evaluations in a time not known before; took 448 in " in done.stderr
    done = harness("run", "small.yaml", "--device", "cpu", "--force")  # the store knows nothing of it any more
    assert "a time not known before" in done.stderr
    done = harness("run", "small.yaml", "--device", "cpu", "--samples", "24")
    assert re.search(r"4 trials, 0 of them done; 672 network evaluations to compute, about \d+ s", done.stderr)
    assert re.search(r"predicted 672 network evaluations in \d+ s; took 672 in \d+ s", done.stderr)
    assert done.stdout.startswith("small: 4 of 4 trials done, 0 failed; ")


def test_the_plan_says_where_speed_is_from(harness):
    done = harness("plan", "small.yaml", "--device", "cpu", "--executor", "inline")
    assert "speed of exact: on 1 worker (cpu), timed just now over 3 network calls" in done.stdout
    assert "GPU-hours" not in done.stdout
    harness("run", "small.yaml", "--device", "cpu")
    done = harness("plan", "small.yaml", "--device", "cpu", "--executor", "inline")
    assert "speed of exact: on 1 worker (cpu), from the latest 4 results of it in the store" in done.stdout


def test_gpu_hours_stand_in_the_table():
    costs = [
        Cost("a", 1, 1, 0, 7200, 1.0, "timed", "on 2 workers (H200)", gpus=2),
        Cost("b", 1, 1, 0, 7200, None, "not known", "not known before the first chunks"),
    ]
    table = cost_table(costs)
    assert table.columns[-1].header == "GPU-hours"
    assert list(table.columns[-1].cells) == ["4", "–", "≥ 4"]
    assert cost_table(costs[1:]).columns[-1].header == "time"
    assert speed_lines([costs[0], costs[0]._replace(panel="c"), costs[1]]) == [
        "speed of a, c: on 2 workers (H200)",
        "speed of b: not known before the first chunks",
    ]


def test_lines_of_a_run_that_had_nothing_to_do():
    summary = Summary(4, 4, 0, 0, 0, 0.1, predicted=Prediction(0, 0.0))
    assert prediction_line(summary) == left_line(summary, []) == ""


def test_a_search_stops_and_goes_on(harness, tmp_path):
    def search(*more):
        worker._remembered.cache_clear()  # each command has its own
        target = ("--target", write_target(tmp_path), "--budget", "4", "--samples", "32", "--pruner", "none")
        return harness("search", *target, "--device", "cpu", "--top", "1", "--study", "s", *more)

    whole = search("--store", "whole.sqlite", "--files", "whole")
    assert whole.exit_code == 0, whole.output
    stops = []
    for _ in range(9):
        done = search("--max-evaluations", 500)
        if done.exit_code == 0:
            break
        assert done.exit_code == 3, done.output
        stops.append(done.stderr.splitlines()[-1])
    assert done.exit_code == 0, done.output
    assert stops and all(line.endswith("; the same command goes on") for line in stops)
    assert stops[0].startswith("s: stopped at the limit of 500 network evaluations, ")
    said = [[line for line in one.stdout.splitlines() if line.startswith("best")] for one in (whole, done)]
    assert said[0] and said[0] == said[1]
