"""Keeping a store small: chunks of a block merged into one, and files dropped that nothing refers to."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.core.files import read_head
from harness.execution.executors import is_alive
from harness.execution.merging import merge_rows, together
from harness.execution.seed_ranges import SeedRange, partition_seeds, seeds_of
from harness.execution.verify import metric_of
from harness.metrics.base import Metric
from harness.store.database import Store
from harness.store.location import NoStoreError

GRACE = 3600.0
"""Seconds for which a file without a row is left alone: somebody may be about to write the row."""

SQLITE = b"SQLite format 3\0"
"""How an SQLite file begins."""

OURS = re.compile(r"[0-9a-f]{64}\.npz|\.[0-9a-f]{64}\.npz\.\d+\.tmp")
"""Names of files that a store makes."""


class Collected(NamedTuple):
    """What was done, or would be.

    Args:
        merged: chunks that became part of a block.
        blocks: blocks that they became.
        orphans: files that nothing referred to.
        unused: finished chunks that no result is of.
        claims: claims of processes that are gone.
        freed: bytes.
    """

    merged: int
    blocks: int
    orphans: int
    unused: int
    claims: int
    freed: int


def collect(store: Store, unused: bool = False, dry_run: bool = False, now: float | None = None) -> Collected:
    """Merge what can be merged and drop what nothing refers to.

    Args:
        store: to look after.
        unused: drop finished chunks that are part of no result, too: those of runs that were not finished, or that
            nobody will ask for again.
        dry_run: change nothing; say what would be done.
        now: seconds since 1970; None for the clock.
    """
    store.check_files()
    store.is_alive = is_alive
    before = _size(store)
    merged, blocks = _merge(store, dry_run)
    dropped, bytes_unused = _drop_unused(store, dry_run) if unused else (0, 0)
    claims = store.drop_claims(dry_run)
    orphans, bytes_orphans = _drop_orphans(store, time.time() if now is None else now, dry_run)
    freed = bytes_unused + bytes_orphans if dry_run else max(0, before - _size(store))
    return Collected(merged, blocks, orphans, dropped, claims, freed)


class _Use(NamedTuple):
    """A result of a trial: the names under which its chunks are, and its seeds."""

    sources: tuple[str, ...]
    seeds: SeedRange


def _merge(store: Store, dry_run: bool) -> tuple[int, int]:
    """Merge chunks of every trial so that the blocks of each of its results stay whole blocks."""
    uses: dict[tuple[str, str], list[_Use]] = {}
    for row in store.results():
        metric = _metric(row)
        if row["status"] == "done" and metric is not None and metric.merges_chunks:
            seeds = SeedRange(row["first_seed"], row["first_seed"] + row["n"] - 1)
            uses.setdefault((row["fingerprint"], row["extractor"]), []).append(_Use(metric.sources, seeds))
    merged = blocks = 0
    for (fingerprint, _), chunks in uses.items():
        for group in _groups(store, fingerprint, chunks):
            if dry_run or merge_rows(store, group):
                merged, blocks = merged + len(group), blocks + 1
    return merged, blocks


def _groups(store: Store, fingerprint: str, uses: list[_Use]) -> list[list[dict[str, Any]]]:
    """Chunks that follow each other, lie under one name, and are in one block of every result of the trial."""
    names = sorted({name for use in uses for name in use.sources})
    every = [row for row in store.chunks(names, [fingerprint]) if row["status"] == "done"]
    rows = [row for row in every if store.files.has(row["key"])]
    parts: list[list[SeedRange]] = []
    for use in uses:
        present = {seeds_of(row) for row in rows if row["extractor"] in use.sources}
        parts.append(
            [seed_range for seed_range in partition_seeds(*use.seeds, present, use.seeds.size) if seed_range in present]
        )
    groups = []
    for name in names:
        mine = {seeds_of(row): row for row in rows if row["extractor"] == name}
        read = [part for use, part in zip(uses, parts, strict=True) if name in use.sources]
        groups += [[mine[seed_range] for seed_range in group] for group in together(mine, read) if len(group) > 1]
    return groups


def _metric(row: dict[str, Any]) -> Metric | None:
    try:
        return metric_of(row)
    except InputError:
        return None


def _drop_unused(store: Store, dry_run: bool) -> tuple[int, int]:
    used: dict[str, list[tuple[int, int]]] = {}
    for row in store.results():
        used.setdefault(row["fingerprint"], []).append((row["first_seed"], row["first_seed"] + row["n"] - 1))
    count = freed = 0
    for row in store.all_chunks():
        seed_ranges = used.get(row["fingerprint"], [])
        if row["status"] == "done" and not any(
            a <= row["first_seed"] and row["last_seed"] <= b for a, b in seed_ranges
        ):
            count, freed = count + 1, freed + store.files.size(row["key"])
            if not dry_run:
                store.drop_chunk(row["key"])
    return count, freed


def _drop_orphans(store: Store, now: float, dry_run: bool) -> tuple[int, int]:
    known = {row["key"] for row in store.all_chunks()} | store.keys_in_facts() | _keys_of_neighbours(store)
    count = freed = 0
    for path, status in _files(store):
        if path.stem not in known and now - status.st_mtime > GRACE:
            count, freed = count + 1, freed + status.st_size
            if not dry_run:
                path.unlink(missing_ok=True)
    return count, freed


def _files(store: Store) -> Iterator[tuple[Path, os.stat_result]]:
    """The files that the store made, half-written ones of processes that are gone among them; nobody else's."""
    for path in store.files.folder.glob("??/*"):
        with contextlib.suppress(FileNotFoundError):  # another process may be merging
            if OURS.fullmatch(path.name) and path.is_file():
                yield path, path.stat()


def _keys_of_neighbours(store: Store) -> set[str]:
    """Keys of other stores in the same folder: SQLite files beside each other share the folder of their arrays.

    Raises:
        InputError: one of them cannot be read, so nobody knows what it needs.
    """
    own, keys = store.path, set[str]()
    if own is None:
        return keys
    for path in sorted(own.parent.iterdir()):
        if path.is_file() and not path.samefile(own) and read_head(path, len(SQLITE)) == SQLITE:
            with contextlib.suppress(NoStoreError), Store(str(path), store.files.folder, read_only=True) as other:
                keys |= {row["key"] for row in other.all_chunks()} | other.keys_in_facts()
    return keys


def _size(store: Store) -> int:
    return sum(status.st_size for _, status in _files(store))
