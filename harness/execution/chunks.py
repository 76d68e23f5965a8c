"""Which chunks a run has to compute: what its aims need, less what the store has, and each chunk once.

Aims that use the same features of the same seeds share chunks. The richest goes first: what it keeps of images serves
the others.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from harness.execution.measurements import Aim
from harness.execution.results import MOSAIC
from harness.execution.seed_ranges import Span, cover
from harness.metrics.diagnostics import Measure
from harness.store.database import Store, lapsed

Key = tuple[int, str]
"""What is measured: number of the aim, and trial."""


class Job(NamedTuple):
    """A chunk to compute; `images_only` where its arrays are stored already and only its pictures are wanted."""

    aim: int
    fingerprint: str
    span: Span
    keep_images: bool
    images_only: bool = False

    @property
    def key(self) -> Key:
        """What is measured: number of the aim, and trial."""
        return self.aim, self.fingerprint

    @property
    def chunk(self) -> tuple[int, str, Span]:
        """Which chunk of whom, whatever pictures are wanted."""
        return self.aim, self.fingerprint, self.span


class Missing(NamedTuple):
    """What an aim still needs.

    Args:
        jobs: chunks to compute for it.
        shared: chunks that other aims' jobs compute, with the trial that waits for them.
        complete: trials that wait for none.
        failed: trials with a failed chunk, and its row.
        spans: of every trial, all its chunks in order.
    """

    jobs: list[Job]
    shared: list[tuple[Job, str]]
    complete: list[str]
    failed: dict[str, dict[str, Any]]
    spans: dict[str, list[Span]]


class Work(NamedTuple):
    """What a run still needs.

    Args:
        jobs: chunks to compute, each once, in the order of the aims.
        waiting: who waits for a chunk besides the aim that computes it.
        by_aim: in the order of the aims.
    """

    jobs: list[Job]
    waiting: dict[tuple[int, str, Span], list[Key]]
    by_aim: list[Missing]


def work(every: list[Aim], store: Store | None, retry_failed: bool = False) -> Work:
    """Compare all aims with the store; None for an empty one."""
    order = sorted(range(len(every)), key=lambda index: len(every[index].sources))
    planned: dict[tuple[str, str], dict[Span, Job]] = {}
    found: dict[int, Missing] = {}
    waiting: dict[tuple[int, str, Span], list[Key]] = {}
    drawn: set[tuple[str, int]] = set()
    for index in order:
        aim = every[index]
        found[index] = missing(aim, store, retry_failed, index, planned, drawn)
        for job in found[index].jobs:
            if not job.images_only:
                planned.setdefault((aim.source, job.fingerprint), {})[job.span] = job
            if job.keep_images:
                drawn |= {(name, aim.first) for name in aim.pictures(job.fingerprint).values()}
        for job, fingerprint in found[index].shared:
            waiting.setdefault(job.chunk, []).append((index, fingerprint))
    by_aim = [found[index] for index in range(len(every))]
    pictured = {job.chunk for part in by_aim for job, _ in part.shared if job.keep_images}
    jobs = [
        job._replace(keep_images=job.keep_images or (job.chunk in pictured and not job.images_only))
        for part in by_aim
        for job in part.jobs
    ]
    return Work(jobs, waiting, by_aim)


def missing(
    aim: Aim,
    store: Store | None,
    retry_failed: bool = False,
    number: int = 0,
    planned: Mapping[tuple[str, str], Mapping[Span, Job]] | None = None,
    drawn: AbstractSet[tuple[str, int]] = frozenset(),
) -> Missing:
    """Compare an aim, cut into chunks, with the store.

    Args:
        aim: what is wanted.
        store: what is there; None for nothing.
        retry_failed: whether failed chunks are wanted again.
        number: of the aim in the run.
        planned: jobs of other aims by source and trial, whose chunks will do.
        drawn: pictures that those jobs give, each with the first seed.
    """
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in aim.trials}
    for row in store.chunks(aim.sources, list(aim.trials)) if store else []:
        rows[row["fingerprint"]].append(row)
    pictures = {key: list(aim.pictures(key).values()) for key in aim.trials}
    wanted = [name for names in pictures.values() for name in names]
    pictured = store.images(wanted, aim.first) if store else {}
    found = Missing([], [], [], {}, {})
    for key in aim.trials:
        inside = [row for row in rows[key] if row["first_seed"] >= aim.first and row["last_seed"] <= aim.last]
        done = {span_of(row) for row in inside if row["status"] == "done" and store and store.files.has(row["key"])}
        spans = cover(aim.first, aim.last, done, aim.chunk)
        others: dict[Span, Job] = {}
        if not done.issuperset(spans):
            # A failure counts while its seeds are wanted: they may have been computed since, in other chunks.
            bad = next((row for row in inside if row["status"] == "failed"), None)
            if bad and not retry_failed:
                found.failed[key] = bad
                continue
            taken = {span_of(row) for row in inside if row["status"] == "claimed" and not lapsed(row)}
            others = _planned(planned or {}, aim.sources, key)
            spans = cover(aim.first, aim.last, done | taken | set(others), aim.chunk)
        found.spans[key] = spans
        wants = any(name not in pictured and (name, aim.first) not in drawn for name in pictures[key])
        waits = False
        for span in spans:
            keep = wants and span.first == aim.first
            if span in done:
                if keep:
                    found.jobs.insert(0, Job(number, key, _drawn_from(aim, span), True, images_only=True))
                    waits = True
                continue
            waits = True
            if span in others:
                found.shared.append((others[span]._replace(keep_images=keep), key))
            else:
                found.jobs.append(Job(number, key, span, keep))
        if not waits:
            found.complete.append(key)
    return found


def _planned(
    planned: Mapping[tuple[str, str], Mapping[Span, Job]], sources: Iterable[str], fingerprint: str
) -> dict[Span, Job]:
    found: dict[Span, Job] = {}
    for source in sources:
        found |= planned.get((source, fingerprint), {})
    return found


def _drawn_from(aim: Aim, span: Span) -> Span:
    """The seeds of a chunk that its pictures are of: a merged one has many more than a mosaic shows."""
    return span if isinstance(aim.metric, Measure) else Span(span.first, min(span.last, span.first + MOSAIC - 1))


def span_of(row: Mapping[str, Any]) -> Span:
    """The seeds of a chunk's row."""
    return Span(row["first_seed"], row["last_seed"])
