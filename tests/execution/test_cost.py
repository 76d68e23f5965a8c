"""What a plan says that a run will take: evaluations, also of converged trajectories, and time beside the network."""

import pytest

from harness.execution import cost as module
from harness.execution.cost import CHUNK_SECONDS, TRIAL_SECONDS, Cost, costs
from harness.execution.executors import EXECUTORS
from harness.execution.measurements import measurements
from harness.execution.run import Listener, run
from harness.experiments.grid import StatedRate
from harness.experiments.plan import plan
from harness.store import tables
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


@pytest.mark.parametrize(
    ("gpus", "evaluations", "rate", "hours"),
    [(0, 3600, 1.0, None), (1, 3600, 1.0, 1.0), (4, 3600, 2.0, 2.0), (1, 3600, None, None)],
)
def test_gpu_hours_are_those_of_all_gpus_held(gpus, evaluations, rate, hours):
    cost = Cost("a", 1, 0, 0, evaluations, rate, "timed", gpus=gpus)
    assert cost.gpu_hours == (None if hours is None else pytest.approx(hours))


def test_what_metrics_take_is_part_of_the_time():
    assert Cost("a", 1, 0, 0, 100, 10.0, "timed", metric_seconds=32.0).seconds == 42


class TestSpeed:
    """Where the speed of a network is from."""

    @pytest.fixture
    def run_before(self, grid, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "_timed_rate", lambda *_: 1000.0)
        with Store(str(tmp_path / "s.sqlite")) as store:
            run(grid(), store, "cpu", executor="inline")
            yield store

    def of(self, planned, store, batch=None):
        return {cost.panel: cost for cost in costs(planned, store, "cpu", batch, "inline")}

    def test_nothing_is_known(self, grid, monkeypatch):
        monkeypatch.setattr(module, "_timed_rate", lambda *_: 1000.0)
        cost = self.of(grid(), None)["a"]
        assert (cost.rate, cost.measured, cost.gpus) == (1000.0, "timed", 0)
        assert cost.origin == "on 1 worker (cpu), timed just now over 3 network calls"

    def test_other_trials_of_the_network_say_it_too(self, grid, run_before):
        cost = self.of(grid(solver="heun"), run_before)["a"]
        rows = [row for row in run_before.results() if row["trial"]["denoiser"]["std"] == 0.5]
        assert (cost.missing, cost.measured) == (3, "store")
        assert cost.rate == pytest.approx(sum(row["evaluations"] for row in rows) / sum(row["seconds"] for row in rows))
        assert cost.origin == "on 1 worker (cpu), from the latest 3 results of it in the store"

    def test_the_latest_results_count(self, grid, run_before, monkeypatch):
        monkeypatch.setattr(module, "LATEST", 1)
        row = [row for row in run_before.results() if row["trial"]["denoiser"]["std"] == 0.5][1]
        run_before.put_result({**row, "id": None, "seconds": 2.0, "evaluations": 500})
        cost = self.of(grid(), run_before)["a"]
        assert (cost.rate, cost.origin) == (250, "on 1 worker (cpu), from the latest result of it in the store")

    def test_chunks_of_a_run_that_completed_no_trial(self, grid, run_before):
        for row in run_before.results():
            run_before.write(tables.results.delete().where(tables.results.c.id == row["id"]))
        assert (
            self.of(grid(), run_before)["a"].origin == "on 1 worker (cpu), from the latest 3 chunks of it in the store"
        )

    def test_work_on_another_device_says_nothing(self, grid, run_before):
        for row in run_before.results():
            provenance = row["provenance"] | {"device": ["NVIDIA H100"]}
            run_before.put_result({**row, "provenance": provenance})
        run_before.write(tables.chunks.update().values(info={"device": "NVIDIA H100", "seconds": 1, "evaluations": 9}))
        assert self.of(grid(), run_before)["a"].measured == "timed"

    @pytest.mark.parametrize(
        ("device", "gpus"), [("one V100, Karras et al.", 1), ("a CPU of 8 cores", 0), ("two cores", 0), ("cpu", 0)]
    )
    def test_a_rate_that_the_grid_states(self, grid, monkeypatch, device, gpus):
        monkeypatch.setattr(module, "own_parts", lambda source: ("code",))  # which is not timed
        planned = grid()
        stated = StatedRate(evaluations_per_second=50, device=device)
        panels = {name: panel.model_copy(update={"rate": stated}) for name, panel in planned.grid.denoisers.items()}
        cost = self.of(planned._replace(grid=planned.grid.model_copy(update={"denoisers": panels})), None)["a"]
        assert (cost.rate, cost.measured, cost.gpus) == (50, device, gpus)
        assert cost.origin == f"as the grid states ({device})"

    def test_nobody_says(self, grid, monkeypatch):
        monkeypatch.setattr(module, "own_parts", lambda source: ("code",))
        cost = self.of(grid(), None)["a"]
        assert (cost.rate, cost.seconds, cost.measured) == (None, None, "not known")


def test_wide_features_take_time_beside_the_network(grid, monkeypatch):
    """Of pixels: their extractor by the image, and on a CPU the distances of each trial."""
    monkeypatch.setattr(module, "_timed_rate", lambda *_: 1000.0)
    monkeypatch.setattr(module, "_extractor_seconds", lambda *_: 0.5)
    metric = "{kind: fid, extractor: raw, reference: digits}"
    planned = grid(metric)
    cost = costs(planned, None, "cpu", None, "inline")[0]
    assert cost.metric_seconds == 3 * 8 * 0.5 + 3 * module.WIDE_TRIAL_SECONDS


def test_an_extractor_is_timed(grid):
    (measurement,) = measurements(grid("{kind: fid, extractor: raw, reference: digits}"))
    assert 0 < module._extractor_seconds(measurement, (1, 2, 2), "cpu") < 1
    (measurement,) = measurements(grid())
    assert module._extractor_seconds(measurement, (1, 2, 2), "cpu") == 0


def test_chunks_are_counted_by_panel(grid, monkeypatch):
    monkeypatch.setattr(module, "_timed_rate", lambda *_: 1000.0)
    assert [cost.chunks for cost in costs(grid(), None, "cpu", None, "inline")] == [3, 3]


def test_workers_take_time_to_start():
    assert EXECUTORS["processes"].start_seconds > 0 == EXECUTORS["inline"].start_seconds
