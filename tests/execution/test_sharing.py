"""Tasks that remember what the denoiser was asked: the same arrays, and only what was computed is counted."""

import numpy as np
import pytest

from harness.denoisers.load import identity
from harness.execution import sharing, worker
from harness.execution.chunks import plan_chunks
from harness.execution.limits import Limits
from harness.execution.measurements import measurements
from harness.execution.run import run
from harness.execution.seed_ranges import SeedRange
from harness.execution.worker import ChunkTask, run_task
from harness.experiments.plan import plan
from harness.experiments.trial import Trial
from harness.metrics import METRICS
from harness.sampling.sampler import Sampler
from harness.store.database import Store

METRIC = '{"kind": "fd-digits"}'


def task(s_noise, remember):
    noise = {"kind": "churn", "S_churn": 2.0, "S_tmax": 1.0, "S_noise": s_noise}
    sampler = Sampler.model_validate({"stochasticity": noise, "steps": 8})
    trial = Trial(denoiser="digits-vp", weights=identity("digits-vp"), sampler=sampler)
    spans = (SeedRange(0, 3), SeedRange(4, 7))
    return ChunkTask(
        trial.model_dump_json(), spans, METRICS.read_json(METRIC).model_dump_json(), 8, False, (), remember
    )


def total(done):
    return sum(chunk.info["evaluations"] for chunk in done.chunks)


def test_a_second_task_computes_only_what_is_new():
    apart = [run_task(task(s_noise, remember=False), "cpu") for s_noise in (1.0, 1.007)]
    shared = [run_task(task(s_noise, remember=True), "cpu") for s_noise in (1.0, 1.007)]
    for one, other in zip(apart, shared, strict=True):
        for mine, theirs in zip(one.chunks, other.chunks, strict=True):
            assert mine.info["nfe"] == theirs.info["nfe"] == [15, 15.0, 15]
            for key, array in mine.arrays.items():
                assert np.array_equal(array, theirs.arrays[key])
    assert [total(done) for done in apart] == [8 * 15, 8 * 15]
    again = total(run_task(task(1.007, remember=True), "cpu"))
    assert total(shared[1]) < 8 * 15 and again == 0


GRID = """
title: A sweep
samples: 16
metrics: fd-digits
denoisers: {{net: {{source: {source}, labels: unconditional}}}}
series:
  - {{name: churn, sampler: {{steps: 18, stochasticity: {{kind: churn, S_tmax: 1.0, S_churn: {churn}}}}}}}
"""
EXACT = "{kind: digits-mixture}"
CFG = "{kind: cfg, denoiser: digits-adm, weight: 1.5, sigma_lo: 0.3, sigma_hi: 5.0}"


def planned(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return plan(path)


def computed(grid, folder, **options):
    """The summary of a run into a new store, and its rows by trial: value, interval, blocks, NFE."""
    with Store(str(folder / "s.sqlite")) as store:
        summary = run(grid, store, "cpu", 16, **{"executor": "inline", **options})
        rows = store.results([item.trial.fingerprint for item in grid.items])
        kept = ("value", "low", "high", "blocks", "nfe", "nfe_min", "nfe_max", "status")
        return summary, {row["fingerprint"]: [row.get(name) for name in kept] for row in rows}


@pytest.mark.parametrize(
    ("churn", "least"),
    [
        ([0, 0.72, 1.44, 2.16, 2.88, 3.6, 4.32, 5.04, 5.76, 6.48, 7.2], 0.4286),
        ([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100], 0.1247),
    ],
    ids=["below the clamp", "the paper's"],
)
def test_a_sweep_evaluates_what_is_new_and_says_so_before(tmp_path, churn, least):
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=churn))
    summary, rows = computed(grid, tmp_path)
    assert summary.evaluations == summary.predicted.evaluations
    assert summary.evaluations / (11 * 35 * 16) == pytest.approx(least, abs=1e-4)
    assert len(rows) == 11


@pytest.mark.parametrize("source", [EXACT, "digits-vp", "digits-adm", CFG], ids=["exact", "vp", "adm", "guided"])
def test_results_are_the_same_bits_with_and_without(tmp_path, monkeypatch, source):
    text = GRID.format(source=source, churn=[0, 2, 7, 20]) + (
        "  - {name: others, steps: [4, 5], sampler: {solver: [euler, heun, dpmpp_2m]}}\n"
    )
    grid = planned(tmp_path, text if source != CFG else text.replace(", labels: unconditional", ", labels: random"))
    shared, rows = computed(grid, tmp_path / "shared")
    monkeypatch.setattr(sharing, "_place", lambda *_: None)
    apart, expected = computed(grid, tmp_path / "apart")
    assert rows == expected
    assert shared.evaluations == shared.predicted.evaluations < apart.evaluations == apart.predicted.evaluations


def test_workers_find_what_one_finds(tmp_path):
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=[0, 2, 4]))
    one, rows = computed(grid, tmp_path / "one")
    two, others = computed(grid, tmp_path / "two", executor="processes")
    assert rows == others and one.evaluations == two.evaluations


def test_a_group_is_cut_where_a_limit_is(tmp_path):
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=[0, 2, 4, 6]))
    whole, rows = computed(grid, tmp_path / "whole")
    first, _ = computed(grid, tmp_path / "cut", limits=Limits(evaluations=whole.evaluations - 1))
    assert first.left.trials >= 1 and 0 < first.evaluations < whole.evaluations
    second, every = computed(grid, tmp_path / "cut")
    assert second.left is None and every == rows and first.done + second.done >= 4


def test_what_is_left_of_a_group_is_reckoned_by_itself(tmp_path):
    """A limit that holds the rest of a group with what was evaluated before, and not without it, is too low."""
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=[0, 2]))
    whole, _ = computed(grid, tmp_path / "whole")
    alone = 35 * 16
    assert whole.evaluations < 2 * alone - 16
    first, _ = computed(grid, tmp_path / "cut", limits=Limits(evaluations=alone))
    second, _ = computed(grid, tmp_path / "cut", limits=Limits(evaluations=alone - 1))
    assert (first.done, first.evaluations, first.left.is_too_low) == (1, alone, False)
    assert (second.done, second.evaluations, second.left.is_too_low) == (1, 0, True)


def test_one_that_fails_spoils_nothing(tmp_path, monkeypatch):
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=[0, 2, 4]))
    _, rows = computed(grid, tmp_path / "whole")
    bad = grid.items[1].trial.fingerprint
    done = worker.run_task

    def run_task(task, device):
        is_bad = Trial.model_validate_json(task.trial).fingerprint == bad
        return worker.ChunkFailure("not today", is_transient=True) if is_bad else done(task, device)

    monkeypatch.setattr(worker, "run_task", run_task)
    summary, left = computed(grid, tmp_path / "some")
    assert summary.failed == 1 and {key: row for key, row in left.items() if key != bad} == {
        key: row for key, row in rows.items() if key != bad
    }


def test_groups_are_no_longer_than_a_worker_may_lose(tmp_path, monkeypatch):
    every = measurements(planned(tmp_path, GRID.format(source=EXACT, churn=[0, 1, 2, 3, 4, 5])))
    chunks = plan_chunks(every, None).chunks
    monkeypatch.setattr(sharing, "MOST_EVALUATIONS", 16 * 60)
    tasks = sharing.plan_tasks(chunks, every, [16], 1)
    groups = {task.group: [one.evaluations for one in tasks if one.group == task.group] for task in tasks}
    assert len(groups) > 1 and all(sum(group) <= 16 * 60 for group in groups.values())
    assert sorted(chunk.chunk for task in tasks for chunk in task.chunks) == sorted(chunk.chunk for chunk in chunks)


def test_an_adaptive_solver_shares_nothing(tmp_path):
    adaptive = "  - {name: adaptive, along: solver.rtol, sampler: {solver: {kind: rk45, rtol: [0.1, 0.01]}}}\n"
    grid = planned(tmp_path, GRID.format(source=EXACT, churn=[0]).split("  - {")[0] + adaptive)
    every = measurements(grid)
    tasks = sharing.plan_tasks(plan_chunks(every, None).chunks, every, [16], 1)
    assert [task.group for task in tasks] == [0, 0]
