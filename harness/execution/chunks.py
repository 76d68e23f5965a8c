"""The chunks of a plan: which are to be computed (each once), and those of a trial as the store has them.

Measurements that use the same features of the same seeds share chunks. The richest goes first: what it keeps of images
serves the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.execution.measurements import Measurement
from harness.execution.results import ChunkData
from harness.execution.seed_ranges import SeedRange, partition_seeds, seeds_of
from harness.store.database import Store

TRIES = 5
"""Looks at the chunks of a trial, while another process merges them."""

Key = tuple[int, str]
"""What is measured: number of the measurement, and trial."""


class PlannedChunk(NamedTuple):
    """A chunk to compute; `images_only` where its arrays are stored already and only its pictures are wanted."""

    measurement: int
    fingerprint: str
    seeds: SeedRange
    keep_images: bool
    images_only: bool = False

    @property
    def key(self) -> Key:
        """What is measured: number of the measurement, and trial."""
        return self.measurement, self.fingerprint

    @property
    def chunk(self) -> tuple[int, str, SeedRange]:
        """Which chunk of whom, whatever pictures are wanted."""
        return self.measurement, self.fingerprint, self.seeds


class Missing(NamedTuple):
    """What a measurement still needs.

    Args:
        chunks: to compute for it.
        shared: chunks that other measurements' jobs compute, with the trial that waits for them.
        complete: trials that wait for none.
        failed: trials with a failed chunk, and its row.
        seed_ranges: of every trial, all its chunks in order.
    """

    chunks: list[PlannedChunk]
    shared: list[tuple[PlannedChunk, str]]
    complete: list[str]
    failed: dict[str, dict[str, Any]]
    seed_ranges: dict[str, list[SeedRange]]


class ChunkPlan(NamedTuple):
    """What a run still needs.

    Args:
        chunks: to compute, each once, in the order of the measurements.
        waiting: who waits for a chunk besides the measurement that computes it.
        by_measurement: in the order of the measurements.
    """

    chunks: list[PlannedChunk]
    waiting: dict[tuple[int, str, SeedRange], list[Key]]
    by_measurement: list[Missing]


def plan_chunks(every: list[Measurement], store: Store | None, retry_failed: bool = False) -> ChunkPlan:
    """Compare all measurements with the store; None for an empty one."""
    order = sorted(range(len(every)), key=lambda index: len(every[index].sources))
    planned: dict[tuple[str, str], dict[SeedRange, PlannedChunk]] = {}
    missing_of: dict[int, Missing] = {}
    waiting: dict[tuple[int, str, SeedRange], list[Key]] = {}
    drawn: set[tuple[str, int]] = set()
    for index in order:
        measurement = every[index]
        missing_of[index] = missing(measurement, store, retry_failed, index, planned, drawn)
        for job in missing_of[index].chunks:
            if not job.images_only and len(every) > 1:  # nobody else looks
                planned.setdefault((measurement.source, job.fingerprint), {})[job.seeds] = job
            if job.keep_images:
                drawn |= {(name, measurement.first) for name in measurement.pictures(job.fingerprint).values()}
        for job, fingerprint in missing_of[index].shared:
            waiting.setdefault(job.chunk, []).append((index, fingerprint))
    by_measurement = [missing_of[index] for index in range(len(every))]
    pictured = {job.chunk for part in by_measurement for job, _ in part.shared if job.keep_images}
    jobs = [
        job._replace(keep_images=True) if not (job.keep_images or job.images_only) and job.chunk in pictured else job
        for part in by_measurement
        for job in part.chunks
    ]
    return ChunkPlan(jobs, waiting, by_measurement)


def missing(
    measurement: Measurement,
    store: Store | None,
    retry_failed: bool = False,
    number: int = 0,
    planned: Mapping[tuple[str, str], Mapping[SeedRange, PlannedChunk]] | None = None,
    drawn: AbstractSet[tuple[str, int]] = frozenset(),
) -> Missing:
    """Compare a measurement, cut into chunks, with the store.

    Args:
        measurement: what is wanted.
        store: what is there; None for nothing.
        retry_failed: whether failed chunks are wanted again.
        number: of the measurement in the run.
        planned: jobs of other measurements by source and trial, whose chunks will do.
        drawn: pictures that those jobs give, each with the first seed.
    """
    rows: dict[str, list[dict[str, Any]]] = {key: [] for key in measurement.trials}
    for row in store.chunks(measurement.sources, list(measurement.trials)) if store else []:
        rows[row["fingerprint"]].append(row)
    pictures = {key: list(measurement.pictures(key).values()) for key in measurement.trials}
    wanted = [name for names in pictures.values() for name in names]
    pictured = store.images(wanted, measurement.first) if store else {}
    lacking = Missing([], [], [], {}, {})
    whole = partition_seeds(measurement.first, measurement.last, (), measurement.chunk)
    for key in measurement.trials:
        inside = [
            row for row in rows[key] if row["first_seed"] >= measurement.first and row["last_seed"] <= measurement.last
        ]
        done = {seeds_of(row) for row in inside if row["status"] == "done" and store and store.files.has(row["key"])}
        seed_ranges = whole
        if done:
            seed_ranges = partition_seeds(measurement.first, measurement.last, done, measurement.chunk)
        others: dict[SeedRange, PlannedChunk] = {}
        if not done.issuperset(seed_ranges):
            # A failure counts while its seeds are wanted: they may have been computed since, in other chunks.
            bad = next((row for row in inside if row["status"] == "failed"), None)
            if bad and not retry_failed:
                lacking.failed[key] = bad
                continue
            taken = {
                seeds_of(row) for row in inside if row["status"] == "claimed" and not (store and store.lapsed(row))
            }
            others = _planned(planned or {}, measurement.sources, key)
            if taken or others:
                there = done | taken | set(others)
                seed_ranges = partition_seeds(measurement.first, measurement.last, there, measurement.chunk)
        lacking.seed_ranges[key] = seed_ranges
        wants = any(name not in pictured and (name, measurement.first) not in drawn for name in pictures[key])
        waits = False
        for seed_range in seed_ranges:
            keep = wants and seed_range.first == measurement.first
            if seed_range in done:
                if keep:
                    lacking.chunks.insert(
                        0, PlannedChunk(number, key, _drawn_from(measurement, seed_range), True, images_only=True)
                    )
                    waits = True
                continue
            waits = True
            if seed_range in others:
                lacking.shared.append((others[seed_range]._replace(keep_images=keep), key))
            else:
                lacking.chunks.append(PlannedChunk(number, key, seed_range, keep))
        if not waits:
            lacking.complete.append(key)
    return lacking


def _planned(
    planned: Mapping[tuple[str, str], Mapping[SeedRange, PlannedChunk]], sources: Iterable[str], fingerprint: str
) -> dict[SeedRange, PlannedChunk]:
    chunks: dict[SeedRange, PlannedChunk] = {}
    for source in sources:
        chunks |= planned.get((source, fingerprint), {})
    return chunks


def _drawn_from(measurement: Measurement, seed_range: SeedRange) -> SeedRange:
    """The seeds of a chunk that its pictures are of: a merged one has many more than a mosaic shows."""
    most = measurement.metric.picture_seeds
    return (
        seed_range if most is None else SeedRange(seed_range.first, min(seed_range.last, seed_range.first + most - 1))
    )


def load_chunks(
    store: Store, sources: Sequence[str], fingerprint: str, seeds: SeedRange, tries: int = TRIES
) -> list[ChunkData]:
    """The finished chunks that make up a trial's seeds, in order.

    Args:
        store: where they are.
        sources: names under which chunks will do.
        fingerprint: of the trial.
        seeds: from the first to the last.
        tries: how often to look; another process may merge chunks between the look-up of a row and that of its file.

    Raises:
        InputError: some are not there, or a file is missing or was changed.
    """
    for last in reversed(range(tries)):
        rows = [row for row in store.chunks(sources, [fingerprint]) if row["status"] == "done"]
        done = {seeds_of(row): row for row in rows}
        seed_ranges = partition_seeds(*seeds, done, seeds.size)
        lost = [seed_range for seed_range in seed_ranges if seed_range not in done]
        if lost:
            raise InputError(
                f"what was kept of seeds {lost[0].first} to {lost[-1].last} of trial {fingerprint[:12]} is not in the "
                "store any more; run its grid again"
            )
        chosen = [done[seed_range] for seed_range in seed_ranges]
        try:
            return [ChunkData(seeds_of(row), store.moments(row), row["info"]) for row in chosen]
        except InputError:
            if not last or all(store.files.has(row["key"]) for row in chosen):
                raise
    raise AssertionError("a last try returns or raises")


def load_blocks(
    store: Store, sources: Sequence[str], fingerprint: str, seeds: SeedRange, starts: Sequence[int]
) -> list[ChunkData]:
    """The finished chunks that make up a trial's seeds, none of them across two blocks where the store has such.

    Runs and searches may have left the same seeds in several cuts. The blocks of a result are compared with those that
    it was measured by, so the cut that they were made of is the one to read.

    Args:
        store: where they are.
        sources: names under which chunks will do.
        fingerprint: of the trial.
        seeds: from the first to the last.
        starts: the first seed of each block.

    Raises:
        InputError: some are not there, or a file is missing or was changed.
    """
    ends = [start - 1 for start in starts[1:]] + [seeds.last]
    blocks = [SeedRange(*block) for block in zip(starts, ends, strict=True)]
    try:
        return [chunk for block in blocks for chunk in load_chunks(store, sources, fingerprint, block)]
    except InputError:  # a chunk across blocks that is all there is of its seeds, or what is really lost
        return load_chunks(store, sources, fingerprint, seeds)
