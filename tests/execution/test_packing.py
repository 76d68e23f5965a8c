"""Trials of a few samples side by side: the results that each finds by itself, in fewer calls, known before."""

import numpy as np
import pytest

from harness.core.errors import MachineError
from harness.denoisers.load import identity
from harness.execution import worker
from harness.execution.chunks import plan_chunks
from harness.execution.cost import costs
from harness.execution.limits import Limits
from harness.execution.measurements import measurements
from harness.execution.run import run
from harness.execution.seed_ranges import SeedRange
from harness.execution.sharing import plan_tasks
from harness.experiments.plan import plan
from harness.experiments.trial import Trial
from harness.metrics import FrechetDigits
from harness.sampling.sampler import Sampler
from harness.store.database import Store

GRID = """
title: Small trials
samples: {samples}
metrics: fd-digits
denoisers: {{net: {{source: {source}, labels: {labels}}}}}
series:
  - name: all
    steps: [4, 5, 6, 7, 8, 9, 10, 11]
    sampler: {{solver: [euler, heun, dpmpp_2m, unipc, ipndm]}}
"""
EXACT = "{kind: gaussian, std: 0.5, shape: [1, 8, 8]}"
GUIDED = "{kind: cfg, denoiser: digits-adm, weight: 1.5, sigma_lo: 0.3, sigma_hi: 5.0}"


def planned(tmp_path, source=EXACT, samples=4, labels="unconditional", text=GRID):
    path = tmp_path / "grid.yaml"
    path.write_text(text.format(source=source, samples=samples, labels=labels))
    return plan(path)


def computed(grid, folder, batch=None, executor="inline", **options):
    """The summary of a run into a store, and its rows by trial."""
    with Store(str(folder / "s.sqlite")) as store:
        summary = run(grid, store, "cpu", batch, executor=executor, **options)
        return summary, {row["fingerprint"]: row for row in store.results()}


def groups_of(grid, workers, full=128):
    every = measurements(grid)
    tasks = plan_tasks(plan_chunks(every, None).chunks, every, [every[0].samples], workers, full=full)
    return [[task for task in tasks if task.group == group] for group in sorted({task.group for task in tasks})]


@pytest.mark.parametrize(
    ("source", "labels", "near"),
    [(EXACT, "unconditional", 0), ("digits-edm", "unconditional", 1e-4), (GUIDED, "random", 1e-4)],
    ids=["exact", "network", "guided"],
)
def test_results_are_those_of_trials_by_themselves(tmp_path, source, labels, near):
    grid = planned(tmp_path, source, labels=labels)
    (tmp_path / "packed").mkdir()
    (tmp_path / "apart").mkdir()
    packed, rows = computed(grid, tmp_path / "packed")
    apart, expected = computed(grid, tmp_path / "apart", batch=4)
    assert len(rows) == 40 and rows.keys() == expected.keys()
    for key, row in rows.items():
        assert row["value"] == pytest.approx(expected[key]["value"], rel=near, abs=0)
        assert [row[name] for name in ("nfe", "nfe_min", "nfe_max", "blocks", "status")] == [
            expected[key][name] for name in ("nfe", "nfe_min", "nfe_max", "blocks", "status")
        ]
    assert packed.evaluations == apart.evaluations
    assert packed.evaluations == pytest.approx(packed.predicted.evaluations, rel=0.02)
    assert sum(row["evaluations"] for row in rows.values()) == packed.evaluations
    assert {tuple(row["provenance"]["batch"]) for row in expected.values()} == {(4,)}
    assert all(64 < row["provenance"]["batch"][0] <= 128 for row in rows.values())


def test_workers_have_a_part_each(tmp_path):
    grid = planned(tmp_path)
    one, two = computed(grid, tmp_path), groups_of(grid, 2)
    sizes = [sum(task.evaluations for task in group) for group in two]
    assert len(groups_of(grid, 1)) == 1 and len(two) in (2, 3)
    assert max(sizes) <= 0.55 * sum(sizes)
    both = tmp_path / "both"
    both.mkdir()
    second, rows = computed(grid, both, executor="processes")
    assert {key: row["value"] for key, row in rows.items()} == {key: row["value"] for key, row in one[1].items()}
    assert second.evaluations == second.predicted.evaluations < 1.05 * one[0].evaluations


def test_trials_that_fill_half_a_call_or_more_are_left_alone(tmp_path):
    def together(samples, **options):
        return {
            task.together for group in groups_of(planned(tmp_path, samples=samples), 1, **options) for task in group
        }

    assert together(64) == {128}
    assert together(65) == together(64, full=0) == {0}


def test_some_that_are_there_already(tmp_path):
    grid = planned(tmp_path)
    part = grid._replace(items=grid.items[::3])
    first, some = computed(part, tmp_path)
    second, rows = computed(grid, tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    assert (first.chunks, second.chunks) == (14, 26)
    assert {key: row["value"] for key, row in rows.items()} == {
        key: row["value"] for key, row in computed(grid, whole)[1].items()
    }
    assert some.keys() <= rows.keys()


def test_a_limit_cuts_them(tmp_path):
    grid = planned(tmp_path)
    summary, rows = computed(grid, tmp_path, limits=Limits(evaluations=400))
    assert 300 < summary.evaluations <= 400 and 5 < len(rows) < 40
    assert summary.left.trials == 40 - len(rows)
    rest, rows = computed(grid, tmp_path)
    assert rest.left is None and len(rows) == 40


def test_one_that_fails_spoils_nothing(tmp_path, monkeypatch):
    grid = planned(tmp_path)
    bad = grid.items[5].trial.fingerprint
    real = worker.METRICS.read_json
    fingerprints = []

    def validate(text, real=Trial.model_validate_json):
        trial = real(text)
        fingerprints.append(trial.fingerprint)
        return trial

    def read_json(text):
        if fingerprints[-1] == bad:
            raise ValueError("not this one")
        return real(text)

    monkeypatch.setattr(worker.Trial, "model_validate_json", validate)
    monkeypatch.setattr(worker.METRICS, "read_json", read_json)
    summary, rows = computed(grid, tmp_path)
    assert (summary.done, summary.failed) == (39, 1)
    assert rows[bad]["reason"] == "ValueError: not this one"


def test_a_denoiser_that_cannot_be_loaded_fails_each_for_itself(tmp_path, monkeypatch):
    def load(*_):
        raise OSError("gone")

    monkeypatch.setattr(worker, "_denoiser", load)
    summary, rows = computed(planned(tmp_path), tmp_path)
    assert summary.failed == 40
    assert {row["reason"] for row in rows.values()} == {"the denoiser cannot be loaded: OSError: gone"}


def test_a_device_that_reports_an_error_fails_no_trial(monkeypatch):
    """Only another process can go on: the tasks are told to be the machine's, as those of a task by itself are."""

    def load(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    sampler = Sampler(steps=4)
    trial = Trial(denoiser="digits-vp", weights=identity("digits-vp"), sampler=sampler)
    metric = FrechetDigits().model_dump_json()
    task = worker.ChunkTask(trial.model_dump_json(), (SeedRange(0, 3),), metric, 4, False)
    monkeypatch.setattr(worker, "_denoiser", load)
    with pytest.raises(MachineError, match="CUDA error"):
        worker.run_tasks((task, task), True, 128, "cpu")


def test_a_plan_says_what_it_takes(tmp_path):
    grid = planned(tmp_path)
    summary, _ = computed(grid, tmp_path)
    (cost,) = costs(grid, None, "cpu", None, executor="inline")
    assert cost.evaluations == summary.evaluations


def test_the_seconds_of_a_trial_are_its_part(tmp_path):
    summary, rows = computed(planned(tmp_path, "digits-edm"), tmp_path)
    seconds = np.array([row["seconds"] for row in rows.values()])
    evaluations = np.array([row["evaluations"] for row in rows.values()])
    assert seconds.sum() < summary.seconds
    np.testing.assert_allclose(seconds / evaluations, seconds.sum() / evaluations.sum(), rtol=1e-6)
