"""Run a plan: find which chunks are missing, have workers compute them, store each as it comes, measure full trials.

Running the same plan again computes only what is missing. Several processes may run over one store: a chunk is claimed
before it is computed, and a chunk that another process has claimed is waited for.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import RunError, SamplingError
from harness.execution.chunks import Job, Key, Missing, seeds_of, work
from harness.execution.executors.processes import Failed, Pool, devices_for
from harness.execution.levels import settled
from harness.execution.measurements import Measurement, measurements, with_reference
from harness.execution.merging import Merger
from harness.execution.plan_record import plan_record
from harness.execution.provenance import versions
from harness.execution.results import MOSAIC, compared, measured
from harness.execution.rows import result_row
from harness.execution.seed_ranges import SeedRange
from harness.execution.stored import stored_pieces
from harness.execution.worker import Done, Task
from harness.experiments.plan import Plan, Planned
from harness.metrics.choices import FeatureMetric
from harness.store.database import Chunk, Store, is_full, lapsed

RENEW_SECONDS = 15.0
POLL_SECONDS = 1.0
CPU_BATCH, GPU_BATCH = 128, 512


class Summary(NamedTuple):
    """What a run came to, every metric of every trial counted; `evaluations` are network rows, padding included."""

    trials: int
    done: int
    failed: int
    chunks: int
    evaluations: int
    seconds: float


class Listener(Protocol):
    """Told of progress as it happens."""

    def started(self, trials: int, done: int, evaluations: int) -> None:
        """Trials to measure, every metric counted, those complete already, and network rows still to compute."""

    def chunk(self, evaluations: int) -> None:
        """A chunk arrived that took this many network rows."""

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        """A trial is complete, or failed."""


class Silent:
    """A listener that says nothing."""

    def started(self, trials: int, done: int, evaluations: int) -> None: ...

    def chunk(self, evaluations: int) -> None: ...

    def trial(self, planned: Planned, row: dict[str, Any]) -> None: ...


def call_shape(samples: int, devices: list[str], batch: int | None) -> int:
    """Rows per network call: as asked, else 128 on a CPU and 512 on a GPU, and no more than the samples."""
    return batch or min(samples, CPU_BATCH if devices[0] == "cpu" else GPU_BATCH)


def run(
    plan: Plan,
    store: Store,
    device: str | None = None,
    batch: int | None = None,
    force: bool = False,
    retry_failed: bool = False,
    listener: Listener | None = None,
    record: bool = True,
) -> Summary:
    """Compute what a plan lacks, store it, and measure every trial.

    Args:
        plan: what to run.
        store: where results are and go.
        device: "cpu", "cuda", "cuda:N"; None for all GPUs if there are any, else the CPU's cores.
        batch: rows per network call.
        force: forget what the store has of these trials and compute them again.
        retry_failed: try failed chunks again.
        listener: told of progress.
        record: keep the plan for reports.

    Raises:
        InputError: no such device, or a stored file that was changed.
        RunError: the disk is full, or the store cannot be written.
    """
    runner = _Run(plan, store, device, batch, listener or Silent())
    try:
        return runner.run(force, retry_failed, record)
    except (OSError, SQLAlchemyError) as error:
        what = (
            "the disk is full" if is_full(error) else f"the store cannot be written ({type(error).__name__}: {error})"
        )
        reason = f"{what}; {runner.chunks} chunks of this run are stored and safe"
        runner.note_unfinished(reason)
        raise RunError(f"{reason}; mend that and run the same command to go on") from error
    finally:
        store.release()


def _around(job: Job, source: str, within: SeedRange, rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """A finished chunk that holds a job's seeds and more, all wanted: what it became when it was merged."""
    for row in rows:
        same = (row["extractor"], row["fingerprint"], row["status"]) == (source, job.fingerprint, "done")
        if same and seeds_of(row).holds(job.span) and within.holds(seeds_of(row)):
            return row
    return None


class _Run:
    """The state of one run: jobs waiting, chunks at work, trials that still wait for chunks."""

    def __init__(self, plan: Plan, store: Store, device: str | None, batch: int | None, listener: Listener) -> None:
        self.plan, self.store, self.listener = plan, store, listener
        self.device, self.batch, self.devices = device, batch, [""]
        self.measurements: list[Measurement] = []
        self.waiting: deque[Job] = deque()
        self.elsewhere: list[Job] = []
        self.at_work: dict[int, list[Job]] = {}
        self.open: dict[Key, int] = {}
        self.settled: dict[Key, str] = {}
        self.chunks = self.evaluations = 0
        self.tickets = itertools.count()
        self.renewed = time.monotonic()

    def run(self, force: bool, retry_failed: bool, record: bool) -> Summary:
        started = time.perf_counter()
        self.retry_failed = retry_failed
        self.plan = settled(self.plan, self.store, self.device)
        self.measurements = [
            with_reference(measurement, self.store, self.device) for measurement in measurements(self.plan)
        ]
        for measurement in self.measurements:
            if force:
                pictures = [name for key in measurement.trials for name in measurement.pictures(key).values()]
                self.store.forget(measurement.extractor, list(measurement.trials), pictures, measurement.sources)
            self.store.drop_lost(measurement.sources, list(measurement.trials))
        if record:
            self.store.put_grid(self.plan.name, plan_record(self.plan, self.measurements))
        needed = work(self.measurements, self.store, retry_failed)
        self.waiting.extend(needed.jobs)
        self.also = needed.waiting
        for key in [key for job in needed.jobs for key in self._waits_for(job)]:
            self.open[key] = self.open.get(key, 0) + 1
        self.merger = Merger(self.store, self.measurements, needed.by_measurement)
        total = sum(len(measurement.trials) for measurement in self.measurements)
        ready = sum(len(found.complete) + len(found.failed) for found in needed.by_measurement)
        self.listener.started(total, ready, self._rows(self.waiting))
        for index, found in enumerate(needed.by_measurement):
            self._settle_stored(index, found)
        if self.waiting:
            self._compute()
        failed = sum(status == "failed" for status in self.settled.values())
        spent = time.perf_counter() - started
        return Summary(total, len(self.settled) - failed, failed, self.chunks, self.evaluations, spent)

    def _waits_for(self, job: Job) -> list[Key]:
        """Whose results need this job: its own measurement's, and others' that share the chunk."""
        return [job.key] if job.images_only else [job.key, *self.also.get(job.chunk, [])]

    def _within(self, job: Job) -> SeedRange:
        """The seeds that all want who need this job: a larger chunk is of use to them only inside."""
        seeds = [self.measurements[number].seeds for number, _ in self._waits_for(job)]
        return SeedRange(max(span.first for span in seeds), min(span.last for span in seeds))

    def _rows(self, jobs: Iterable[Job]) -> int:
        return sum(job.span.size * self.measurements[job.measurement].evaluations(job.fingerprint) for job in jobs)

    def _settle_stored(self, index: int, found: Missing) -> None:
        """Trials that need no more chunks: measure those whose result row is not there yet."""
        measurement = self.measurements[index]
        have = {
            row["fingerprint"]: row["status"]
            for row in self.store.results(found.complete + list(found.failed))
            if (row["extractor"], row["reference"]) == (measurement.extractor, measurement.reference)
            and (row["first_seed"], row["n"]) == (measurement.first, measurement.samples)
        }
        for key in found.complete:
            if have.get(key) == "done":
                self.settled[index, key] = "done"
            else:
                self._measure((index, key))
        for key, row in found.failed.items():
            if have.get(key) == "failed":
                self.settled[index, key] = "failed"
            else:
                self._write_failure((index, key), row["reason"], row["step"], row["info"] or {})

    def _compute(self) -> None:
        self.devices = devices_for(self.device)
        wanted = min(len(self.devices), len(self.waiting))
        pool = Pool(self.devices[:wanted])
        try:
            while self.waiting or self.at_work or self.elsewhere:
                self._feed(pool)
                for ticket, outcome in pool.collect(POLL_SECONDS if pool.busy else 0):
                    self._receive(self.at_work[ticket], outcome)
                    del self.at_work[ticket]
                if self.elsewhere and not self.waiting:
                    self._look_elsewhere(idle=not pool.busy)
                if time.monotonic() - self.renewed > RENEW_SECONDS:
                    self.store.renew()
                    self.renewed = time.monotonic()
        finally:
            pool.close()

    def _feed(self, pool: Pool) -> None:
        while self.waiting and pool.free:
            jobs = self._next_task()
            if not jobs:
                continue
            measurement = self.measurements[jobs[0].measurement]
            trial = measurement.trials[jobs[0].fingerprint].trial.model_dump_json()
            spans = tuple(job.span for job in jobs)
            ticket = next(self.tickets)
            self.at_work[ticket] = jobs
            metric = measurement.metric.model_dump_json()
            pool.submit(ticket, Task(trial, spans, metric, self._shape(jobs[0]), jobs[0].keep_images, measurement.kept))

    def _shape(self, job: Job) -> int:
        return call_shape(self.measurements[job.measurement].samples, self.devices, self.batch)

    def _next_task(self) -> list[Job]:
        """The next chunks to compute together: of one trial, claimed, and as many as fill one network call."""
        jobs: list[Job] = []
        while self.waiting:
            job = self.waiting[0]
            rows = sum(taken.span.size for taken in jobs) + job.span.size
            if jobs and (job.key != jobs[0].key or rows > self._shape(job) or job.keep_images):
                break
            self.waiting.popleft()
            if all(self.settled.get(key) == "failed" for key in self._waits_for(job)):
                continue
            if job.images_only:
                return [job]
            if self.store.claim(self._chunk(job), self.retry_failed, self._within(job)):
                jobs.append(job)
            else:
                self.elsewhere.append(job)
        return jobs

    def _chunk(self, job: Job) -> Chunk:
        return Chunk(job.fingerprint, job.span.first, job.span.last, self.measurements[job.measurement].source)

    def _receive(self, jobs: list[Job], outcome: Done | Failed) -> None:
        if isinstance(outcome, Failed):
            self._give_up(jobs, outcome)
            return
        keys = {name: key for who in self._waits_for(jobs[0]) for name, key in self._pictures(who).items()}
        count = min(sum(job.span.size for job in jobs), MOSAIC)
        for name, png in outcome.pngs.items():
            self.store.put_image(keys[name], jobs[0].span.first, count, png)
        for job, piece in zip(jobs, outcome.pieces, strict=True):
            if not job.images_only:
                self.store.finish(self._chunk(job), piece.arrays, piece.info)
                self.merger.finished(job)
            self.chunks += 1
            self.evaluations += piece.info["evaluations"]
            self._arrived(job)

    def _pictures(self, key: Key) -> dict[str, str]:
        return self.measurements[key[0]].pictures(key[1])

    def _give_up(self, jobs: list[Job], outcome: Failed) -> None:
        info = {"batch": self._shape(jobs[0]), "versions": versions()}
        for job in jobs:
            if not job.images_only:
                self.store.fail(self._chunk(job), outcome.reason, outcome.step, info)
        for key in dict.fromkeys(key for job in jobs for key in self._waits_for(job)):
            if self.settled.get(key) != "failed":
                self._write_failure(key, outcome.reason, outcome.step, info)

    def _arrived(self, job: Job) -> None:
        """A chunk is there: measure the trials that waited for it alone."""
        self.listener.chunk(self._rows([job]))
        for key in self._waits_for(job):
            self.open[key] -= 1
            if not self.open[key] and key not in self.settled:
                self._measure(key)

    def _look_elsewhere(self, idle: bool) -> None:
        """Chunks that another process had: done, failed, or given up and free again."""
        if idle:
            time.sleep(POLL_SECONDS)
        trials: dict[str, list[str]] = {}
        for job in self.elsewhere:
            trials.setdefault(self.measurements[job.measurement].source, []).append(job.fingerprint)
        found = [row for name, keys in trials.items() for row in self.store.chunks(name, list(set(keys)))]
        rows = {row["key"]: row for row in found}
        still = []
        for job in self.elsewhere:
            around = _around(job, self.measurements[job.measurement].source, self._within(job), found)
            row = rows.get(self._chunk(job).key) or around
            if row is None or (row["status"] == "claimed" and lapsed(row)):
                self.waiting.append(job)
            elif row["status"] == "done":
                if not self.store.files.has(row["key"]):
                    folder = self.store.files.folder
                    raise RunError(f"chunk {row['key']} is stored, but its file is not in {folder}; check --files")
                self._arrived(job)
            elif row["status"] == "failed":
                for key in self._waits_for(job):
                    if self.settled.get(key) != "failed":
                        self._write_failure(key, row["reason"], row["step"], row["info"] or {})
            else:
                still.append(job)
        self.elsewhere = still

    def _measure(self, key: Key) -> None:
        """All chunks are there: put them together, measure, and write the trial's row."""
        measurement, fingerprint = self.measurements[key[0]], key[1]
        pieces = stored_pieces(self.store, measurement.sources, fingerprint, measurement.seeds)
        if isinstance(measurement.metric, FeatureMetric) and measurement.against:
            try:
                values = compared(measurement.metric, pieces, measurement.against, self._algebra(measurement))
            except SamplingError as error:
                self._write_failure(key, error.reason, None, {})
                return
        else:
            values = measured(pieces)
        self._write(key, {"status": "done", **values}, [dict(piece.info) for piece in pieces])
        self.settled[key] = "done"

    def _algebra(self, measurement: Measurement) -> str:
        """Where large matrices are computed: on the first GPU of the run, if there is one."""
        return devices_for(self.device)[0] if measurement.is_wide else "cpu"

    def _write_failure(self, key: Key, reason: str, step: int | None, info: dict[str, Any]) -> None:
        self.settled[key] = "failed"
        self._write(key, {"status": "failed", "reason": reason, "step": step}, [info])

    def _write(self, key: Key, values: dict[str, Any], infos: list[dict[str, Any]]) -> None:
        measurement, fingerprint = self.measurements[key[0]], key[1]
        planned = measurement.trials[fingerprint]
        row = result_row(measurement, planned.trial, values, infos)
        self.store.put_result(row)
        self.listener.trial(planned, row)

    def note_unfinished(self, reason: str) -> None:
        """Say in the rows of the trials at work why they were not finished, if the store can still be written."""
        for key in {jobs[0].key for jobs in self.at_work.values()} - set(self.settled):
            try:
                self._write(key, {"status": "failed", "reason": reason, "step": None}, [])
            except (OSError, SQLAlchemyError):
                return
