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

from harness.errors import RunError
from harness.metrics.moments import Moments
from harness.planning.grid import Plan, Planned
from harness.running.chunk import MOSAIC, Done, Task
from harness.running.cover import Span, cover
from harness.running.plan_record import plan_record
from harness.running.provenance import revision, versions
from harness.running.reference import Baseline, baseline
from harness.running.results import Piece, gathered, measure
from harness.running.workers import Failed, Pool, devices_for
from harness.store import Chunk, Store, is_full, lapsed

RENEW_SECONDS = 15.0
POLL_SECONDS = 1.0
CPU_BATCH, GPU_BATCH = 128, 512


class Summary(NamedTuple):
    """What a run came to. `evaluations` are network rows computed in this run, padding included."""

    trials: int
    done: int
    failed: int
    chunks: int
    evaluations: int
    seconds: float


class Listener(Protocol):
    """Told of progress as it happens."""

    def started(self, trials: int, done: int, evaluations: int) -> None:
        """Trials in the plan, those complete already, and network rows still to compute."""

    def chunk(self, evaluations: int) -> None:
        """A chunk arrived that took this many network rows."""

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        """A trial is complete, or failed."""


class Silent:
    """A listener that says nothing."""

    def started(self, trials: int, done: int, evaluations: int) -> None: ...

    def chunk(self, evaluations: int) -> None: ...

    def trial(self, planned: Planned, row: dict[str, Any]) -> None: ...


class _Job(NamedTuple):
    """A chunk to compute; `images_only` where its moments are stored already and only its pictures are wanted."""

    fingerprint: str
    span: Span
    keep_images: bool
    images_only: bool = False


class Missing(NamedTuple):
    """What a plan still needs: jobs, and the trials that wait for none."""

    jobs: list[_Job]
    complete: list[str]
    failed: dict[str, dict[str, Any]]


def unique_trials(plan: Plan) -> dict[str, Planned]:
    """The plan's trials by fingerprint; the first of equal ones, its images kept if any of them asks for it."""
    found: dict[str, Planned] = {}
    for item in plan.items:
        key = item.trial.fingerprint
        found[key] = found.get(key, item)._replace(mosaic=item.mosaic or (key in found and found[key].mosaic))
    return found


def missing(plan: Plan, store: Store, extractor: str, retry_failed: bool = False) -> Missing:
    """Compare a plan with the store."""
    grid, trials = plan.grid, unique_trials(plan)
    first, last = grid.first_seed, grid.first_seed + grid.samples - 1
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in trials}
    for row in store.chunks(extractor, list(trials)):
        rows[row["fingerprint"]].append(row)
    pictured = store.images([key for key, item in trials.items() if item.mosaic], first)
    found = Missing([], [], {})
    for key, item in trials.items():
        inside = [row for row in rows[key] if row["first_seed"] >= first and row["last_seed"] <= last]
        bad = next((row for row in inside if row["status"] == "failed"), None)
        if bad and not retry_failed:
            found.failed[key] = bad
            continue
        done = {_span(row) for row in inside if row["status"] == "done" and store.files.has(row["key"])}
        taken = {_span(row) for row in inside if row["status"] == "claimed" and not lapsed(row)}
        spans = cover(first, last, done | taken, grid.chunk)
        wants = item.mosaic and key not in pictured
        jobs = [_Job(key, span, wants and span.first == first) for span in spans if span not in done]
        if wants and spans[0] in done:
            jobs.insert(0, _Job(key, spans[0], True, images_only=True))
        found.jobs.extend(jobs)
        if not jobs:
            found.complete.append(key)
    return found


def _span(row: dict[str, Any]) -> Span:
    return Span(row["first_seed"], row["last_seed"])


def call_shape(plan: Plan, devices: list[str], batch: int | None) -> int:
    """Rows per network call: as asked, else 128 on a CPU and 512 on a GPU, and no more than the trial's samples."""
    return batch or min(plan.grid.samples, CPU_BATCH if devices[0] == "cpu" else GPU_BATCH)


def run(
    plan: Plan,
    store: Store,
    device: str | None = None,
    batch: int | None = None,
    force: bool = False,
    retry_failed: bool = False,
    listener: Listener | None = None,
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

    Raises:
        InputError: no such device, or a stored file that was changed.
        RunError: the disk is full, or the store cannot be written.
    """
    runner = _Run(plan, store, device, batch, listener or Silent())
    try:
        return runner.run(force, retry_failed)
    except (OSError, SQLAlchemyError) as error:
        what = (
            "the disk is full" if is_full(error) else f"the store cannot be written ({type(error).__name__}: {error})"
        )
        reason = f"{what}; {runner.chunks} chunks of this run are stored and safe"
        runner.note_unfinished(reason)
        raise RunError(f"{reason}; mend that and run the same command to go on") from error
    finally:
        store.release()


class _Run:
    """The state of one run: jobs waiting, chunks at work, trials that still wait for chunks."""

    def __init__(self, plan: Plan, store: Store, device: str | None, batch: int | None, listener: Listener) -> None:
        self.plan, self.store, self.listener = plan, store, listener
        self.device, self.batch, self.shape = device, batch, 0
        self.trials = unique_trials(plan)
        self.grid = plan.grid
        self.first, self.last = plan.grid.first_seed, plan.grid.first_seed + plan.grid.samples - 1
        self.waiting: deque[_Job] = deque()
        self.elsewhere: list[_Job] = []
        self.at_work: dict[int, list[_Job]] = {}
        self.open: dict[str, int] = {}
        self.settled: dict[str, str] = {}
        self.chunks = self.evaluations = 0
        self.tickets = itertools.count()
        self.renewed = time.monotonic()
        self.base: Baseline

    def run(self, force: bool, retry_failed: bool) -> Summary:
        started = time.perf_counter()
        self.retry_failed = retry_failed
        self.base = baseline(self.grid.metric, self.grid.samples, self.store)
        if force:
            self.store.forget(self.base.extractor, list(self.trials))
        self.store.drop_lost(self.base.extractor, list(self.trials))
        self.store.put_grid(self.plan.name, plan_record(self.plan, self.base))
        work = missing(self.plan, self.store, self.base.extractor, retry_failed)
        self.waiting.extend(work.jobs)
        for job in work.jobs:
            self.open[job.fingerprint] = self.open.get(job.fingerprint, 0) + 1
        self.listener.started(len(self.trials), len(work.complete) + len(work.failed), self._rows(work.jobs))
        self._settle_stored(work)
        if self.waiting:
            self._compute()
        failed = sum(status == "failed" for status in self.settled.values())
        spent = time.perf_counter() - started
        return Summary(len(self.trials), len(self.settled) - failed, failed, self.chunks, self.evaluations, spent)

    def _rows(self, jobs: Iterable[_Job]) -> int:
        return sum(job.span.size * self.trials[job.fingerprint].nfe for job in jobs)

    def _settle_stored(self, work: Missing) -> None:
        """Trials that need no more chunks: measure those whose result row is not there yet."""
        have = {
            row["fingerprint"]: row["status"]
            for row in self.store.results(work.complete + list(work.failed))
            if (row["extractor"], row["reference"]) == (self.base.extractor, self.base.reference)
            and (row["first_seed"], row["n"]) == (self.first, self.grid.samples)
        }
        for key in work.complete:
            if have.get(key) == "done":
                self.settled[key] = "done"
            else:
                self._measure(key)
        for key, row in work.failed.items():
            if have.get(key) == "failed":
                self.settled[key] = "failed"
            else:
                self._write_failure(key, row["reason"], row["step"], row["info"] or {})

    def _compute(self) -> None:
        devices = devices_for(self.device)
        self.shape = call_shape(self.plan, devices, self.batch)
        wanted = min(len(devices), len(self.waiting))
        pool = Pool(devices[:wanted])
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
            trial = self.trials[jobs[0].fingerprint].trial.model_dump_json()
            spans = tuple(job.span for job in jobs)
            ticket = next(self.tickets)
            self.at_work[ticket] = jobs
            pool.submit(ticket, Task(trial, spans, self.grid.metric, self.shape, jobs[0].keep_images))

    def _next_task(self) -> list[_Job]:
        """The next chunks to compute together: of one trial, claimed, and as many as fill one network call."""
        jobs: list[_Job] = []
        while self.waiting:
            job = self.waiting[0]
            rows = sum(taken.span.size for taken in jobs) + job.span.size
            if jobs and (job.fingerprint != jobs[0].fingerprint or rows > self.shape or job.keep_images):
                break
            self.waiting.popleft()
            if self.settled.get(job.fingerprint) == "failed":
                continue
            if job.images_only:
                return [job]
            if self.store.claim(self._chunk(job), self.retry_failed):
                jobs.append(job)
            else:
                self.elsewhere.append(job)
        return jobs

    def _chunk(self, job: _Job) -> Chunk:
        return Chunk(job.fingerprint, job.span.first, job.span.last, self.base.extractor)

    def _receive(self, jobs: list[_Job], outcome: Done | Failed) -> None:
        if isinstance(outcome, Failed):
            self._give_up(jobs, outcome)
            return
        if outcome.png is not None:
            span = jobs[0].span
            self.store.put_image(
                jobs[0].fingerprint, span.first, min(sum(j.span.size for j in jobs), MOSAIC), outcome.png
            )
        for job, piece in zip(jobs, outcome.pieces, strict=True):
            if not job.images_only:
                self.store.finish(self._chunk(job), piece.moments.arrays(), piece.info)
            self.chunks += 1
            self.evaluations += piece.info["evaluations"]
            self.listener.chunk(self._rows([job]))
            self._one_less(job.fingerprint)

    def _give_up(self, jobs: list[_Job], outcome: Failed) -> None:
        info = {"batch": self.shape, "versions": versions()}
        for job in jobs:
            if not job.images_only:
                self.store.fail(self._chunk(job), outcome.reason, outcome.step, info)
        if self.settled.get(jobs[0].fingerprint) != "failed":
            self._write_failure(jobs[0].fingerprint, outcome.reason, outcome.step, info)

    def _one_less(self, key: str) -> None:
        self.open[key] -= 1
        if not self.open[key] and key not in self.settled:
            self._measure(key)

    def _look_elsewhere(self, idle: bool) -> None:
        """Chunks that another process had: done, failed, or given up and free again."""
        if idle:
            time.sleep(POLL_SECONDS)
        trials = list({job.fingerprint for job in self.elsewhere})
        rows = {row["key"]: row for row in self.store.chunks(self.base.extractor, trials)}
        still = []
        for job in self.elsewhere:
            row = rows.get(self._chunk(job).key)
            if row is None or (row["status"] == "claimed" and lapsed(row)):
                self.waiting.append(job)
            elif row["status"] == "done":
                if not self.store.files.has(row["key"]):
                    folder = self.store.files.folder
                    raise RunError(f"chunk {row['key']} is stored, but its file is not in {folder}; check --files")
                self.listener.chunk(self._rows([job]))
                self._one_less(job.fingerprint)
            elif row["status"] == "failed":
                if self.settled.get(job.fingerprint) != "failed":
                    self._write_failure(job.fingerprint, row["reason"], row["step"], row["info"] or {})
            else:
                still.append(job)
        self.elsewhere = still

    def _measure(self, key: str) -> None:
        """All chunks are there: merge, measure, and write the trial's row."""
        rows = self.store.chunks(self.base.extractor, [key])
        done = {_span(row): row for row in rows if row["status"] == "done"}
        spans = cover(self.first, self.last, done, self.grid.chunk)
        chosen = [done[span] for span in spans]
        pieces = [Piece(_span(row), Moments.from_arrays(self.store.moments(row)), row["info"]) for row in chosen]
        self._write(key, {"status": "done", **measure(pieces, self.base.frechet)}, [row["info"] for row in chosen])
        self.settled[key] = "done"

    def _write_failure(self, key: str, reason: str, step: int | None, info: dict[str, Any]) -> None:
        self.settled[key] = "failed"
        self._write(key, {"status": "failed", "reason": reason, "step": step}, [info])

    def _write(self, key: str, values: dict[str, Any], infos: list[dict[str, Any]]) -> None:
        planned = self.trials[key]
        provenance = gathered(infos) | {
            "denoiser": planned.trial.denoiser if isinstance(planned.trial.denoiser, str) else "analytic",
            "weights": planned.trial.weights,
            "labels": planned.trial.labels,
            "chunks": len(infos),
            "revision": revision(),
        }
        row = {
            "fingerprint": key,
            "extractor": self.base.extractor,
            "reference": self.base.reference,
            "first_seed": self.first,
            "n": self.grid.samples,
            "metric": self.grid.metric,
            "trial": planned.trial.model_dump(mode="json"),
            "provenance": provenance,
            **values,
        }
        self.store.put_result(row)
        self.listener.trial(planned, row)

    def note_unfinished(self, reason: str) -> None:
        """Say in the rows of the trials at work why they were not finished, if the store can still be written."""
        for key in {jobs[0].fingerprint for jobs in self.at_work.values()} - set(self.settled):
            try:
                self._write(key, {"status": "failed", "reason": reason, "step": None}, [])
            except (OSError, SQLAlchemyError):
                return
