"""Chunks of a block become one file as soon as the block is complete, where their moments are large.

The moments of 2048 features take 17 MB, whatever number of images they are of. Twelve blocks of them are what the
jackknife needs of a trial, and nothing needs more.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.execution.chunks import Missing
from harness.execution.measurements import Measurement
from harness.execution.results import ChunkData, groups, merged_info
from harness.execution.seed_ranges import SeedRange, seeds_of
from harness.metrics.features.summary import FeatureSummary
from harness.store.chunk import Chunk
from harness.store.database import Store


class Merger:
    """Watches chunks arrive, and merges those of a block when the last of them is there.

    Args:
        store: where they are.
        measurements: of the run.
        needed: what each measurement needs; says which chunks a trial consists of.
    """

    def __init__(self, store: Store, measurements: Sequence[Measurement], needed: Sequence[Missing]) -> None:
        self.store = store
        self.blocks: dict[tuple[str, str, SeedRange], list[SeedRange]] = {}
        parts = list(zip(measurements, needed, strict=True))
        for measurement, part in parts:
            if not measurement.is_wide:
                continue
            others = _measured_otherwise(store, measurement, list(part.seed_ranges))
            alike = [other.seed_ranges for one, other in parts if one.extractor == measurement.extractor]
            for fingerprint, seed_ranges in part.seed_ranges.items():
                if fingerprint in others:
                    continue
                uses = [by_trial[fingerprint] for by_trial in alike if fingerprint in by_trial]
                for group in together(seed_ranges, uses):
                    for seed_range in group if len(group) > 1 else []:
                        self.blocks.setdefault((measurement.source, fingerprint, seed_range), group)

    def finished(self, chunk: Chunk) -> None:
        """A chunk was stored: merge its block if that is complete now."""
        source, fingerprint = chunk.extractor, chunk.fingerprint
        group = self.blocks.get((source, fingerprint, SeedRange(chunk.first, chunk.last)))
        if group is None:
            return
        rows = {seeds_of(row): row for row in self.store.chunks(source, [fingerprint]) if row["status"] == "done"}
        if all(seed_range in rows for seed_range in group):
            merge_rows(self.store, [rows[seed_range] for seed_range in group])


def together(seed_ranges: Iterable[SeedRange], uses: Sequence[Sequence[SeedRange]]) -> list[list[SeedRange]]:
    """Runs of ranges that follow each other and lie in one block of every use.

    Args:
        seed_ranges: to group, disjoint.
        uses: of each number that is measured, the chunks that it consists of; ranges of none stay out.
    """
    blocks: dict[SeedRange, list[tuple[int, int]]] = {}
    for number, use in enumerate(uses):
        for block, group in enumerate(groups(use) if use else []):
            for seed_range in group:
                blocks.setdefault(seed_range, []).append((number, block))
    merged: list[list[SeedRange]] = []
    for seed_range in sorted(seed_range for seed_range in seed_ranges if seed_range in blocks):
        before = merged[-1][-1] if merged else None
        if before and before.last + 1 == seed_range.first and blocks[before] == blocks[seed_range]:
            merged[-1].append(seed_range)
        else:
            merged.append([seed_range])
    return merged


def _measured_otherwise(store: Store, measurement: Measurement, fingerprints: list[str]) -> set[str]:
    """Trials with a result on other seeds that are partly the measurement's: its blocks are to stay as they are."""
    others = set()
    for row in store.results(fingerprints):
        first, last = row["first_seed"], row["first_seed"] + row["n"] - 1
        same = (first, last) == (measurement.first, measurement.last)
        if (
            row["extractor"] == measurement.extractor
            and not same
            and first <= measurement.last
            and last >= measurement.first
        ):
            others.add(row["fingerprint"])
    return others


def merge_rows(store: Store, rows: Sequence[dict[str, Any]]) -> bool:
    """Put one chunk in the place of finished ones that follow each other; whether it was done.

    Raises:
        InputError: a file is missing or was changed.
    """
    chunks = [ChunkData(seeds_of(row), store.moments(row), row["info"]) for row in rows]
    together = FeatureSummary.merge(FeatureSummary.from_arrays(chunk.arrays) for chunk in chunks)
    return store.merge(rows, together.arrays(), merged_info(chunks))
