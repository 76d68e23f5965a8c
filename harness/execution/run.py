"""Run a plan: have the chunks computed that the store lacks, and measure each trial whose chunks are all there.

Running the same plan again computes only what is missing.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import RunError, SamplingError
from harness.denoisers.load import own_parts
from harness.denoisers.own import check_own
from harness.execution.chunks import ChunkPlan, Key, Missing, PlannedChunk, load_chunks, plan_chunks
from harness.execution.cost import TRIAL_SECONDS, costs_of
from harness.execution.devices import call_shape, devices_for, full_call
from harness.execution.executors import Executor
from harness.execution.levels import fill_levels
from harness.execution.limits import Effort, Limits
from harness.execution.measurements import Measurement, measurements, with_reference
from harness.execution.merging import Merger
from harness.execution.plan_record import plan_record
from harness.execution.results import groups, measure
from harness.execution.scheduler import Job, Scheduler, stop_reason
from harness.execution.seed_ranges import SeedRange
from harness.execution.sharing import PlannedTask, chunk_evaluations, plan_tasks
from harness.execution.worker import ChunkFailure, ChunkTask, failure_of
from harness.experiments.nfe import Probe, probe_of
from harness.experiments.plan import Plan, Planned
from harness.experiments.trial import Trial
from harness.store.chunk import Chunk
from harness.store.database import RESULT_KEY, Store
from harness.store.names import keep_grid

MOST_LEVELS = 256
"""Noise levels of a trial that are kept in its rows."""


class FailureCount(NamedTuple):
    """Trials of a run that failed for one reason.

    Args:
        reason: in words.
        is_transient: the machine failed, not the trial; the next run tries again.
        trials: how many.
    """

    reason: str
    is_transient: bool
    trials: int


class Prediction(NamedTuple):
    """What a run was expected to take: network rows, padding included, and seconds; None where no speed was known."""

    evaluations: int
    seconds: float | None


class Unfinished(NamedTuple):
    """What a run left for the next one, since it came to a limit.

    Args:
        limit: which, with what is spent of it, in words.
        trials: not complete, every metric counted.
        chunks: not computed, those that other processes have included.
        evaluations: about how many network rows they take.
        is_too_low: whether the next chunks alone pass the limit, so that it has to be raised.
    """

    limit: str
    trials: int
    chunks: int
    evaluations: int
    is_too_low: bool


class Summary(NamedTuple):
    """What a run came to, every metric of every trial counted; `evaluations` are network rows, padding included.

    `predicted` is what was expected of the whole run before it began, and `left` what a limit kept from being done.
    """

    trials: int
    done: int
    failed: int
    chunks: int
    evaluations: int
    seconds: float
    failures: tuple[FailureCount, ...] = ()
    predicted: Prediction = Prediction(0, None)
    left: Unfinished | None = None


class Listener:
    """Told of a run's progress as it happens; says nothing itself."""

    def predicted(self, prediction: Prediction) -> None:
        """What the run is expected to take; the run begins directly after."""

    def started(self, trials: int, done: int, evaluations: int) -> None:
        """Trials to measure, every metric counted, those complete already, and network rows still to compute."""

    def chunk(self, evaluations: int) -> None:
        """A chunk arrived that took this many network rows."""

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        """A trial is complete, or failed."""

    def note(self, text: str) -> None:
        """Something that a person should know: who is waited for, what is done again, pictures not drawn."""


def run(
    plan: Plan,
    store: Store,
    device: str | None = None,
    batch: int | None = None,
    force: bool = False,
    retry_failed: bool = False,
    listener: Listener | None = None,
    record: bool = True,
    executor: str | type[Executor] = "processes",
    limits: Limits | None = None,
) -> Summary:
    """Compute what a plan lacks, store it, and measure every trial.

    Args:
        plan: what to run.
        store: where results are and go.
        device: where torch runs: "cpu", "cuda", "cuda:N"; None for all GPUs if there are any, else the CPU's cores.
        batch: rows per network call.
        force: forget what the store has of these trials and compute them again.
        retry_failed: try failed chunks again.
        listener: told of progress.
        record: keep the plan for reports.
        executor: who runs the work: the name of an executor, or a class of executors.
        limits: of the command; what would pass one is left for the next run. None for no limits.

    Raises:
        InputError: no such device or executor, a stored file that was changed, or the folder of files is away.
        RunError: the disk is full, the store cannot be written, or workers cannot start.
    """
    scheduler, listener = Scheduler(store, device, executor, retry_failed, limits), listener or Listener()
    scheduler.on_note = listener.note
    running = _PlanRun(plan, store, scheduler, batch, listener)
    try:
        return running.run(force, record)
    except (OSError, SQLAlchemyError) as error:
        reason = f"{stop_reason(error)}; {scheduler.chunks} chunks of this run are stored and safe"
        running.note_unfinished(reason)
        raise RunError(f"{reason}; mend that and run the same command to go on") from error
    finally:
        scheduler.close()


def _is_finite(row: Mapping[str, Any]) -> bool:
    """Whether a stored value is a number; databases keep NaN as none."""
    return row["value"] is not None and math.isfinite(row["value"])


class _PlanRun:
    """The state of one run: which trials are measured, and which wait for chunks."""

    def __init__(self, plan: Plan, store: Store, scheduler: Scheduler, batch: int | None, listener: Listener) -> None:
        self.plan, self.store, self.scheduler, self.listener = plan, store, scheduler, listener
        self.device, self.batch = scheduler.device, batch
        self.measurements: list[Measurement] = []
        self.statuses: dict[Key, str] = {}
        self.failures: Counter[tuple[str, bool]] = Counter()
        self.probes: dict[str, Probe] = {}
        self.tasks: list[PlannedTask] = []
        self.expected: dict[Chunk, int] = {}
        self.rates: dict[str, float] = {}

    def run(self, force: bool, record: bool) -> Summary:
        started = time.perf_counter()
        if not force:
            self.store.check_files()
        self._check_own_networks(item.trial for item in self.plan.items if item.trial.sampler.discretization.is_open)
        self.plan = fill_levels(self.plan, self.store, self.device)
        wanted = measurements(self.plan)
        self._check_own(wanted, force)
        self.measurements = [with_reference(measurement, self.store, self.device) for measurement in wanted]
        lost = 0
        for measurement in self.measurements:
            if force:
                pictures = [name for key in measurement.trials for name in measurement.pictures(key).values()]
                self.store.forget(measurement.extractor, list(measurement.trials), pictures, measurement.sources)
            lost += self.store.drop_lost(measurement.sources, list(measurement.trials))
        if lost:
            self.listener.note(self.store.lost_files(lost))
        if record:
            _, note = keep_grid(self.store, plan_record(self.plan, self.measurements))
            if note:
                self.listener.note(note)
        needed = plan_chunks(self.measurements, self.store, self.scheduler.retry_failed)
        self.merger = Merger(self.store, self.measurements, needed.by_measurement)
        total = sum(len(measurement.trials) for measurement in self.measurements)
        ready = sum(len(missing.complete) + len(missing.failed) for missing in needed.by_measurement)
        predicted = self._predict(needed)
        self.listener.predicted(predicted)
        self.listener.started(total, ready, predicted.evaluations)
        for number, missing in enumerate(needed.by_measurement):
            self._finish_stored(number, missing)
        if self.tasks:
            self._compute(needed.waiting)
        left = self._left(total)
        failed = sum(status == "failed" for status in self.statuses.values())
        spent, done = time.perf_counter() - started, len(self.statuses) - failed
        failures = tuple(FailureCount(*reason, trials) for reason, trials in self.failures.most_common())
        counts = (total, done, failed, self.scheduler.chunks, self.scheduler.evaluations, spent)
        return Summary(*counts, failures, predicted, left)

    def _check_own_networks(self, trials: Iterable[Trial]) -> None:
        """Users' own networks keep what denoisers promise, before anything is forgotten, found or computed."""
        for trial in {(trial.weights, trial.dtype, trial.labels): trial for trial in trials}.values():
            check_own(trial.denoiser, devices_for(self.device)[0], trial.dtype, trial.conditions)

    def _check_own(self, wanted: list[Measurement], force: bool) -> None:
        """Check the user's networks, and try the user's functions, that missing chunks need.

        Raises:
            InputError: one cannot work.
        """
        sources = {item.trial.weights: item.trial.denoiser for item in self.plan.items}.values()
        if not any(map(own_parts, sources)) and not any(measurement.metric.is_probed for measurement in wanted):
            return
        chunks = plan_chunks(wanted, None if force else self.store, self.scheduler.retry_failed).chunks
        lacking = [(wanted[chunk.measurement], chunk.fingerprint) for chunk in chunks]
        self._check_own_networks(measurement.trials[key].trial for measurement, key in lacking)
        tried = {(id(measurement), measurement.trials[key].panel): measurement for measurement, key in lacking}
        for (_, panel), measurement in tried.items():
            if measurement.metric.is_probed:
                measurement.metric.probe(self.plan.described[panel], devices_for(self.device)[0])

    def _finish_stored(self, number: int, missing: Missing) -> None:
        """Trials that need no more chunks: measure those whose result row is not there yet."""
        measurement = self.measurements[number]
        have = {
            row["fingerprint"]: row
            for row in self.store.results(missing.complete + list(missing.failed))
            if (row["extractor"], row["reference"]) == (measurement.extractor, measurement.reference)
            and (row["first_seed"], row["n"]) == (measurement.first, measurement.samples)
        }
        for key in missing.complete:
            row = have.get(key)
            blocks = len(groups(missing.seed_ranges[key])) if measurement.metric.is_distance else 0
            if row and row["status"] == "done" and _is_finite(row) and len(row["blocks"] or ()) >= blocks:
                self.statuses[number, key] = "done"
            else:  # new, or measured when fewer blocks were cut, or when a value that is not finite was a result
                self._measure((number, key))
        for key, bad in missing.failed.items():
            if key in have and have[key]["status"] == "failed":
                self.statuses[number, key] = "failed"
                self.failures[bad["reason"], False] += 1
            else:
                self._write_failure((number, key), ChunkFailure(bad["reason"], bad["step"]), bad["info"] or {})

    def _compute(self, waiting: Mapping[Any, list[Key]]) -> None:
        """Have chunks computed, and measure trials as they become complete."""
        device, tasks = devices_for(self.device)[0], dict[Key, ChunkTask]()
        every = [(planned, task) for task in self.tasks for planned in task.chunks]
        for planned, together in every:
            measurement = self.measurements[planned.measurement]
            if planned.key not in tasks:
                trial = measurement.trials[planned.fingerprint].trial
                shape = call_shape(measurement.samples, device, self.batch)
                tasks[planned.key] = ChunkTask.of(trial, measurement, shape)
            also = [] if planned.images_only else waiting.get(planned.chunk, [])
            keys = (planned.key, *also)
            chunk = self._chunk(planned)
            self.scheduler.add(
                Job(
                    chunk,
                    keys,
                    tasks[planned.key]._replace(remember=together.group > 0),
                    within=self._common_seeds(keys),
                    pictures=self._pictures(keys) if planned.keep_images else {},
                    is_stored=planned.images_only,
                    effort=self._effort(planned, together),
                    group=together.group,
                    together=together.together,
                )
            )

        def arrived(job: Job, is_ours: bool) -> None:
            if is_ours and not job.is_stored:
                self.merger.finished(job.chunk)
            self.listener.chunk(self.expected[job.chunk])

        self.scheduler.on_chunk, self.scheduler.workers = arrived, len(every)
        while not (self.scheduler.is_idle or self.scheduler.is_stopped):
            for completed in self.scheduler.step():
                if completed.failure is None:
                    self._measure(completed.key)
                else:
                    self._write_failure(completed.key, completed.failure, completed.info)

    def _predict(self, needed: ChunkPlan) -> Prediction:
        """What the missing chunks will take, by the speed of earlier work in the store; nothing is timed."""
        devices = devices_for(self.device)[: self.scheduler.slots]
        batches = [call_shape(measurement.samples, devices[0], self.batch) for measurement in self.measurements]
        full = full_call(devices[0], self.batch)
        self.tasks = plan_tasks(needed.chunks, self.measurements, batches, len(devices), full=full)
        rows = chunk_evaluations(self.tasks)
        self.expected = {self._chunk(planned): count for planned, count in rows.items()}
        store, batch = self.store, self.batch
        every = costs_of(self.plan, self.measurements, needed, rows, store, devices, batch, is_timed=False)
        self.rates = {cost.panel: cost.rate / len(devices) for cost in every if cost.rate}
        known = [cost.seconds for cost in every if cost.seconds is not None]
        start = self.scheduler.make_executor.start_seconds if needed.chunks else 0.0
        return Prediction(sum(rows.values()), sum(known) + start if len(known) == len(every) else None)

    def _chunk(self, planned: PlannedChunk) -> Chunk:
        return Chunk(planned.fingerprint, *planned.seeds, self.measurements[planned.measurement].source)

    def _effort(self, planned: PlannedChunk, together: PlannedTask) -> Effort:
        """What a sample of a chunk takes, for the limits of the command."""
        measurement = self.measurements[planned.measurement]
        item = measurement.trials[planned.fingerprint]
        network = f"{item.trial.weights} {item.trial.dtype} {measurement.extractor}"
        each = measurement.evaluations(planned.fingerprint, self.scheduler.slots)
        share = together.evaluations / together.alone if together.alone else 1.0
        return Effort(network, each, self.rates.get(item.panel), TRIAL_SECONDS, share)

    def _left(self, trials: int) -> Unfinished | None:
        """What is left of so many trials where a limit has stopped the run."""
        if not self.scheduler.is_stopped:
            return None
        left = self.scheduler.left
        evaluations = sum(self.expected[job.chunk] for job in left)
        limits = self.scheduler.limits
        return Unfinished(limits.reason, trials - len(self.statuses), len(left), evaluations, limits.is_too_low)

    def _common_seeds(self, keys: Iterable[Key]) -> SeedRange:
        """The seeds that all of some measurements look at."""
        every = [self.measurements[number].seeds for number, _ in keys]
        return SeedRange(max(seeds.first for seeds in every), min(seeds.last for seeds in every))

    def _pictures(self, keys: Iterable[Key]) -> dict[str, str]:
        return {
            name: picture for number, key in keys for name, picture in self.measurements[number].pictures(key).items()
        }

    def _measure(self, key: Key) -> None:
        """All chunks are there: put them together, measure, and write the trial's row."""
        measurement, fingerprint = self.measurements[key[0]], key[1]
        chunks = load_chunks(self.store, measurement.sources, fingerprint, measurement.seeds)
        # Large matrices are computed on the first GPU of the run, if there is one.
        device = devices_for(self.device)[0] if measurement.is_wide else "cpu"
        try:
            shape = self.plan.described[measurement.trials[fingerprint].panel].shape
            values = measure(measurement.metric, chunks, measurement.against, device, shape=shape)
        except SamplingError as error:
            self._write_failure(key, failure_of(error)._replace(is_transient=True), {})  # the chunks are there
            return
        row = self._row(key, {"status": "done", **values}, [chunk.info for chunk in chunks])
        self.store.put_result(row)
        self.listener.trial(self._planned(key), row)
        self.statuses[key] = "done"

    def _write_failure(self, key: Key, failure: ChunkFailure, info: Mapping[str, Any]) -> None:
        """Write a failed row, unless the machine failed and the trial has a finished one, which still holds."""
        self.statuses[key] = "failed"
        self.failures[failure.reason, failure.is_transient] += 1
        row = self._row(key, {"status": "failed", "reason": failure.reason, "step": failure.step}, [info])
        if not (failure.is_transient and self._is_done(row)):
            self.store.put_result(row)
        self.listener.trial(self._planned(key), row)

    def _planned(self, key: Key) -> Planned:
        return self.measurements[key[0]].trials[key[1]]

    def _row(self, key: Key, values: dict[str, Any], infos: list[Mapping[str, Any]]) -> dict[str, Any]:
        planned = self._planned(key)
        levels = self._levels(planned) if values["status"] == "done" else None
        return self.measurements[key[0]].row(planned.trial, values, infos, planned.notes, levels)

    def _levels(self, planned: Planned) -> dict[str, Any] | None:
        """The sampler's noise levels, for reports to write for other tools; None where they are many."""
        if planned.trial.sampler.steps > MOST_LEVELS:
            return None
        if planned.panel not in self.probes:
            self.probes[planned.panel] = probe_of(planned.trial.denoiser)
        probe = self.probes[planned.panel]
        sigmas = planned.trial.sampler.sigmas(probe).tolist()
        sigmas = [sigma if math.isfinite(sigma) else "inf" for sigma in sigmas]  # JSON has no number for it
        return {"sigmas": sigmas, "rounds": probe.rounding is not None}

    def _is_done(self, row: Mapping[str, Any]) -> bool:
        """Whether the store has a finished result in the place of a row."""
        place = [row[name] for name in RESULT_KEY]
        stored = self.store.results([row["fingerprint"]])
        return any(one["status"] == "done" and [one[name] for name in RESULT_KEY] == place for one in stored)

    def note_unfinished(self, reason: str) -> None:
        """Say in the rows of the trials at work why they were not finished, if the store can still be written."""
        for key in self.scheduler.keys_at_work:
            if key in self.statuses:
                continue
            try:
                self._write_failure(key, ChunkFailure(reason, is_transient=True), {})
            except (OSError, SQLAlchemyError):
                return
