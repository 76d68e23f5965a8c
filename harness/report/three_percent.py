"""The paper's rule for a curve's cost, and speed-ups, with what the seeds can tell about them.

A curve is the metric FD against NFE for one series. Its cost is the lowest NFE at which FD is within 3 % of the curve's
own best (Karras et al. 2022, Figure 2). With few samples that choice is itself uncertain. For each point i and the best
b, the statistic FD_i - 1.03 FD_b has a paired jackknife interval over blocks of seeds:
a point is `within` or `beyond` where the interval leaves out zero, else `undecided`. The cost's range runs from the
lowest NFE that is not beyond to the lowest NFE that is within; the best itself always counts as within.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness.metrics.statistics.jackknife import Interval, Replicates, compare, within_best

FACTOR = 1.03
"""Within 3 % of the best."""

Verdict = Literal["within", "beyond", "undecided"]


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
        sizes = np.diff([*self.blocks, self.end]) if self.blocks else np.empty(0, dtype=int)
        return Replicates(self.value, np.array(self.replicates, dtype=float), sizes)

    def pairs_with(self, other: "CurvePoint") -> bool:
        """Whether both were measured on the same blocks of seeds, at least two."""
        same = (self.blocks, self.end) == (other.blocks, other.end)
        return same and len(self.blocks) == len(self.replicates) == len(other.replicates) >= 2


class Lowest(NamedTuple):
    """The lowest NFE within 3 % of a curve's best.

    Args:
        best: the point with the lowest value; of equals the one with the lowest NFE.
        point: the point with the lowest NFE whose value is within 3 % of it.
        low: lowest NFE that is not decidedly beyond 3 %.
        high: lowest NFE that is decidedly within 3 %.
        verdicts: by fingerprint, for every point of the curve.
        is_last: the best is the curve's last point and no other is within 3 %: more NFE might lower the best.
    """

    best: CurvePoint
    point: CurvePoint
    low: float
    high: float
    verdicts: dict[str, Verdict]
    is_last: bool


class SpeedUp(NamedTuple):
    """How many times fewer evaluations a series needs than the baseline, each to within 3 % of its own best.

    Args:
        ratio: NFE of the baseline over NFE of the series.
        low, high: what the ranges of both allow.
        verdict: `faster` or `slower` where 1 lies outside low to high.
        quality: the series' best value over the baseline's; None where seeds are not paired.
    """

    ratio: float
    low: float
    high: float
    verdict: Literal["faster", "slower", "undecided"]
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
    curve = sorted(points, key=lambda point: (point.nfe, point.value))
    best = min(curve, key=lambda point: point.value)
    verdicts = [_verdict(point, best, factor) for point in curve]
    near = [point for point in curve if point is best or point.value <= factor * best.value]
    return Lowest(
        best=best,
        point=near[0],
        low=next(point.nfe for point, verdict in zip(curve, verdicts, strict=True) if verdict != "beyond"),
        high=next(point.nfe for point, verdict in zip(curve, verdicts, strict=True) if verdict == "within"),
        verdicts={point.fingerprint: verdict for point, verdict in zip(curve, verdicts, strict=True)},
        is_last=len(curve) > 1 and best.nfe == curve[-1].nfe and near[0].nfe == best.nfe,
    )


def speed_up(baseline: Lowest, series: Lowest) -> SpeedUp:
    """Compare the costs of two curves. A decided verdict says only that 1 lies outside the range."""
    low, high = baseline.low / series.high, baseline.high / series.low
    verdict: Literal["faster", "slower", "undecided"] = "faster" if low > 1 else "slower" if high < 1 else "undecided"
    return SpeedUp(baseline.point.nfe / series.point.nfe, low, high, verdict, _quality(series.best, baseline.best))


def _verdict(point: CurvePoint, best: CurvePoint, factor: float) -> Verdict:
    if point is best:
        return "within"
    if not point.pairs_with(best):
        return "undecided"
    return within_best([best.as_replicates(), point.as_replicates()], factor)[1].verdict


def _quality(series: CurvePoint, baseline: CurvePoint) -> Interval | None:
    return compare(series.as_replicates(), baseline.as_replicates()).ratio if series.pairs_with(baseline) else None
