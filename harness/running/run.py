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
from harness.planning.plan import Plan, Planned
from harness.running.aims import Aim, aims, with_reference
from harness.running.chunk import MOSAIC, Done, Task
from harness.running.cover import Span, cover
from harness.running.plan_record import plan_record
from harness.running.provenance import revision, versions
from harness.running.results import Piece, distance, gathered, measured
from harness.running.settle import settled
from harness.running.workers import Failed, Pool, devices_for
from harness.store import Chunk, Store, is_full, lapsed

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


class _Job(NamedTuple):
    """A chunk to compute; `images_only` where its arrays are stored already and only its pictures are wanted."""

    aim: int
    fingerprint: str
    span: Span
    keep_images: bool
    images_only: bool = False

    @property
    def key(self) -> tuple[int, str]:
        """What is measured: number of the aim, and trial."""
        return self.aim, self.fingerprint


class Missing(NamedTuple):
    """What an aim still needs: jobs, and the trials that wait for none."""

    jobs: list[_Job]
    complete: list[str]
    failed: dict[str, dict[str, Any]]


def missing(aim: Aim, chunk: int, store: Store, retry_failed: bool = False, number: int = 0) -> Missing:
    """Compare an aim, cut into chunks of so many seeds, with the store."""
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in aim.trials}
    for row in store.chunks(aim.extractor, list(aim.trials)):
        rows[row["fingerprint"]].append(row)
    pictures = {key: list(aim.pictures(key).values()) for key in aim.trials}
    pictured = store.images([name for names in pictures.values() for name in names], aim.first)
    found = Missing([], [], {})
    for key in aim.trials:
        inside = [row for row in rows[key] if row["first_seed"] >= aim.first and row["last_seed"] <= aim.last]
        bad = next((row for row in inside if row["status"] == "failed"), None)
        if bad and not retry_failed:
            found.failed[key] = bad
            continue
        done = {_span(row) for row in inside if row["status"] == "done" and store.files.has(row["key"])}
        taken = {_span(row) for row in inside if row["status"] == "claimed" and not lapsed(row)}
        spans = cover(aim.first, aim.last, done | taken, chunk)
        wants = any(name not in pictured for name in pictures[key])
        jobs = [_Job(number, key, span, wants and span.first == aim.first) for span in spans if span not in done]
        if wants and spans[0] in done:
            jobs.insert(0, _Job(number, key, spans[0], True, images_only=True))
        found.jobs.extend(jobs)
        if not jobs:
            found.complete.append(key)
    return found


def _span(row: dict[str, Any]) -> Span:
    return Span(row["first_seed"], row["last_seed"])


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
        self.device, self.batch, self.devices = device, batch, [""]
        self.aims: list[Aim] = []
        self.waiting: deque[_Job] = deque()
        self.elsewhere: list[_Job] = []
        self.at_work: dict[int, list[_Job]] = {}
        self.open: dict[tuple[int, str], int] = {}
        self.settled: dict[tuple[int, str], str] = {}
        self.chunks = self.evaluations = 0
        self.tickets = itertools.count()
        self.renewed = time.monotonic()

    def run(self, force: bool, retry_failed: bool) -> Summary:
        started = time.perf_counter()
        self.retry_failed = retry_failed
        self.plan = settled(self.plan, self.store, self.device)
        self.aims = [with_reference(aim, self.store) for aim in aims(self.plan)]
        for aim in self.aims:
            if force:
                pictures = [name for key in aim.trials for name in aim.pictures(key).values()]
                self.store.forget(aim.extractor, list(aim.trials), pictures)
            self.store.drop_lost(aim.extractor, list(aim.trials))
        self.store.put_grid(self.plan.name, plan_record(self.plan, self.aims))
        chunk = self.plan.grid.chunk
        work = [missing(aim, chunk, self.store, retry_failed, index) for index, aim in enumerate(self.aims)]
        self.waiting.extend(job for found in work for job in found.jobs)
        for job in self.waiting:
            self.open[job.key] = self.open.get(job.key, 0) + 1
        total = sum(len(aim.trials) for aim in self.aims)
        ready = sum(len(found.complete) + len(found.failed) for found in work)
        self.listener.started(total, ready, self._rows(self.waiting))
        for index, found in enumerate(work):
            self._settle_stored(index, found)
        if self.waiting:
            self._compute()
        failed = sum(status == "failed" for status in self.settled.values())
        spent = time.perf_counter() - started
        return Summary(total, len(self.settled) - failed, failed, self.chunks, self.evaluations, spent)

    def _rows(self, jobs: Iterable[_Job]) -> int:
        return sum(job.span.size * self.aims[job.aim].evaluations(job.fingerprint) for job in jobs)

    def _settle_stored(self, index: int, work: Missing) -> None:
        """Trials that need no more chunks: measure those whose result row is not there yet."""
        aim = self.aims[index]
        have = {
            row["fingerprint"]: row["status"]
            for row in self.store.results(work.complete + list(work.failed))
            if (row["extractor"], row["reference"]) == (aim.extractor, aim.reference)
            and (row["first_seed"], row["n"]) == (aim.first, aim.samples)
        }
        for key in work.complete:
            if have.get(key) == "done":
                self.settled[index, key] = "done"
            else:
                self._measure((index, key))
        for key, row in work.failed.items():
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
            aim = self.aims[jobs[0].aim]
            trial = aim.trials[jobs[0].fingerprint].trial.model_dump_json()
            spans = tuple(job.span for job in jobs)
            ticket = next(self.tickets)
            self.at_work[ticket] = jobs
            metric = aim.metric.model_dump_json()
            pool.submit(ticket, Task(trial, spans, metric, self._shape(jobs[0]), jobs[0].keep_images))

    def _shape(self, job: _Job) -> int:
        return call_shape(self.aims[job.aim].samples, self.devices, self.batch)

    def _next_task(self) -> list[_Job]:
        """The next chunks to compute together: of one trial, claimed, and as many as fill one network call."""
        jobs: list[_Job] = []
        while self.waiting:
            job = self.waiting[0]
            rows = sum(taken.span.size for taken in jobs) + job.span.size
            if jobs and (job.key != jobs[0].key or rows > self._shape(job) or job.keep_images):
                break
            self.waiting.popleft()
            if self.settled.get(job.key) == "failed":
                continue
            if job.images_only:
                return [job]
            if self.store.claim(self._chunk(job), self.retry_failed):
                jobs.append(job)
            else:
                self.elsewhere.append(job)
        return jobs

    def _chunk(self, job: _Job) -> Chunk:
        return Chunk(job.fingerprint, job.span.first, job.span.last, self.aims[job.aim].extractor)

    def _receive(self, jobs: list[_Job], outcome: Done | Failed) -> None:
        if isinstance(outcome, Failed):
            self._give_up(jobs, outcome)
            return
        keys = self.aims[jobs[0].aim].pictures(jobs[0].fingerprint)
        count = min(sum(job.span.size for job in jobs), MOSAIC)
        for name, png in outcome.pngs.items():
            self.store.put_image(keys[name], jobs[0].span.first, count, png)
        for job, piece in zip(jobs, outcome.pieces, strict=True):
            if not job.images_only:
                self.store.finish(self._chunk(job), piece.arrays, piece.info)
            self.chunks += 1
            self.evaluations += piece.info["evaluations"]
            self.listener.chunk(self._rows([job]))
            self._one_less(job.key)

    def _give_up(self, jobs: list[_Job], outcome: Failed) -> None:
        info = {"batch": self._shape(jobs[0]), "versions": versions()}
        for job in jobs:
            if not job.images_only:
                self.store.fail(self._chunk(job), outcome.reason, outcome.step, info)
        if self.settled.get(jobs[0].key) != "failed":
            self._write_failure(jobs[0].key, outcome.reason, outcome.step, info)

    def _one_less(self, key: tuple[int, str]) -> None:
        self.open[key] -= 1
        if not self.open[key] and key not in self.settled:
            self._measure(key)

    def _look_elsewhere(self, idle: bool) -> None:
        """Chunks that another process had: done, failed, or given up and free again."""
        if idle:
            time.sleep(POLL_SECONDS)
        trials: dict[str, list[str]] = {}
        for job in self.elsewhere:
            trials.setdefault(self.aims[job.aim].extractor, []).append(job.fingerprint)
        found = [row for name, keys in trials.items() for row in self.store.chunks(name, list(set(keys)))]
        rows = {row["key"]: row for row in found}
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
                self._one_less(job.key)
            elif row["status"] == "failed":
                if self.settled.get(job.key) != "failed":
                    self._write_failure(job.key, row["reason"], row["step"], row["info"] or {})
            else:
                still.append(job)
        self.elsewhere = still

    def _measure(self, key: tuple[int, str]) -> None:
        """All chunks are there: put them together, measure, and write the trial's row."""
        aim, fingerprint = self.aims[key[0]], key[1]
        rows = self.store.chunks(aim.extractor, [fingerprint])
        done = {_span(row): row for row in rows if row["status"] == "done"}
        chosen = [done[span] for span in cover(aim.first, aim.last, done, self.plan.grid.chunk)]
        pieces = [Piece(_span(row), self.store.moments(row), row["info"]) for row in chosen]
        values = measured(pieces) if aim.frechet is None else distance(pieces, aim.frechet)
        self._write(key, {"status": "done", **values}, [row["info"] for row in chosen])
        self.settled[key] = "done"

    def _write_failure(self, key: tuple[int, str], reason: str, step: int | None, info: dict[str, Any]) -> None:
        self.settled[key] = "failed"
        self._write(key, {"status": "failed", "reason": reason, "step": step}, [info])

    def _write(self, key: tuple[int, str], values: dict[str, Any], infos: list[dict[str, Any]]) -> None:
        aim, fingerprint = self.aims[key[0]], key[1]
        planned = aim.trials[fingerprint]
        provenance = gathered(infos) | {
            "denoiser": planned.trial.denoiser
            if isinstance(planned.trial.denoiser, str)
            else planned.trial.denoiser.kind,
            "weights": planned.trial.weights,
            "labels": planned.trial.labels,
            "chunks": len(infos),
            "revision": revision(),
        }
        row = {
            "fingerprint": fingerprint,
            "extractor": aim.extractor,
            "reference": aim.reference,
            "first_seed": aim.first,
            "n": aim.samples,
            "metric": aim.metric.name,
            "trial": planned.trial.model_dump(mode="json"),
            "provenance": provenance,
            **values,
        }
        self.store.put_result(row)
        self.listener.trial(planned, row)

    def note_unfinished(self, reason: str) -> None:
        """Say in the rows of the trials at work why they were not finished, if the store can still be written."""
        for key in {jobs[0].key for jobs in self.at_work.values()} - set(self.settled):
            try:
                self._write(key, {"status": "failed", "reason": reason, "step": None}, [])
            except (OSError, SQLAlchemyError):
                return
