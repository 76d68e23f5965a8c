"""From chunks to a result: merge what was seen, measure, and say how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.execution.seed_ranges import SeedRange
from harness.metrics.choices import FeatureMetric
from harness.metrics.compute import Against, measure
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.statistics import per_sample

PATHS = 32
"""Trajectories kept of a trial."""

MOSAIC = 64
"""Images kept of a trial that the grid names."""

BLOCKS = 10
"""Blocks of seeds that the jackknife leaves out one at a time."""


class Piece(NamedTuple):
    """A finished chunk of a trial: its seeds, arrays (moments, or a measure's values), and what the worker said."""

    span: SeedRange
    arrays: Mapping[str, np.ndarray]
    info: Mapping[str, Any]


def groups(spans: Sequence[SeedRange], count: int = BLOCKS) -> list[list[SeedRange]]:
    """Group spans, in order of seeds, into at most `count` blocks of about equal size.

    The cut depends on the seeds alone, so trials in the same chunks get the same blocks.
    """
    first, last = spans[0].first, spans[-1].last
    total = last - first + 1
    grouped: dict[int, list[SeedRange]] = {}
    for span in spans:
        middle = (span.first + span.last) / 2 - first
        grouped.setdefault(min(int(middle * count / total), count - 1), []).append(span)
    return list(grouped.values())


def blocks(pieces: Sequence[Piece], count: int = BLOCKS) -> list[tuple[int, FeatureSummary]]:
    """The chunks of each block together: (first seed, what was seen)."""
    arrays = {piece.span: piece.arrays for piece in pieces}
    return [
        (group[0].first, FeatureSummary.merge(FeatureSummary.from_arrays(arrays[span]) for span in group))
        for group in groups([piece.span for piece in pieces], count)
    ]


def compared(metric: FeatureMetric, pieces: Sequence[Piece], against: Against, device: str = "cpu") -> dict[str, Any]:
    """The columns of a result row of a metric of features: value, interval, replicates, blocks; NFE and cost."""
    cut = blocks(pieces)
    found = measure(metric, [seen for _, seen in cut], against, device)
    return {
        "value": found.value,
        "low": found.interval.low if found.interval else None,
        "high": found.interval.high if found.interval else None,
        "replicates": found.replicates,
        "blocks": [start for start, _ in cut],
        "details": found.details or None,
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


def merged_info(pieces: Sequence[Piece]) -> dict[str, Any]:
    """What the workers said of several chunks, as of one; how many they were is in `parts`."""
    cost = _cost(pieces)
    said = gathered([piece.info for piece in pieces])
    one = {key: values[0] if len(values) == 1 else values for key, values in said.items() if isinstance(values, list)}
    return {
        "nfe": [cost["nfe_min"], cost["nfe"], cost["nfe_max"]],
        "evaluations": cost["evaluations"],
        "seconds": cost["seconds"],
        **one,
        "versions": said["versions"],
        "parts": sum(piece.info.get("parts", 1) for piece in pieces),
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
    """Each value once, in order; a chunk that was merged of unlike ones says a list."""
    unique: list[Any] = []
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if one not in unique:
                unique.append(one)
    return unique
