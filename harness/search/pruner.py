"""What became of a trial at a rung, and whether it is worth more seeds.

A trial is compared with its rival, the best one known when it began, on the same seeds: the difference of their values
has an interval by the jackknife over blocks of seeds in which all that the seeds have
in common cancels. Rule `paired` prunes a trial where all of the 95 % interval is worse. Rule
`halving` does that, and prunes as well those that are not among the better half of the trials that came as far before:
successive halving without waiting (Li et al. 2020, arXiv 1810.05934, eta = 2), whose ranks are of values on the same
seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.execution.measurements import Measurement
from harness.execution.results import Piece, compared, measured
from harness.metrics.choices import FeatureMetric
from harness.metrics.statistics.jackknife import Interval, Replicates, jackknife
from harness.store.studies import DONE

CONFIDENCE = 0.95
"""Of the interval of a difference: a trial is pruned where all of it is worse.

Less sounds thriftier and is not: on 180 settings of which four are within 2 % of the best, rules that prune at 90 or
95 %, one-sided, lost all four in two or three studies of eight, and saved 3 % of the evaluations of those that did not.
"""

FEWEST_BLOCKS = 4
"""Blocks of seeds below which an interval decides nothing."""

FEWEST_TRIALS = 4
"""Trials at a rung below which there is no better half."""


class Rung(NamedTuple):
    """A trial measured on its first n seeds.

    Args:
        n: samples.
        value: of the metric.
        low, high: its 95 % interval; None with too few blocks.
        replicates: the value without each block.
        sizes: samples in each block.
        difference: this minus the rival at the same n, with the interval that prunes; None without a rival.
    """

    n: int
    value: float
    low: float | None
    high: float | None
    replicates: list[float]
    sizes: list[int]
    difference: dict[str, float] | None


def measure_rung(measurement: Measurement, pieces: Sequence[Piece], device: str) -> tuple[Rung, dict[str, Any]]:
    """Measure a trial on some of its seeds.

    Returns:
        The rung, without a difference, and the columns of a result's row.

    Raises:
        SamplingError: features that are not finite.
    """
    if isinstance(measurement.metric, FeatureMetric):
        assert measurement.against is not None
        values = compared(measurement.metric, pieces, measurement.against, device)
    else:
        values = measured(pieces)
    n = sum(piece.span.size for piece in pieces)
    replicates = [float(value) for value in values["replicates"]]
    starts = [*values["blocks"], pieces[0].span.first + n]
    sizes = [int(size) for size in np.diff(starts)] if replicates else []
    return Rung(n, float(values["value"]), values["low"], values["high"], replicates, sizes, None), values


def against_incumbent(rung: Rung, rival: Mapping[str, Any] | None) -> Rung:
    """The rung with its paired difference from the rival's at the same n."""
    theirs = next((one for one in (rival or {}).get("rungs") or [] if one["n"] == rung.n), None)
    if theirs is None:
        return rung
    found = paired(rung._asdict(), theirs)
    if found is None:
        difference = {"estimate": rung.value - theirs["value"]}
    else:
        difference = {"estimate": found.estimate, "low": found.low, "high": found.high}
    return rung._replace(difference=difference)


def paired(mine: Mapping[str, Any], theirs: Mapping[str, Any], confidence: float = CONFIDENCE) -> Interval | None:
    """The difference of two rungs on the same blocks of seeds; None with too few blocks, or others."""
    if mine["sizes"] != theirs["sizes"] or len(mine["sizes"]) < FEWEST_BLOCKS:
        return None
    a, b = (Replicates(one["value"], np.array(one["replicates"]), np.array(one["sizes"])) for one in (mine, theirs))
    return jackknife(a.full - b.full, a.left_out - b.left_out, a.sizes, confidence)


def verdict(
    pruner: str, rung: Rung, rival: int | None, better: str, earlier: Sequence[Mapping[str, Any]]
) -> str | None:
    """Why a trial is pruned at a rung, in words; None to go on.

    Args:
        pruner: the rule.
        rung: what was measured.
        rival: number of the trial that it was compared with.
        better: which way the metric is better.
        earlier: the trials that may be known.
    """
    worse = 1.0 if better == "lower" else -1.0
    if rung.difference and "low" in rung.difference:
        least = min(worse * rung.difference["low"], worse * rung.difference["high"])
        if least > 0:
            return (
                f"worse than no. {rival} by {abs(rung.difference['estimate']):.4g} on the same {rung.n} seeds, "
                f"{least:.4g} at least (95 % interval)"
            )
    if pruner == "halving":
        own = [row for row in earlier if row["twin"] is None]
        seen = [worse * one["value"] for row in own for one in row["rungs"] or [] if one["n"] == rung.n]
        if len(seen) >= FEWEST_TRIALS and worse * rung.value > sorted(seen)[(len(seen) - 1) // 2]:
            return f"not among the better half of {len(seen)} earlier trials at the same {rung.n} seeds"
    return None


def best_of(rows: Sequence[Mapping[str, Any]], better: str) -> int | None:
    """The number of the best trial that was measured in full; of equals the first."""
    full = [row for row in rows if row["status"] == DONE and row["twin"] is None]
    if not full:
        return None
    sign = 1.0 if better == "lower" else -1.0
    return int(min(full, key=lambda row: (sign * row["value"], row["number"]))["number"])
