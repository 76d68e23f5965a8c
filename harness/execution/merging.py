"""Chunks of a block become one file as soon as the block is complete, where their moments are large.

The moments of 2048 features take 17 MB, whatever number of images they are of. Ten blocks of them are what the
jackknife needs of a trial, and nothing needs more.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.execution.chunks import Job, Missing, span_of
from harness.execution.measurements import Aim
from harness.execution.results import Piece, groups, merged_info
from harness.execution.seed_ranges import Span
from harness.metrics.features.summary import Observed
from harness.store.database import Store


class Merger:
    """Watches chunks arrive, and merges those of a block when the last of them is there.

    Args:
        store: where they are.
        aims: of the run.
        needed: what each aim needs; says which chunks a trial consists of.
    """

    def __init__(self, store: Store, aims: Sequence[Aim], needed: Sequence[Missing]) -> None:
        self.store = store
        self.blocks: dict[tuple[str, str, Span], list[Span]] = {}
        self.sources = [aim.source for aim in aims]
        parts = list(zip(aims, needed, strict=True))
        for aim, part in parts:
            if not aim.is_wide:
                continue
            others = _measured_otherwise(store, aim, list(part.spans))
            alike = [other.spans for one, other in parts if one.extractor == aim.extractor]
            for fingerprint, spans in part.spans.items():
                if fingerprint in others:
                    continue
                uses = [found[fingerprint] for found in alike if fingerprint in found]
                for group in together(spans, uses):
                    for span in group if len(group) > 1 else []:
                        self.blocks.setdefault((aim.source, fingerprint, span), group)

    def finished(self, job: Job) -> None:
        """A chunk was stored: merge its block if that is complete now."""
        source = self.sources[job.aim]
        group = self.blocks.get((source, job.fingerprint, job.span))
        if group is None:
            return
        rows = {span_of(row): row for row in self.store.chunks(source, [job.fingerprint]) if row["status"] == "done"}
        if all(span in rows for span in group):
            merge_rows(self.store, [rows[span] for span in group])


def together(spans: Iterable[Span], uses: Sequence[Sequence[Span]]) -> list[list[Span]]:
    """Runs of spans that follow each other and lie in one block of every use.

    Args:
        spans: to group, disjoint.
        uses: of each number that is measured, the chunks that it consists of; spans of none stay out.
    """
    blocks: dict[Span, list[tuple[int, int]]] = {}
    for number, use in enumerate(uses):
        for block, group in enumerate(groups(use) if use else []):
            for span in group:
                blocks.setdefault(span, []).append((number, block))
    found: list[list[Span]] = []
    for span in sorted(span for span in spans if span in blocks):
        before = found[-1][-1] if found else None
        if before and before.last + 1 == span.first and blocks[before] == blocks[span]:
            found[-1].append(span)
        else:
            found.append([span])
    return found


def _measured_otherwise(store: Store, aim: Aim, fingerprints: list[str]) -> set[str]:
    """Trials with a result on other seeds that are partly the aim's: its blocks are to stay as they are."""
    found = set()
    for row in store.results(fingerprints):
        first, last = row["first_seed"], row["first_seed"] + row["n"] - 1
        same = (first, last) == (aim.first, aim.last)
        if row["extractor"] == aim.extractor and not same and first <= aim.last and last >= aim.first:
            found.add(row["fingerprint"])
    return found


def merge_rows(store: Store, rows: Sequence[dict[str, Any]]) -> bool:
    """Put one chunk in the place of finished ones that follow each other; whether it was done.

    Raises:
        InputError: a file is missing or was changed.
    """
    pieces = [Piece(span_of(row), store.moments(row), row["info"]) for row in rows]
    together = Observed.merge(Observed.from_arrays(piece.arrays) for piece in pieces)
    return store.merge(rows, together.arrays(), merged_info(pieces))
