"""Chunks of a block become one file as soon as the block is complete, where their moments are large.

The moments of 2048 features take 17 MB, whatever number of images they are of. Ten blocks of them are what the
jackknife needs of a trial, and nothing needs more.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.execution.chunks import Missing
from harness.execution.measurements import Measurement
from harness.execution.results import Piece, groups, merged_info
from harness.execution.seed_ranges import SeedRange, seeds_of
from harness.metrics.features.summary import FeatureSummary
from harness.store.database import Chunk, Store


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
            others = _measured_otherwise(store, measurement, list(part.spans))
            alike = [other.spans for one, other in parts if one.extractor == measurement.extractor]
            for fingerprint, spans in part.spans.items():
                if fingerprint in others:
                    continue
                uses = [found[fingerprint] for found in alike if fingerprint in found]
                for group in together(spans, uses):
                    for span in group if len(group) > 1 else []:
                        self.blocks.setdefault((measurement.source, fingerprint, span), group)

    def finished(self, chunk: Chunk) -> None:
        """A chunk was stored: merge its block if that is complete now."""
        source, fingerprint = chunk.extractor, chunk.fingerprint
        group = self.blocks.get((source, fingerprint, SeedRange(chunk.first, chunk.last)))
        if group is None:
            return
        rows = {seeds_of(row): row for row in self.store.chunks(source, [fingerprint]) if row["status"] == "done"}
        if all(span in rows for span in group):
            merge_rows(self.store, [rows[span] for span in group])


def together(spans: Iterable[SeedRange], uses: Sequence[Sequence[SeedRange]]) -> list[list[SeedRange]]:
    """Runs of spans that follow each other and lie in one block of every use.

    Args:
        spans: to group, disjoint.
        uses: of each number that is measured, the chunks that it consists of; spans of none stay out.
    """
    blocks: dict[SeedRange, list[tuple[int, int]]] = {}
    for number, use in enumerate(uses):
        for block, group in enumerate(groups(use) if use else []):
            for span in group:
                blocks.setdefault(span, []).append((number, block))
    found: list[list[SeedRange]] = []
    for span in sorted(span for span in spans if span in blocks):
        before = found[-1][-1] if found else None
        if before and before.last + 1 == span.first and blocks[before] == blocks[span]:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _measured_otherwise(store: Store, measurement: Measurement, fingerprints: list[str]) -> set[str]:
    """Trials with a result on other seeds that are partly the measurement's: its blocks are to stay as they are."""
    found = set()
    for row in store.results(fingerprints):
        first, last = row["first_seed"], row["first_seed"] + row["n"] - 1
        same = (first, last) == (measurement.first, measurement.last)
        if (
            row["extractor"] == measurement.extractor
            and not same
            and first <= measurement.last
            and last >= measurement.first
        ):
            found.add(row["fingerprint"])
    return found


def merge_rows(store: Store, rows: Sequence[dict[str, Any]]) -> bool:
    """Put one chunk in the place of finished ones that follow each other; whether it was done.

    Raises:
        InputError: a file is missing or was changed.
    """
    pieces = [Piece(seeds_of(row), store.moments(row), row["info"]) for row in rows]
    together = FeatureSummary.merge(FeatureSummary.from_arrays(piece.arrays) for piece in pieces)
    return store.merge(rows, together.arrays(), merged_info(pieces))
