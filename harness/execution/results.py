"""From chunks to a result: merge what was seen, measure, and say how sure it is."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.core.errors import InputError, SamplingError
from harness.core.text import told
from harness.execution.seed_ranges import SeedRange
from harness.metrics.base import Metric
from harness.metrics.cautions import ImageKind
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import BLOCKS


class ChunkData(NamedTuple):
    """A finished chunk of a trial: its seeds, arrays (moments, or a measure's values), and what the worker said."""

    seeds: SeedRange
    arrays: Mapping[str, np.ndarray]
    info: Mapping[str, Any]


def groups(seed_ranges: Sequence[SeedRange], count: int = BLOCKS) -> list[list[SeedRange]]:
    """Group ranges, in order of seeds, into at most `count` blocks of about equal size.

    The cut depends on the seeds alone, so trials in the same chunks get the same blocks.
    """
    first, last = seed_ranges[0].first, seed_ranges[-1].last
    total = last - first + 1
    grouped: dict[int, list[SeedRange]] = {}
    for seed_range in seed_ranges:
        middle = (seed_range.first + seed_range.last) / 2 - first
        grouped.setdefault(min(int(middle * count / total), count - 1), []).append(seed_range)
    return list(grouped.values())


def groups_from(seed_ranges: Sequence[SeedRange], starts: Sequence[int]) -> list[list[SeedRange]]:
    """Group ranges, in order of seeds, into the blocks that begin at these seeds: those that a result names."""
    grouped: dict[int, list[SeedRange]] = {}
    for seed_range in seed_ranges:
        grouped.setdefault(bisect_right(starts, seed_range.first), []).append(seed_range)
    return list(grouped.values())


def measure(
    metric: Metric,
    chunks: Sequence[ChunkData],
    reference: Reference | None,
    device: str = "cpu",
    cut_at: Sequence[int] | None = None,
    shape: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """The columns of a result row: value, interval, replicates, blocks of seeds and details; NFE and cost.

    Args:
        metric: what is measured.
        chunks: the chunks of a trial, in order of seeds.
        reference: what the images are compared with; None for a metric without one.
        device: where large matrices are computed.
        cut_at: the first seed of each block; None for blocks of about equal size.
        shape: [C, H, W] of the images; None where that is not known.

    Raises:
        SamplingError: the metric cannot be computed of these chunks, whatever it raises, or its value is not finite;
            for a failed row.
        InputError: a file of the store or of the reference is damaged.
    """
    arrays = {chunk.seeds: chunk.arrays for chunk in chunks}
    seeds = [chunk.seeds for chunk in chunks]
    cut = groups(seeds) if cut_at is None else groups_from(seeds, cut_at)
    with _failed_row(InputError):  # a damaged file of the store stops the run
        blocks = [metric.read([arrays[seed_range] for seed_range in group]) for group in cut]
    if reference is not None and reference.training is not None:
        reference.training()  # read here, so that a data set that is gone is no fault of the metric
    with _failed_row():
        estimate = metric.compute(blocks, reference, device)
        certainty = metric.certainty(estimate)
        interval, images = certainty.interval, ImageKind(shape) if shape else None
        cautions = [*metric.cautions(blocks, reference, images), *certainty.cautions]
        starts = chunks[0].seeds.first + np.cumsum(estimate.sizes) - estimate.sizes
        details = estimate.details | ({"cautions": cautions} if cautions else {})
        return {
            "value": float(estimate.value),
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "replicates": np.asarray(estimate.replicates).tolist(),
            "blocks": starts.tolist(),
            "details": details or None,
            **_cost(chunks),
        }


@contextlib.contextmanager
def _failed_row(*stops: type[Exception]) -> Iterator[None]:
    """Whatever a metric raises inside is a SamplingError, which makes a failed row; `stops` go through as they are."""
    unchanged: tuple[type[Exception], ...] = (SamplingError, *stops)
    try:
        yield
    except unchanged:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else told(error)
        raise SamplingError(reason) from error


def merged_info(chunks: Sequence[ChunkData]) -> dict[str, Any]:
    """What the workers said of several chunks, as of one; how many they were is in `parts`."""
    cost = _cost(chunks)
    said = gathered([chunk.info for chunk in chunks])
    one = {key: values[0] if len(values) == 1 else values for key, values in said.items() if isinstance(values, list)}
    return {
        "nfe": [cost["nfe_min"], cost["nfe"], cost["nfe_max"]],
        "evaluations": cost["evaluations"],
        "seconds": cost["seconds"],
        **one,
        "versions": said["versions"],
        "parts": sum(chunk.info.get("parts", 1) for chunk in chunks),
    }


def _cost(chunks: Sequence[ChunkData]) -> dict[str, Any]:
    """Evaluations per sample, least, mean and most, and what was spent."""
    weights = np.array([chunk.seeds.size for chunk in chunks], dtype=np.float64)
    nfe = [chunk.info["nfe"] for chunk in chunks]
    return {
        "nfe": float(np.average([mean for _, mean, _ in nfe], weights=weights)),
        "nfe_min": min(low for low, _, _ in nfe),
        "nfe_max": max(high for _, _, high in nfe),
        "evaluations": sum(chunk.info["evaluations"] for chunk in chunks),
        "seconds": sum(chunk.info["seconds"] for chunk in chunks),
    }


def gathered(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the workers said of a trial's chunks, each distinct value once: device, type, call shape, versions."""
    keys = ("device", "dtype", "batch")
    facts: dict[str, Any] = {key: _distinct([info[key] for info in infos if key in info]) for key in keys}
    seen = _distinct([info["versions"] for info in infos if "versions" in info])
    facts["versions"] = seen[0] if len(seen) == 1 else seen
    return facts


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order; a chunk that was merged of unlike ones says a list."""
    unique: list[Any] = []
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if one not in unique:
                unique.append(one)
    return unique
