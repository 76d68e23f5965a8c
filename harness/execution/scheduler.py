"""Chunks that are wanted, fed to an executor: claimed, submitted, collected and stored.

Several processes may work over one store. A chunk is claimed before it is computed, a thread renews the claims
meanwhile, and a chunk that another process has claimed is waited for. Runs and searches share this scheduler: a run
adds all the chunks that it lacks at once, a search adds the next seeds of a trial when it wants them.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

from harness.core.errors import RunError, WorkerStartError
from harness.core.files import is_full
from harness.core.plugins import PluginError
from harness.execution.devices import devices_for
from harness.execution.evaluations import task_evaluations
from harness.execution.executors import Executor, find_executor, is_alive
from harness.execution.limits import Effort, Limits
from harness.execution.provenance import versions
from harness.execution.seed_ranges import SeedRange, seeds_of
from harness.execution.worker import ChunkFailure, ChunkTask, Computed, failure_of, run_tasks
from harness.metrics.feature_metric import MOSAIC
from harness.store.arrays import StoreFileError
from harness.store.chunk import Chunk
from harness.store.database import Store
from harness.store.leases import Heartbeat, owner_in_words

POLL_SECONDS = 0.2
WAIT_SECONDS = 5.0
"""How long a scheduler waits for other processes before it says so."""


class Job(NamedTuple):
    """A chunk that is wanted.

    Args:
        chunk: which.
        keys: who wants it; each is told when the last of its chunks is there, or one cannot be computed. Chunks with
            the same first key share network calls.
        task: how it is computed, without its seeds.
        within: the seeds that all who want it look at: a larger chunk inside of them, which others merged, will do.
        call: the seeds that go through the network together. All their rows are computed, so that a seed has the same
            row whatever was stored before. None for as many chunks as fill a call.
        pictures: keys under which pictures are to be stored, by name.
        is_stored: its arrays are there, and only its pictures are wanted.
        effort: what a sample takes, by which limits are kept.
        group: number of a group of tasks that one worker does one after the other, so that each finds what the ones
            before it evaluated; they are added one after the other. 0 for none.
        together: rows of a call that tasks of the group share, side by side; 0 for one after the other.
    """

    chunk: Chunk
    keys: tuple[Any, ...]
    task: ChunkTask
    within: SeedRange
    call: SeedRange | None = None
    pictures: Mapping[str, str] = {}
    is_stored: bool = False
    effort: Effort = Effort()
    group: int = 0
    together: int = 0

    @property
    def seeds(self) -> SeedRange:
        """The seeds of the chunk."""
        return SeedRange(self.chunk.first, self.chunk.last)

    def joins(self, others: list["Job"]) -> bool:
        """Whether it may be computed together with others."""
        if self.keys[0] != others[0].keys[0] or self.call != others[0].call:
            return False
        rows = sum(job.seeds.size for job in others) + self.seeds.size
        return self.call is not None or (rows <= self.task.batch and not self.pictures)


def expected_evaluations(tasks: Sequence[Sequence[Job]]) -> list[int]:
    """About how many network rows each of the tasks takes that one worker does one after the other.

    The first finds nothing evaluated, also where those before it in its group were done by others.
    """
    return [math.ceil(_alone(jobs) * (jobs[0].effort.share if number else 1.0)) for number, jobs in enumerate(tasks)]


def _alone(jobs: Sequence[Job]) -> int:
    """About how many network rows jobs take that are computed together, by themselves."""
    first = jobs[0]
    seeds = sum(job.seeds.size for job in jobs) if first.call is None else first.call.size
    return task_evaluations(first.effort.each, seeds, 1 if first.together else first.task.batch)


class Completed(NamedTuple):
    """A key whose chunks are all there, or one of whose chunks cannot be computed.

    Args:
        key: who wanted them.
        failure: why not; None if they are there.
        info: with a failure, the call shape and the versions of the libraries.
    """

    key: Any
    failure: ChunkFailure | None = None
    info: Mapping[str, Any] = {}


class Scheduler:
    """Feeds an executor with the chunks that are wanted.

    Args:
        store: where chunks are and go.
        device: "cpu", "cuda", "cuda:N"; None for all GPUs if there are any, else the CPU's cores.
        executor: name of an executor, or a class of executors.
        retry_failed: whether chunks that failed are computed again.
        limits: of the command; what would pass one is not submitted. None for no limits.

    Attributes:
        chunks, evaluations: what was computed here.
        workers: devices that are put to work at most; None for all.
        on_chunk: called with each chunk that is there now, and whether it was computed here.
        on_note: called with what a person should know: who is waited for, pictures that could not be drawn.
    """

    def __init__(
        self,
        store: Store,
        device: str | None = None,
        executor: str | type[Executor] = "processes",
        retry_failed: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.store, self.device, self.retry_failed = store, device, retry_failed
        self.limits = limits or Limits()
        self.workers: int | None = None
        self.on_chunk: Callable[[Job, bool], None] = lambda job, is_ours: None
        self.on_note: Callable[[str], None] = lambda note: None
        self.name = executor if isinstance(executor, str) else executor.__name__
        self.make_executor = find_executor(executor) if isinstance(executor, str) else executor
        self.chunks = self.evaluations = 0
        self._executor: Executor | None = None
        self._waiting: deque[Job] = deque()
        self._claimed_by_others: list[Job] = []
        self._at_work: dict[Future[Any], list[list[Job]]] = {}
        self._open: dict[Any, int] = {}
        self._looked = self._worked = time.monotonic()
        self._is_refused = False
        self._heartbeat: Heartbeat | None = None
        store.is_alive = is_alive

    @property
    def slots(self) -> int:
        """Tasks that run at a time, as far as is known before the executor is made."""
        if self._executor is not None:
            return self._executor.slots
        return len(devices_for(self.device)[: self.make_executor.most])

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wanted and nothing is being computed."""
        return not self._open and not self._at_work

    @property
    def is_stopped(self) -> bool:
        """Whether the next chunks would pass a limit, and nothing is being computed that may change that."""
        return self._is_refused

    @property
    def left(self) -> list[Job]:
        """What is wanted still and neither computed nor under way here."""
        every = [*self._waiting, *self._claimed_by_others]
        return [job for job in every if self._is_wanted(job)]

    @property
    def keys_at_work(self) -> list[Any]:
        """Who wants what is being computed."""
        return list(dict.fromkeys(jobs[0].keys[0] for tasks in self._at_work.values() for jobs in tasks))

    def add(self, job: Job) -> None:
        """Want a chunk; `step` says what becomes of its keys."""
        self._waiting.append(job)
        for key in job.keys:
            self._open[key] = self._open.get(key, 0) + 1

    def step(self) -> Iterator[Completed]:
        """Submit what may be, wait a little, and say which keys are complete or failed meanwhile."""
        self._feed()
        if self._at_work:
            wait(self._at_work, POLL_SECONDS, FIRST_COMPLETED)
            for future in [future for future in self._at_work if future.done()]:
                yield from self._receive(self._at_work[future], future)
                del self._at_work[future]
            self._worked = time.monotonic()
        elif self._claimed_by_others and not self._is_refused:
            self._is_refused = not self.limits.allow(0, 0.0)
            time.sleep(POLL_SECONDS)
        if self._claimed_by_others and time.monotonic() - self._looked >= POLL_SECONDS:
            yield from self._look_at_others()
            self._looked = time.monotonic()

    def close(self) -> None:
        """End what runs, and give back the claims of what was not finished."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self.store.release()

    def _feed(self) -> None:
        """Submit as many tasks as there are free slots and the limits allow."""
        self._is_refused = False
        while self._waiting:
            if self._executor is not None and len(self._at_work) >= self._executor.slots:
                return
            together = self._together()
            if not together:
                return
            if not self._allows([together]):
                self._is_refused = not self._at_work  # what is under way may take less than was expected
                return
            if self._executor is None:
                self._executor = self.make_executor(devices_for(self.device)[: self.workers])
                self._heartbeat = Heartbeat(self.store.renew)
            tasks = self._next_group()
            if not tasks:
                continue
            self.limits.begin(sum(expected_evaluations(tasks)))
            first = tasks[0][0]
            future = self._executor.submit(run_tasks, tuple(map(_task, tasks)), first.group > 0, first.together)
            self._at_work[future] = tasks
            handle = self._executor.handle(future)
            if handle is not None:
                chunks = [job.chunk for jobs in tasks for job in jobs if not job.is_stored]
                self.store.hand_over(chunks, self.name, handle)

    def _next_group(self) -> list[list[Job]]:
        """The next chunks to compute together, claimed, and those of their group that the limits allow besides."""
        group, tasks = self._waiting[0].group, list[list[Job]]()
        while True:
            if jobs := self._next():
                tasks.append(jobs)
            together = self._together() if group else []
            if not together or together[0].group != group or not self._allows([*tasks, together]):
                return tasks

    def _allows(self, tasks: list[list[Job]]) -> bool:
        """Whether the limits allow tasks that one worker does one after the other."""
        expected = expected_evaluations(tasks)
        return self.limits.allow(sum(expected), sum(map(self._seconds, tasks, expected)))

    def _together(self) -> list[Job]:
        """The next chunks that would be computed together, as they wait; empty if there are none."""
        while self._waiting and not self._is_wanted(self._waiting[0]):
            self._waiting.popleft()
        jobs: list[Job] = []
        for job in self._waiting:
            if jobs and not job.joins(jobs):
                break
            jobs.append(job)
        return jobs

    def _is_wanted(self, job: Job) -> bool:
        """Whether anybody waits for a chunk still; not, if all who wanted it have failed meanwhile."""
        return any(key in self._open for key in job.keys)

    def _next(self) -> list[Job]:
        """The next chunks to compute together, claimed; empty if another process has the first of them."""
        jobs: list[Job] = []
        while self._waiting and (not jobs or self._waiting[0].joins(jobs)):
            job = self._waiting.popleft()
            if not self._is_wanted(job):
                continue
            if job.is_stored:
                return [job]
            if self.store.claim(job.chunk, self.retry_failed, job.within):
                jobs.append(job)
            else:
                self._claimed_by_others.append(job)
                if not jobs:  # the next ones may take more evaluations, which the limits have not allowed
                    return []
        return jobs

    def _seconds(self, jobs: list[Job], evaluations: int) -> float:
        """About how long it takes until jobs are done that would be submitted now."""
        start = self.make_executor.start_seconds if self._executor is None else 0.0
        seconds = self.limits.seconds_of(jobs[0].effort, evaluations)
        return seconds + start if seconds else 0.0

    def _receive(self, tasks: list[list[Job]], future: Future[Any]) -> Iterator[Completed]:
        error = future.exception()
        if isinstance(error, PluginError | WorkerStartError):  # every other task would end so
            raise error
        outcomes = future.result() if error is None else [failure_of(error)] * len(tasks)
        for jobs, expected, outcome in zip(tasks, expected_evaluations(tasks), outcomes, strict=True):
            yield from self._done(jobs, expected, outcome)

    def _done(self, jobs: list[Job], expected: int, outcome: Computed | ChunkFailure) -> Iterator[Completed]:
        effort = jobs[0].effort
        if isinstance(outcome, ChunkFailure):
            self.limits.end(expected, None, effort)
            for job in jobs:
                yield from self._failed(job, outcome)
            return
        infos = [data.info for data in outcome.chunks]
        took, seconds = sum(info["evaluations"] for info in infos), sum(info["seconds"] for info in infos)
        self.limits.end(expected, took, effort, seconds)
        count = min(sum(job.seeds.size for job in jobs), MOSAIC)
        for name, png in outcome.pngs.items():
            self.store.put_image(jobs[0].pictures[name], jobs[0].chunk.first, count, png)
        computed = {data.seeds: data for data in outcome.chunks}
        for job in jobs:
            data = computed[job.seeds]
            if not job.is_stored:
                self.store.finish(job.chunk, data.arrays, data.info)
            self.chunks += 1
            self.evaluations += data.info["evaluations"]
            yield from self._arrived(job, is_ours=True)

    def _failed(self, job: Job, failure: ChunkFailure) -> Iterator[Completed]:
        """A chunk could not be computed: it stays failed if the trial is at fault, and is free again otherwise."""
        info = {"batch": job.task.batch, "versions": versions()}
        if job.is_stored:  # the numbers are there
            self.on_note(f"pictures could not be drawn: {failure.reason}; the same command tries them again")
            yield from self._arrived(job, is_ours=False)
        elif failure.is_transient:
            self.store.give_back(job.chunk)
            yield from self._give_up(job, failure, info)
        elif self.store.fail(job.chunk, failure.reason, failure.step, info):
            yield from self._give_up(job, failure, info)
        else:  # the claim lapsed, and another process has it
            self._claimed_by_others.append(job)

    def _arrived(self, job: Job, is_ours: bool) -> Iterator[Completed]:
        self.on_chunk(job, is_ours)
        for key in job.keys:
            if key in self._open:
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]
                    yield Completed(key)

    def _give_up(self, job: Job, failure: ChunkFailure, info: Mapping[str, Any]) -> Iterator[Completed]:
        for key in job.keys:
            if self._open.pop(key, None) is not None:
                yield Completed(key, failure, info)

    def _look_at_others(self) -> Iterator[Completed]:
        """What became of chunks that other processes had claimed: done, failed, or given up and free again."""
        jobs, self._claimed_by_others = self._claimed_by_others, []
        owners: set[str] = set()
        trials: dict[str, set[str]] = {}
        for job in jobs:
            trials.setdefault(job.chunk.extractor, set()).add(job.chunk.fingerprint)
        rows = [row for name, keys in trials.items() for row in self.store.chunks(name, sorted(keys))]
        by_key = {row["key"]: row for row in rows}
        for job in jobs:
            row = by_key.get(job.chunk.key) or _merged(job, rows)
            if row is None or (row["status"] == "claimed" and self.store.lapsed(row)):
                self._waiting.append(job)
            elif row["status"] == "done":
                if not self.store.files.has(row["key"]):
                    folder = self.store.files.folder
                    raise RunError(f"chunk {row['key']} is stored, but its file is not in {folder}; check --files")
                yield from self._arrived(job, is_ours=False)
            elif row["status"] == "failed":
                yield from self._give_up(job, ChunkFailure(row["reason"], row["step"]), row["info"] or {})
            else:
                self._claimed_by_others.append(job)
                owners.add(owner_in_words(row["owner"]))
        if owners and not self._at_work and time.monotonic() - self._worked > WAIT_SECONDS:
            who, count = ", ".join(sorted(owners)), len(self._claimed_by_others)
            self.on_note(f"waiting for {count} chunks of {who}; a claim that is not renewed for a minute is taken over")
            self._worked = math.inf


def stop_reason(error: Exception) -> str:
    """Why a run cannot go on: the disk is full, or what the database or the file system says."""
    if is_full(error):
        return "the disk is full"
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.filename:
        told = f"{error.filename}: {error.strerror}"
    is_elsewhere = isinstance(error, OSError) and not isinstance(error, StoreFileError)
    return told if is_elsewhere else f"the store cannot be written ({told})"


def _merged(job: Job, rows: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """A finished chunk that holds a job's seeds and more, all wanted: what it became when others merged it."""
    for row in rows:
        is_same = (row["extractor"], row["fingerprint"]) == (job.chunk.extractor, job.chunk.fingerprint)
        seeds = seeds_of(row)
        if is_same and row["status"] == "done" and seeds.holds(job.seeds) and job.within.holds(seeds):
            return row
    return None


def _task(jobs: list[Job]) -> ChunkTask:
    """What a worker is given to compute chunks together."""
    seeds = [job.seeds for job in jobs]
    seeds = seeds if jobs[0].call is None else list(fill(jobs[0].call, seeds))
    return jobs[0].task._replace(seeds=tuple(seeds), keep_images=bool(jobs[0].pictures))


def fill(call: SeedRange, parts: Iterable[SeedRange]) -> Iterator[SeedRange]:
    """All seeds of a network call, cut so that the given ranges are among the parts."""
    at = call.first
    for part in sorted(parts):
        if at < part.first:
            yield SeedRange(at, part.first - 1)
        yield part
        at = part.last + 1
    if at <= call.last:
        yield SeedRange(at, call.last)
