"""The paper's rule for a curve's cost, and speed-ups, with what the seeds can tell about them.

A curve is the metric FD against NFE for one series. Its cost is the lowest NFE at which FD is within 3 % of the curve's
own best (Karras et al. 2022, Figure 2). The rule is applied to estimates at infinite N, and its outcome has a range:
`harness.metrics.statistics.decisions`. Points that were not measured on the same blocks of seeds have neither.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness.metrics.statistics.decisions import (
    FACTOR,
    Curve,
    Outcome,
    Power,
    cost_ratio,
    crossing,
    curve_of,
    lowest_within,
    power,
)
from harness.metrics.statistics.jackknife import Interval, Replicates, corrected, jackknife_of

UNPAIRED = "the points were not measured on the same blocks of seeds"


class CurvePoint(NamedTuple):
    """One finished trial of a curve.

    Args:
        fingerprint: which trial.
        nfe: denoiser evaluations per image.
        value: the metric, lower is better.
        replicates: the metric with each block of seeds left out.
        blocks: first seed of each block; points with other blocks are not paired.
        end: the seed after the last.
    """

    fingerprint: str
    nfe: float
    value: float
    replicates: tuple[float, ...] = ()
    blocks: tuple[int, ...] = ()
    end: int = 0

    def as_replicates(self) -> Replicates:
        """As the jackknife wants it."""
        return Replicates.stored(self.value, self.replicates, self.blocks, self.end)

    def pairs_with(self, other: "CurvePoint") -> bool:
        """Whether both were measured on the same blocks of seeds, at least two."""
        same = (self.blocks, self.end) == (other.blocks, other.end)
        return same and len(self.blocks) == len(self.replicates) == len(other.replicates) >= 2

    @property
    def corrected(self) -> Interval | None:
        """The metric at infinite N; None without blocks."""
        return corrected(self.as_replicates()) if self.pairs_with(self) else None


class Lowest(NamedTuple):
    """The lowest NFE within 3 % of a curve's best.

    Args:
        best: the point with the lowest value at infinite N; of equals the one with the lowest NFE.
        point: the point that the rule picks; None for fewer than 3 points.
        rule: what the rule picks and what the seeds leave open.
        end: the NFE at which the curve comes within 3 % of its end.
        shares: by fingerprint, how often each point is the rule's outcome.
        power: whether the seeds could tell points apart that differ by 3 %; None where no rule is asked.
        curve: the curve; None for points without blocks in common.
    """

    best: CurvePoint
    point: CurvePoint | None
    rule: Outcome
    end: Outcome
    shares: dict[str, float]
    power: Power | None
    curve: Curve | None


class SpeedUp(NamedTuple):
    """How many times fewer evaluations a series needs than the baseline, each to within 3 % of its own best.

    Args:
        ratio: NFE of the baseline over NFE of the series; None where a rule picks nothing.
        low, high: what the seeds allow, as in `harness.metrics.statistics.decisions.Ratio`; None without blocks in
            common.
        verdict: `faster` or `slower` where 1 lies outside low to high.
        why: why it is undecided; "" where it is decided.
        quality: the series' best value over the baseline's, both at infinite N; None where seeds are not paired, or the
            baseline's may be 0.
    """

    ratio: float | None
    low: float | None
    high: float | None
    verdict: Literal["faster", "slower", "undecided"]
    why: str
    quality: Interval | None

    @property
    def best_is(self) -> Literal["better", "worse", "undecided"]:
        """How the series' best value compares with the baseline's."""
        if self.quality is None:
            return "undecided"
        return "better" if self.quality.high < 1 else "worse" if self.quality.low > 1 else "undecided"


def lowest_nfe(points: Sequence[CurvePoint], factor: float = FACTOR) -> Lowest | None:
    """Apply the rule to one curve; None for a curve without points.

    Args:
        points: in any order.
        factor: 1.03 means within 3 %.
    """
    if not points:
        return None
    sorted_points = sorted(points, key=lambda point: (point.nfe, point.value))
    if not all(point.pairs_with(sorted_points[0]) for point in sorted_points):
        return _unpaired(sorted_points, factor)
    curve = curve_of([point.as_replicates() for point in sorted_points], [point.nfe for point in sorted_points])
    rule = lowest_within(curve, factor)
    return Lowest(
        best=sorted_points[int(curve.values.argmin())],
        point=next((point for point in sorted_points if point.nfe == rule.cost), None),
        rule=rule,
        end=crossing(curve, factor),
        shares={point.fingerprint: float(share) for point, share in zip(sorted_points, rule.shares, strict=False)},
        power=power(curve, factor),
        curve=curve,
    )


def _unpaired(points: Sequence[CurvePoint], factor: float) -> Lowest:
    """The rule on values at N, which decides nothing."""
    best = min(points, key=lambda point: point.value)
    point = next(point for point in points if point is best or point.value <= factor * best.value)
    picked = Outcome(point.nfe, None, None, False, np.empty(0), np.empty(0), UNPAIRED)
    return Lowest(best, point, picked, picked._replace(cost=None), {}, None, None)


def speed_up(baseline: Lowest, series: Lowest) -> SpeedUp:
    """Compare the costs of two curves; decided only where both were measured on the same blocks of seeds."""
    paired = baseline.best.pairs_with(series.best)
    ratio, low, high, why = cost_ratio(baseline.rule, series.rule)
    if not paired:
        low, high, why = None, None, UNPAIRED.replace("points", "series")
    verdict: Literal["faster", "slower", "undecided"] = "undecided"
    if not why and low is not None and high is not None:
        verdict = "faster" if low > 1 else "slower" if high < 1 else "undecided"
    return SpeedUp(ratio, low, high, verdict, why, _quality(series.best, baseline.best) if paired else None)


def _quality(series: CurvePoint, baseline: CurvePoint) -> Interval | None:
    """The ratio of two values at infinite N, from their paired difference."""
    curve = curve_of([series.as_replicates(), baseline.as_replicates()], [series.nfe, baseline.nfe])
    over = jackknife_of(curve.pseudo[:, 1], curve.sizes)
    if not over.low > 0:
        return None
    gap = jackknife_of(curve.pseudo[:, 0] - curve.pseudo[:, 1], curve.sizes)
    at, low, high = (1 + part / over.estimate for part in (gap.estimate, gap.low, gap.high))
    return Interval(at, gap.se / over.estimate, low, high, gap.blocks)
