"""Limits of a command: what would pass one is not begun, what is stored stays, and the same command goes on."""

import math

import pytest
import sqlalchemy as sa

from harness.core.errors import InputError, SamplingError
from harness.execution import limits as module
from harness.execution import scheduler as scheduler_module
from harness.execution import worker as worker_module
from harness.execution.chunks import plan_chunks
from harness.execution.limits import Effort, Limits
from harness.execution.measurements import measurements
from harness.execution.run import Listener, run
from harness.experiments.plan import plan
from harness.store import tables
from harness.store.chunk import Chunk
from harness.store.database import Store

GRID = """
title: Two solvers on a Gaussian
samples: 20
chunk: 8
nfe: [3, 7]
denoisers:
  exact: {source: {kind: gaussian, mean: 0.1, std: 0.4}}
series:
  - {name: euler, sampler: {solver: euler}}
  - {name: heun, sampler: {solver: heun}}
"""
WHOLE = 20 * (3 + 7 + 3 + 7)
"""Network evaluations of the grid, each trial in one call of 20 rows."""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """No denoiser is loaded, and trials share no evaluations, so that each takes its NFE."""
    worker_module._denoiser.cache_clear()
    monkeypatch.setattr("harness.execution.sharing._place", lambda *_: None)


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture
def planned(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return plan(path)


@pytest.fixture
def clock(monkeypatch):
    """Seconds of a clock that the test moves."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def compute(planned, store, limits, batch=None, executor="inline"):
    return run(planned, store, "cpu", batch, executor=executor, limits=limits)


def claims(store):
    return [row for row in store.all_chunks() if row["status"] != "done"]


class TestLimits:
    @pytest.mark.parametrize("hours", [0, -1, math.nan, math.inf])
    def test_hours_that_are_none(self, hours):
        with pytest.raises(InputError, match=r"^--max-hours takes hours above 0, such as 1\.5; we got .*$"):
            Limits(hours=hours)

    @pytest.mark.parametrize("evaluations", [0, -5, math.nan, math.inf, 0.5, 10.5])
    def test_evaluations_that_are_none(self, evaluations):
        with pytest.raises(InputError, match=r"^--max-evaluations takes a whole number above 0, such as 100000; we"):
            Limits(evaluations=evaluations)

    def test_work_under_way_counts_until_it_is_known_what_it_took(self):
        limits = Limits(evaluations=1e2)
        limits.begin(60)
        assert limits.allow(40, 0.0)
        assert not limits.allow(41, 0.0) and not limits.is_too_low
        limits.end(60, 30, Effort())
        assert limits.allow(70, 0.0) and limits.reason == ""
        assert not limits.allow(101, 0.0) and limits.is_too_low
        assert limits.reason == "100 network evaluations, 30 of them spent, and the next chunks take 101"

    def test_failed_work_counts_as_it_was_expected(self):
        limits = Limits(evaluations=100)
        limits.begin(60)
        limits.end(60, None, Effort())
        assert limits.spent == 60

    def test_the_time_of_the_next_chunks_counts(self, clock):
        limits = Limits(hours=1)
        clock[0] = 3500
        assert limits.allow(1, 100)
        assert not limits.allow(1, 101) and not limits.is_too_low
        assert limits.reason == "1 h, of which 58 min are over, and the next chunks take about 2 min"
        assert not limits.allow(1, 3601) and limits.is_too_low

    def test_speed_is_that_of_this_command_as_soon_as_there_is_one(self):
        limits, effort = Limits(), Effort("a", 1, rate=10.0)
        assert limits.seconds_of(Effort("a", 1), 100) == 0  # nobody knows
        assert limits.seconds_of(effort, 100) == 10
        limits.begin(100)
        limits.end(100, 100, effort, seconds=50.0)
        assert limits.seconds_of(effort, 100) == 50
        assert limits.seconds_of(Effort("b", 1, rate=10.0, beside=2.0), 100) == 12


class TestRuns:
    def test_no_limit_leaves_nothing(self, planned, store):
        summary = compute(planned, store, Limits())
        assert (summary.done, summary.left, summary.evaluations) == (4, None, WHOLE)
        assert summary.predicted == (WHOLE, None)

    def test_a_limit_of_what_it_takes_leaves_nothing(self, planned, store):
        assert compute(planned, store, Limits(hours=1, evaluations=WHOLE)).left is None

    def test_the_limit_is_never_passed_and_the_same_command_goes_on(self, planned, store, tmp_path):
        summaries = []
        while not summaries or summaries[-1].left is not None:
            summaries.append(compute(planned, store, Limits(evaluations=200)))
            assert summaries[-1].evaluations <= 200
            assert claims(store) == []
        # 60 + 140 evaluations are two trials, and 60 + 140 the other two
        assert [summary.done for summary in summaries] == [2, 4]
        left = summaries[0].left
        assert (left.trials, left.chunks, left.evaluations, left.is_too_low) == (2, 6, 200, False)
        with Store(str(tmp_path / "whole.sqlite")) as whole:
            compute(planned, whole, Limits())
            at_once = {row["fingerprint"]: row["value"] for row in whole.results()}
        assert {row["fingerprint"]: row["value"] for row in store.results()} == at_once

    def test_a_limit_below_the_next_chunks_is_too_low(self, planned, store):
        summary = compute(planned, store, Limits(evaluations=59))
        assert (summary.done, summary.chunks, summary.left.is_too_low) == (0, 0, True)
        assert store.all_chunks() == []

    def test_nothing_left_to_do_passes_no_limit(self, planned, store):
        compute(planned, store, Limits())
        summary = compute(planned, store, Limits(hours=1e-9, evaluations=1))
        assert (summary.done, summary.left, summary.evaluations) == (4, None, 0)

    def test_trials_that_are_complete_are_measured_whatever_the_limit(self, planned, store):
        compute(planned, store, Limits(evaluations=200))
        drop_results(store)
        summary = compute(planned, store, Limits(evaluations=1))
        assert (summary.done, summary.chunks) == (2, 0)

    def test_rows_that_fill_calls_up_count(self, planned, store):
        """Chunks of 8, 8 and 4 seeds in calls of 16 rows: two calls a trial, the second with 4 samples in 16 rows."""
        summary = compute(planned, store, Limits(evaluations=2 * 16 * 3), batch=16)
        assert (summary.done, summary.evaluations) == (1, 96)
        assert summary.predicted.evaluations == 2 * 16 * (3 + 7 + 3 + 7)
        assert summary.left.evaluations == 2 * 16 * (7 + 3 + 7)

    def test_hours_by_the_clock(self, planned, store, clock):
        """Each trial ends 2000 seconds later."""
        listener, limits = Listener(), Limits(hours=1)

        def later(*_):
            clock[0] += 2000

        listener.trial = later
        summary = run(planned, store, "cpu", listener=listener, executor="inline", limits=limits)
        assert (summary.done, summary.left.trials) == (2, 2)
        assert summary.left.limit.startswith("1 h, of which 67 min are over")
        assert claims(store) == []

    def test_the_speed_of_the_store_is_known_before(self, planned, store, tmp_path):
        compute(planned, store, Limits())
        more = tmp_path / "more.yaml"
        more.write_text(GRID.replace("[3, 7]", "[9]"))
        summary = compute(plan(more), store, Limits())
        assert summary.predicted.evaluations == 20 * 18
        assert 0 < summary.predicted.seconds < 60

    def test_plans_of_one_command_share_its_limits(self, planned, store, tmp_path):
        other = tmp_path / "other.yaml"
        other.write_text(GRID.replace("[3, 7]", "[5]"))
        limits = Limits(evaluations=WHOLE + 100)
        assert compute(planned, store, limits).left is None
        summary = compute(plan(other), store, limits)
        assert (summary.done, summary.evaluations) == (1, 100)

    def test_a_failed_trial_is_spent(self, planned, store, monkeypatch):
        def fail(*_, **__):
            raise SamplingError("the state is not finite", 1)

        monkeypatch.setattr("harness.sampling.sample.sample", fail)
        summary = compute(planned, store, Limits(evaluations=199))
        assert (summary.failed, summary.left.trials) == (1, 3)

    def test_two_workers(self, planned, store):
        """What both have under way counts together."""
        summary = compute(planned, store, Limits(evaluations=200), executor="processes")
        assert (summary.done, summary.evaluations, summary.left.trials) == (2, 200, 2)
        assert claims(store) == []
        again = compute(planned, store, Limits(evaluations=200), executor="processes")
        assert (again.done, again.left, again.evaluations) == (4, None, 200)

    def test_chunks_of_another_process_are_not_waited_for_beyond_the_hours(self, planned, store, clock, monkeypatch):
        (measurement,) = measurements(planned)
        for planned_chunk in plan_chunks([measurement], store).chunks:
            store.claim(Chunk(planned_chunk.fingerprint, *planned_chunk.seeds, measurement.source))
        monkeypatch.setattr(scheduler_module.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + 50))
        summary = compute(planned, store, Limits(hours=0.01))
        assert (summary.chunks, summary.left.chunks, summary.left.trials) == (0, 12, 4)
        assert summary.left.limit == "0.01 h, of which 50 s are over"
        assert not summary.left.is_too_low


def drop_results(store):
    for row in store.results():
        store.write(sa.delete(tables.results).where(tables.results.c.id == row["id"]))
