"""What a plan says that a run will take: evaluations, also of converged trajectories, and time beside the network."""

import pytest

from harness.execution import cost as module
from harness.execution.cost import CHUNK_SECONDS, TRIAL_SECONDS, Cost, costs
from harness.execution.executors import EXECUTORS
from harness.execution.measurements import measurements
from harness.execution.run import Listener, run
from harness.experiments.plan import plan
from harness.store.database import Store

GRID = """
title: Against a converged trajectory
samples: 8
metrics: {metric}
denoisers:
  a: {{source: {{kind: gaussian, mean: 0, std: 0.5, shape: [1, 2, 2]}}}}
  b: {{source: {{kind: gaussian, mean: 0, std: 0.4, shape: [1, 2, 2]}}}}
series:
  - {{name: S, sampler: {{solver: {solver}}}}}
nfe: [3, 5, 7]
"""


@pytest.fixture
def grid(tmp_path):
    def write(metric="{kind: end-point-error, reference: 32}", solver="euler"):
        path = tmp_path / "grid.yaml"
        path.write_text(GRID.format(metric=metric, solver=solver))
        return plan(path)

    return write


@pytest.mark.parametrize(
    ("metric", "solver"),
    [
        ("{kind: end-point-error, reference: 32}", "euler"),  # 3 + 5 + 7 and once 63 a denoiser
        ("{kind: end-point-error, reference: 32}", "dpmpp_2m_sde"),  # its reference is its own
        ("{kind: convergence-order, reference: 256}", "euler"),
        ("{kind: truncation-error}", "euler"),
    ],
)
def test_evaluations_are_those_of_the_run(grid, tmp_path, metric, solver):
    planned, started = grid(metric, solver), []
    listener = Listener()
    listener.started = lambda trials, done, evaluations: started.append(evaluations)
    said = costs(planned, None, "cpu", None, "inline")
    with Store(str(tmp_path / "s.sqlite")) as store:
        summary = run(planned, store, "cpu", executor="inline", listener=listener)
        assert sum(cost.evaluations for cost in costs(planned, store, "cpu", None, "inline")) == 0
    assert started == [sum(cost.evaluations for cost in said)]
    assert started[0] == pytest.approx(summary.evaluations, rel=0.06)


@pytest.mark.parametrize(("workers", "each"), [(1, 21), (2, 42), (3, 63), (16, 63)])
def test_every_worker_follows_the_converged_trajectory_once(grid, workers, each):
    """Of 2 x 32 - 1 evaluations for three trials; no more than each for itself."""
    (measurement,) = measurements(grid())
    assert [measurement.evaluations(key, workers) for key in measurement.trials] == [3 + each, 5 + each, 7 + each] * 2


def test_time_beside_the_network():
    assert Cost("a", 9, 4, 100, 5000, 1000.0, "store").seconds == pytest.approx(
        5 + 100 * CHUNK_SECONDS + 4 * TRIAL_SECONDS
    )
    assert Cost("a", 9, 0, 0, 0, None, "not known").seconds == 0
    assert Cost("a", 9, 4, 100, 5000, None, "not known").seconds is None


def test_chunks_are_counted_by_panel(grid, monkeypatch):
    monkeypatch.setattr(module, "_timed_rate", lambda *_: 1000.0)
    assert [cost.chunks for cost in costs(grid(), None, "cpu", None, "inline")] == [3, 3]


def test_workers_take_time_to_start():
    assert EXECUTORS["processes"].start_seconds > 0 == EXECUTORS["inline"].start_seconds
