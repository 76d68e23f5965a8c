"""Rules that pick a point of a curve, and how sure their outcome is.

A curve is a metric against cost, say FID against NFE, by one sampler on g blocks of seeds. A rule picks a cost from it:
the lowest NFE within 3 % of the curve's best (Karras et al. 2022, Figure 2), or the NFE at which the curve comes within
3 % of its end. Two things make such a pick hang on the number of images N rather than on the sampler:

* A Frechet distance of N images is too large by about c / N. The rules therefore work on the jackknife's estimate at
  infinite N, the mean of the pseudo-values tau_j = h_j theta - (h_j - 1) theta_(j) (`harness.metrics.statistics.
  jackknife`), which is free of that term.
* Noise. The interval is one of the rule's outcome: the blocks' vectors of pseudo-values, one number for each point of
  the curve, are drawn with replacement, and the whole rule is applied to each drawn mean. The mean's deviations are
  widened by sqrt(g / (g - 1)), which a mean of g draws lacks, and by sqrt((g - 1) / chi^2_(g-1)), which makes them
  Student's t. Blocks are never merged anew: a block that is drawn twice would bring the 1/N bias back.

The lowest of several noisy numbers lies below the lowest true one, on average by as much as the lowest of a drawn mean
lies below that of the mean itself. `Resampled.luck` is that amount, d. The best of a curve counts as min v + d, and in
a drawn mean, where luck has struck twice, as min v* + 2 d.

Draws depend on nothing but g and the sizes of the blocks. Curves on the same blocks are therefore drawn alike, and what
their seeds share cancels in a ratio of their costs. How often the intervals hold the truth, and how narrow they are, is
measured by `python -m benchmarks.decisions`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.metrics.statistics.jackknife import CONFIDENCE, Replicates, jackknife_of, pseudo_values, shares_of

FACTOR = 1.03
"""Within 3 % of the best."""

LEAST_BLOCKS = 12
"""Blocks of seeds below which no outcome has an interval: Student's t knows their scatter too badly."""

LEAST_POINTS = 3
"""Points of a curve below which no rule is asked of it."""

DRAWS = 4000
"""Drawn means."""

CHOSEN = 0.90
"""Probability that the range of a point picked from a curve is to hold: it is a few points wide, so more is held."""

EITHER = "the seeds allow either to cost less"
"""Why a ratio of costs is undecided whose range holds 1."""

MAY_BE_ZERO = "may be 0"
"""Of a value whose interval reaches 0: 3 % of it says nothing."""

NEIGHBOURS = 2
"""Points that a range may span for its rule to be decided."""


class Curve(NamedTuple):
    """A metric against cost on blocks of seeds; lower is better.

    Args:
        costs: [k] ascending, say NFE.
        pseudo: [g, k] jackknife pseudo-values, a row a block.
        sizes: [g] samples in each block.
    """

    costs: np.ndarray
    pseudo: np.ndarray
    sizes: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """[k] the metric at infinitely many samples."""
        return shares_of(self.sizes) @ self.pseudo


class Outcome(NamedTuple):
    """What a rule picks, and what the seeds leave open.

    Args:
        cost: what it picks from the estimates; None for a curve of too few points.
        low, high: where the outcome lies with the rule's probability; None without one.
        is_least: the true cost may be any above `high`, since it is the curve's end that cuts it off.
        shares: [k] how often each point was the outcome; empty for one that lies between points.
        drawn: [draws] the outcomes.
        undecided: why no answer follows; "" for a decided outcome.
    """

    cost: float | None
    low: float | None
    high: float | None
    is_least: bool
    shares: np.ndarray
    drawn: np.ndarray
    undecided: str


class Ratio(NamedTuple):
    """How many times less one curve costs than another.

    Args:
        ratio: the other's cost over this one's.
        low, high: where it lies with the rule's probability; None without blocks. `high` is infinite where the other
            curve's end cuts its cost off, and `low` is 0 where this one's does.
        undecided: why no answer follows; "" where 1 lies outside of the range.
    """

    ratio: float | None
    low: float | None
    high: float | None
    undecided: str


class Power(NamedTuple):
    """Whether a curve's seeds can tell points apart that differ by the rule's margin.

    Args:
        ratio: (factor - 1) times the best value, over the standard error of a point's difference from the best.
        samples: how many samples would make that ratio 2.
    """

    ratio: float
    samples: float


def curve_of(points: Sequence[Replicates], costs: Sequence[float]) -> Curve:
    """A curve from the replicates of its points.

    Args:
        points: of the same blocks of seeds.
        costs: of the points, ascending.

    Raises:
        InputError: blocks of unequal sizes, or points without replicates.
    """
    sizes = points[0].sizes
    for point in points:
        if not np.array_equal(point.sizes, sizes) or len(point.left_out) != len(sizes):
            raise InputError("the points of a curve need replicates over the same blocks of seeds")
    return Curve(np.asarray(costs, dtype=float), np.stack([pseudo_values(point) for point in points], 1), sizes)


def lowest_within(curve: Curve, factor: float = FACTOR, confidence: float = CHOSEN) -> Outcome:
    """The lowest cost whose value is at most `factor` times the curve's best.

    Where the best lies at the curve's end, what more cost would give is not known, so the outcome is "at least".

    Args:
        curve: at least 3 points and 12 blocks, or the outcome is undecided and says so.
        factor: 1.03 means within 3 %.
        confidence: of the range.
    """
    if why := _too_little(curve):
        return _without_range(curve, why, lambda values: curve.costs[_first_within(values, values.min(1), factor)])
    drawn = Resampled.of(curve)
    best = drawn.values.min()
    picked = int(_first_within(drawn.values[None], np.array([best + drawn.luck]), factor)[0])
    outcomes = _first_within(drawn.means, drawn.means.min(1) + 2 * drawn.luck, factor)
    counts = np.bincount(outcomes, minlength=len(curve.costs)) / len(outcomes)
    low, high = (int(np.searchsorted(np.cumsum(counts), q - 1e-12)) for q in _tails(confidence))
    why = ""
    if not drawn.is_above_zero(int(drawn.values.argmin())):
        why = f"the best {MAY_BE_ZERO}"
    elif high - low + 1 > NEIGHBOURS:
        why = f"{high - low + 1} points left open"
    return Outcome(
        cost=float(curve.costs[picked]),
        low=float(curve.costs[low]),
        high=float(curve.costs[high]),
        is_least=high == len(curve.costs) - 1,
        shares=counts,
        drawn=curve.costs[outcomes],
        undecided=why,
    )


def crossing(curve: Curve, factor: float = FACTOR, confidence: float = CONFIDENCE) -> Outcome:
    """The cost from which on the curve, interpolated in log cost, stays within `factor` of its end.

    It does not hang on the luckiest point. A curve that still falls by more than that over its last interval has not
    converged, and its outcome is "at least".

    Args:
        curve: at least 3 points and 12 blocks, or the outcome is undecided and says so.
        factor: 1.03 means within 3 %.
        confidence: of the range.
    """
    logs = np.log(curve.costs)
    if why := _too_little(curve):
        return _without_range(curve, why, lambda values: np.exp(_last_crossing(values, logs, factor)))
    drawn = Resampled.of(curve)
    cost = float(np.exp(_last_crossing(drawn.values[None], logs, factor)[0]))
    outcomes = np.exp(_last_crossing(drawn.means, logs, factor))
    low, high = (float(value) for value in np.quantile(outcomes, _tails(confidence)))
    why = ""
    if not drawn.is_above_zero(-1):
        why = f"the end {MAY_BE_ZERO}"
    return Outcome(cost, low, high, bool(high > curve.costs[-2]), np.empty(0), outcomes, why)


def cost_ratio(other: Outcome, this: Outcome, confidence: float = CHOSEN) -> Ratio:
    """How many times less `this` costs than `other`, draw by draw, so that what curves on the same seeds share cancels.

    Args:
        other, this: outcomes of one rule, of curves on the same blocks of seeds.
        confidence: of the range.
    """
    if other.cost is None or this.cost is None:
        return Ratio(None, None, None, other.undecided or this.undecided)
    if not (len(other.drawn) and len(this.drawn)):
        return Ratio(other.cost / this.cost, None, None, other.undecided or this.undecided)
    low, high = np.quantile(other.drawn / this.drawn, _tails(confidence), method="inverted_cdf")
    low, high = 0.0 if this.is_least else float(low), math.inf if other.is_least else float(high)
    why = next((outcome.undecided for outcome in (other, this) if MAY_BE_ZERO in outcome.undecided), "")
    if not why and low <= 1 <= high:
        why = EITHER
    return Ratio(other.cost / this.cost, low, high, why)


def power(curve: Curve, factor: float = FACTOR) -> Power | None:
    """Whether points can be told apart that differ by `factor`; None where the rule cannot be asked.

    The scatter is the median over the points of the standard error of their paired difference from the best one.
    """
    if _too_little(curve):
        return None
    values, best = curve.values, int(curve.values.argmin())
    errors = [
        jackknife_of(curve.pseudo[:, index] - curve.pseudo[:, best], curve.sizes).se
        for index in range(len(values))
        if index != best
    ]
    margin, scatter = (factor - 1) * float(values[best]), float(np.median(errors))
    if scatter == 0:
        return Power(math.inf if margin > 0 else 0.0, 0.0)
    ratio = max(margin, 0.0) / scatter
    n = float(curve.sizes.sum())
    return Power(ratio, n * (2 / ratio) ** 2 if ratio > 0 else math.inf)


class Resampled(NamedTuple):
    """A curve's estimates and drawn means.

    Args:
        curve: it.
        values: [k] estimates.
        means: [draws, k] drawn means.
        luck: by how much the lowest of a drawn mean lies below the lowest estimate, on average.
    """

    curve: Curve
    values: np.ndarray
    means: np.ndarray
    luck: float

    @classmethod
    def of(cls, curve: Curve, draws: int = DRAWS) -> "Resampled":
        """Draw the means of a curve; the same draws for all curves on the same blocks."""
        g, values = len(curve.sizes), curve.values
        rng = np.random.default_rng([g, *curve.sizes.tolist()])
        counts = rng.multinomial(g, shares_of(curve.sizes), size=draws) / g
        # sqrt(g / (g - 1)), times sqrt((g - 1) / chi^2) for Student's t
        widen = np.sqrt(g / rng.chisquare(g - 1, size=(draws, 1)))
        means = values + widen * (counts @ (curve.pseudo - values))
        return cls(curve, values, means, float(values.min() - means.min(1).mean()))

    def is_above_zero(self, index: int) -> bool:
        """Whether the interval of a point's estimate lies above 0."""
        return jackknife_of(self.curve.pseudo[:, index], self.curve.sizes).low > 0


def _first_within(values: np.ndarray, best: np.ndarray, factor: float) -> np.ndarray:
    """The first point [draws] of each row [draws, k] within a factor of the row's best; its lowest where none is."""
    near = values <= factor * best[:, None]
    return np.where(near.any(1) & (best > 0), near.argmax(1), values.argmin(1))


def _last_crossing(values: np.ndarray, logs: np.ndarray, factor: float) -> np.ndarray:
    """Log cost [draws] at which each row [draws, k] comes within a factor of its last number, to stay."""
    goal = factor * values[:, -1:]
    above = values > goal
    last = np.where(above.any(1), values.shape[1] - 1 - above[:, ::-1].argmax(1), -1)
    rows, left = np.arange(len(values)), last.clip(0, values.shape[1] - 2)
    high, low = values[rows, left], values[rows, left + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        way = ((high - goal[:, 0]) / (high - low)).clip(0, 1)
    at = logs[left] + way * (logs[left + 1] - logs[left])
    at = np.where(last == values.shape[1] - 1, logs[-1], at)  # an end below zero, which is above 1.03 times itself
    return np.where(last < 0, logs[0], at)


def _too_little(curve: Curve) -> str:
    if len(curve.costs) < LEAST_POINTS:
        return f"the rule needs {LEAST_POINTS} points, and there are {len(curve.costs)}"
    if len(curve.sizes) < LEAST_BLOCKS:
        return f"{len(curve.sizes)} blocks of seeds are too few for an interval; it takes {LEAST_BLOCKS}"
    return ""


def _without_range(curve: Curve, why: str, pick: Callable[[np.ndarray], np.ndarray]) -> Outcome:
    """What a rule picks where too little is known for a range; nothing of too few points."""
    cost = float(pick(curve.values[None])[0]) if len(curve.costs) >= LEAST_POINTS else None
    return Outcome(cost, None, None, False, np.empty(0), np.empty(0), why)


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
