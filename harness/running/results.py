"""From chunks to a result: merge the moments, measure the distance, and say how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics.frechet import FrechetReference
from harness.metrics.moments import Moments
from harness.metrics.uncertainty import interval, replicates
from harness.running.cover import Span

BLOCKS = 10
"""Blocks of seeds that the jackknife leaves out one at a time."""


class Piece(NamedTuple):
    """A finished chunk of a trial: its seeds, moments, and what the worker said of it."""

    span: Span
    moments: Moments
    info: Mapping[str, Any]


def blocks(pieces: Sequence[Piece], count: int = BLOCKS) -> list[tuple[int, Moments]]:
    """Group chunks, in order of seeds, into at most `count` blocks of about equal size: (first seed, moments) each.

    The cut depends on the seeds alone, so trials in the same chunks get the same blocks.
    """
    first, last = pieces[0].span.first, pieces[-1].span.last
    total = last - first + 1
    grouped: dict[int, list[Piece]] = {}
    for piece in pieces:
        middle = (piece.span.first + piece.span.last) / 2 - first
        grouped.setdefault(min(int(middle * count / total), count - 1), []).append(piece)
    return [(group[0].span.first, Moments.merge(piece.moments for piece in group)) for group in grouped.values()]


def measure(pieces: Sequence[Piece], reference: FrechetReference) -> dict[str, Any]:
    """The metric's columns of a result row: value, interval, replicates and blocks; NFE and cost."""
    cut = blocks(pieces)
    found = replicates([moments for _, moments in cut], reference)
    between = interval(found)
    weights = np.array([piece.span.size for piece in pieces], dtype=np.float64)
    nfe = [piece.info["nfe"] for piece in pieces]
    return {
        "value": found.full,
        "low": between.low if between else None,
        "high": between.high if between else None,
        "replicates": found.left_out.tolist(),
        "blocks": [start for start, _ in cut],
        "nfe": float(np.average([mean for _, mean, _ in nfe], weights=weights)),
        "nfe_min": min(low for low, _, _ in nfe),
        "nfe_max": max(high for _, _, high in nfe),
        "evaluations": sum(piece.info["evaluations"] for piece in pieces),
        "seconds": sum(piece.info["seconds"] for piece in pieces),
    }


def gathered(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the workers said of a trial's chunks, each distinct value once: device, type, call shape, versions."""
    keys = ("device", "dtype", "batch")
    found: dict[str, Any] = {key: _distinct([info[key] for info in infos if key in info]) for key in keys}
    seen = _distinct([info["versions"] for info in infos if "versions" in info])
    found["versions"] = seen[0] if len(seen) == 1 else seen
    return found


def _distinct(values: Sequence[Any]) -> list[Any]:
    unique: list[Any] = []
    for value in values:
        if value not in unique:
            unique.append(value)
    return unique
