"""From chunks to a result: merge what was seen, measure, and say how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import per_sample
from harness.metrics.frechet import FrechetReference
from harness.metrics.moments import Moments
from harness.metrics.uncertainty import interval, replicates
from harness.running.cover import Span

PATHS = 32
"""Trajectories kept of a trial."""

BLOCKS = 10
"""Blocks of seeds that the jackknife leaves out one at a time."""


class Piece(NamedTuple):
    """A finished chunk of a trial: its seeds, arrays (moments, or a measure's values), and what the worker said."""

    span: Span
    arrays: Mapping[str, np.ndarray]
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
    return [
        (group[0].span.first, Moments.merge(Moments.from_arrays(piece.arrays) for piece in group))
        for group in grouped.values()
    ]


def distance(pieces: Sequence[Piece], reference: FrechetReference) -> dict[str, Any]:
    """A distance's columns of a result row: value, interval, replicates and blocks; NFE and cost."""
    cut = blocks(pieces)
    found = replicates([moments for _, moments in cut], reference)
    between = interval(found)
    return {
        "value": found.full,
        "low": between.low if between else None,
        "high": between.high if between else None,
        "replicates": found.left_out.tolist(),
        "blocks": [start for start, _ in cut],
        "details": None,
        **_cost(pieces),
    }


def measured(pieces: Sequence[Piece]) -> dict[str, Any]:
    """A measure's columns of a result row: the mean over samples, its spread, values by level; NFE and cost."""
    values = np.concatenate([piece.arrays["values"] for piece in pieces])
    found = per_sample.mean(values, BLOCKS)
    details: dict[str, Any] = {"quantiles": per_sample.quantiles(values)}
    first = pieces[0].arrays
    if "levels" in first:
        rows = np.concatenate([piece.arrays["profile"] for piece in pieces])
        details["profile"] = per_sample.profile(first["levels"], rows)
    if "path_times" in first:
        x = np.concatenate([piece.arrays["path_x"] for piece in pieces])[:PATHS]
        details["paths"] = {"t": first["path_times"].tolist(), "x": x.tolist()}
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "replicates": found.replicates,
        "blocks": [pieces[0].span.first + start for start in found.starts],
        "details": details,
        **_cost(pieces),
    }


def _cost(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Evaluations per sample, least, mean and most, and what was spent."""
    weights = np.array([piece.span.size for piece in pieces], dtype=np.float64)
    nfe = [piece.info["nfe"] for piece in pieces]
    return {
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
