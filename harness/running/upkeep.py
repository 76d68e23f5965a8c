"""Keeping a store small: chunks of a block merged into one, and files dropped that nothing refers to."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import InputError
from harness.evaluation.choices import FeatureMetric
from harness.laboratory import Measure
from harness.running.cover import Span, cover
from harness.running.jobs import span_of
from harness.running.merging import merge_rows
from harness.running.results import groups
from harness.running.verify import metric_of
from harness.store import Store

GRACE = 3600.0
"""Seconds for which a file without a row is left alone: somebody may be about to write the row."""


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
    before = _size(store)
    merged, blocks = _merge(store, dry_run)
    dropped, bytes_unused = _drop_unused(store, dry_run) if unused else (0, 0)
    claims = store.drop_claims(dry_run)
    orphans, bytes_orphans = _drop_orphans(store, time.time() if now is None else now, dry_run)
    freed = bytes_unused + bytes_orphans if dry_run else max(0, before - _size(store))
    return Collected(merged, blocks, orphans, dropped, claims, freed)


def _merge(store: Store, dry_run: bool) -> tuple[int, int]:
    """Merge chunks of every trial so that the blocks of each of its results stay whole blocks."""
    results: dict[tuple[str, tuple[str, ...]], list[Span]] = {}
    for row in store.results():
        metric = _metric(row)
        if row["status"] == "done" and isinstance(metric, FeatureMetric):
            seeds = Span(row["first_seed"], row["first_seed"] + row["n"] - 1)
            results.setdefault((row["fingerprint"], metric.sources), []).append(seeds)
    merged = blocks = 0
    for (fingerprint, sources), measured in results.items():
        for group in _groups(store, fingerprint, sources, measured):
            if dry_run or merge_rows(store, group):
                merged, blocks = merged + len(group), blocks + 1
    return merged, blocks


def _groups(
    store: Store, fingerprint: str, sources: tuple[str, ...], results: list[Span]
) -> list[list[dict[str, Any]]]:
    """Chunks that follow each other, lie under one name, and are in one block of every result of the trial."""
    others = [row for row in store.chunks(sources, [fingerprint]) if row["status"] == "done"]
    rows = {span_of(row): row for row in others if store.files.has(row["key"])}
    marks: dict[Span, list[tuple[int, int]]] = {span: [] for span in rows}
    for number, seeds in enumerate(results):
        spans = [span for span in cover(seeds.first, seeds.last, rows, seeds.size) if span in rows]
        for block, group in enumerate(groups(spans) if spans else []):
            for span in group:
                marks[span].append((number, block))
    found: list[list[dict[str, Any]]] = []
    last: tuple[Span, Any] | None = None
    for span in sorted(span for span in rows if marks[span]):
        mark = (rows[span]["extractor"], marks[span])
        if last and last[1] == mark and last[0].last + 1 == span.first:
            found[-1].append(rows[span])
        else:
            found.append([rows[span]])
        last = span, mark
    return [group for group in found if len(group) > 1]


def _metric(row: dict[str, Any]) -> FeatureMetric | Measure | None:
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
        spans = used.get(row["fingerprint"], [])
        if row["status"] == "done" and not any(a <= row["first_seed"] and row["last_seed"] <= b for a, b in spans):
            count, freed = count + 1, freed + store.files.size(row["key"])
            if not dry_run:
                store.drop_chunk(row["key"])
    return count, freed


def _drop_orphans(store: Store, now: float, dry_run: bool) -> tuple[int, int]:
    known = {row["key"] for row in store.all_chunks()} | store.keys_in_facts()
    count = freed = 0
    for path in _files(store):
        status = path.stat()
        if path.stem not in known and now - status.st_mtime > GRACE:
            count, freed = count + 1, freed + status.st_size
            if not dry_run:
                path.unlink(missing_ok=True)
    return count, freed


def _files(store: Store) -> list[Path]:
    return [path for path in store.files.folder.glob("??/*") if path.is_file()] if store.files.folder.is_dir() else []


def _size(store: Store) -> int:
    return sum(path.stat().st_size for path in _files(store))
