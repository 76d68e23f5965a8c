"""The pruner: a trial is measured at a rung, compared with its incumbent, and ended if it is not worth more seeds.

The incumbent is the best trial known when this one began. The two are compared on the same seeds: the paired difference
of their values has a jackknife interval over blocks of seeds, in which what the seeds have in common cancels.

Rule `paired` prunes a trial if all of the 95 % interval is worse. Rule `halving` also prunes a trial that is not in the
better half of the trials that reached the rung before it: successive halving without waiting (Li et al. 2020, arXiv
1810.05934, eta = 2), with ranks of values on the same seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.execution.measurements import Measurement
from harness.execution.results import ChunkData, measure
from harness.metrics.statistics.jackknife import Interval, Replicates, jackknife

CONFIDENCE = 0.95
"""Confidence of the interval that prunes.

A lower one prunes more, and loses good settings: see `benchmarks/search_efficiency.py` for what pruning saves.
"""

FEWEST_BLOCKS = 4
"""Fewest blocks of seeds whose interval may prune a trial."""

FEWEST_TRIALS = 4
"""Fewest earlier trials at a rung that have a better half."""


class Rung(NamedTuple):
    """A trial measured on its first n seeds.

    Args:
        n: samples.
        value: of the metric.
        low, high: its 95 % interval; None with too few blocks.
        replicates: the value without each block.
        sizes: samples in each block.
        difference: estimate and interval of this minus the incumbent at the same n; None without an incumbent.
    """

    n: int
    value: float
    low: float | None
    high: float | None
    replicates: list[float]
    sizes: list[int]
    difference: dict[str, float] | None


def measure_rung(
    measurement: Measurement, chunks: Sequence[ChunkData], device: str, shape: tuple[int, ...] | None = None
) -> tuple[Rung, dict[str, Any]]:
    """Measure a trial on some of its seeds, which has images of a shape [C, H, W].

    Returns:
        The rung, without a difference, and the columns of a result's row.

    Raises:
        SamplingError: features that are not finite.
    """
    values = measure(measurement.metric, chunks, measurement.against, device, shape=shape)
    n = sum(chunk.seeds.size for chunk in chunks)
    replicates = [float(value) for value in values["replicates"]]
    starts = [*values["blocks"], chunks[0].seeds.first + n]
    sizes = [int(size) for size in np.diff(starts)] if replicates else []
    return Rung(n, float(values["value"]), values["low"], values["high"], replicates, sizes, None), values


def against_incumbent(rung: Rung, incumbent: Mapping[str, Any] | None) -> Rung:
    """The rung with its paired difference from the incumbent's rung at the same n."""
    theirs = next((one for one in (incumbent or {}).get("rungs") or [] if one["n"] == rung.n), None)
    if theirs is None:
        return rung
    interval = paired(rung._asdict(), theirs)
    if interval is None:
        return rung._replace(difference={"estimate": rung.value - theirs["value"]})
    return rung._replace(difference={"estimate": interval.estimate, "low": interval.low, "high": interval.high})


def paired(mine: Mapping[str, Any], theirs: Mapping[str, Any], confidence: float = CONFIDENCE) -> Interval | None:
    """The difference of two rungs on the same blocks of seeds; None if the blocks differ or are too few."""
    if mine["sizes"] != theirs["sizes"] or len(mine["sizes"]) < FEWEST_BLOCKS:
        return None
    a, b = (Replicates(one["value"], np.array(one["replicates"]), np.array(one["sizes"])) for one in (mine, theirs))
    return jackknife(a.full - b.full, a.left_out - b.left_out, a.sizes, confidence)


def verdict(
    pruner: str, rung: Rung, incumbent: int | None, better: str, earlier: Sequence[Mapping[str, Any]]
) -> str | None:
    """Why a trial is pruned at a rung, in words; None if it goes on.

    Args:
        pruner: the rule: `paired`, `halving` or `none`.
        rung: the trial's rung, with its difference.
        incumbent: number of the trial that it is compared with.
        better: the direction in which the metric is better: `lower` or `higher`.
        earlier: stored rows of the trials that may be known.
    """
    worse = 1.0 if better == "lower" else -1.0
    if rung.difference and "low" in rung.difference:
        least = min(worse * rung.difference["low"], worse * rung.difference["high"])
        if least > 0:
            return (
                f"worse than no. {incumbent} by {abs(rung.difference['estimate']):.4g} on the same {rung.n} seeds, "
                f"{least:.4g} at least (95 % interval)"
            )
    if pruner == "halving":
        distinct = [row for row in earlier if row["twin"] is None]  # a sampler counts once
        seen = [worse * one["value"] for row in distinct for one in row["rungs"] or [] if one["n"] == rung.n]
        if len(seen) >= FEWEST_TRIALS and worse * rung.value > sorted(seen)[(len(seen) - 1) // 2]:
            return f"not among the better half of {len(seen)} earlier trials at the same {rung.n} seeds"
    return None
