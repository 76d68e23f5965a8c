"""Whether the cheap proxy that a search compared by ranks settings as the metric does.

Spearman's rank correlation of the objective's search-time value and the metric's fresh value, with the interval of
Fisher's z and the standard error sqrt((1 + r^2 / 2) / (n - 3)) (Bonett & Wright 2000).
"""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
from scipy.special import ndtri
from scipy.stats import rankdata

from harness.report.data import compares_by_factors
from harness.report.figures.axes import Frame, canvas
from harness.report.figures.search_axes import FRESH_LOOK, dots, limits
from harness.report.figures.style import plain_style
from harness.report.holdout import HoldoutResult
from harness.report.study import PRUNED, SearchData, sign
from harness.report.text.numbers import plural, significant
from harness.report.text.summary import lowered

WIDTH, HEIGHT = 5.6, 3.2  # inches
FEWEST = 4
"""Settings below which no correlation is told."""


class RankCorrelation(NamedTuple):
    """Spearman's coefficient, oriented so that 1 is perfect agreement on what is better; NaN ends for no interval."""

    r: float
    low: float
    high: float
    n: int


def spearman(x: list[float], y: list[float]) -> RankCorrelation | None:
    """None with fewer than `FEWEST` pairs or where one side is constant."""
    n = len(x)
    a, b = rankdata(x), rankdata(y)
    if n < FEWEST or not (a.std() and b.std()):
        return None
    r = float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))
    r = max(-1.0, min(1.0, round(r, 12)))
    if abs(r) == 1:
        return RankCorrelation(r, math.nan, math.nan, n)
    reach = float(ndtri(0.975)) * math.sqrt((1 + r * r / 2) / (n - 3))
    z = math.atanh(r)
    return RankCorrelation(r, math.tanh(z - reach), math.tanh(z + reach), n)


def agreement(search: SearchData, results: list[HoldoutResult]) -> str:
    """The correlation in words."""
    used = [each for each in results if each.is_chosen and each.search and each.fresh]
    pairs = _pairs(results)
    one, other = (lowered(str(each["title"])) for each in (search.objective, search.metric))
    both = search.sign * sign(search.metric)
    correlation = spearman([x for x, _ in pairs], [both * y for _, y in pairs])
    if correlation is None:
        return (
            f"The search compared by {one}, and {plural(len(used), 'setting')} that it chose have both that and "
            f"{other} on fresh seeds: too few, or too much alike, for a rank correlation."
        )
    ends = "no interval: all ranks agree, and the formula then gives none"
    if correlation.low == correlation.low:
        ends = f"95 % interval {significant(correlation.low, 2)} to {significant(correlation.high, 2)}, by Fisher’s z"
    aside = " A negative value would mean that they rank the opposite way." if correlation.r < 0 else ""
    trials = [search.by_number.get(each.number) for each in used if each.number is not None]
    pruned = sum(trial is not None and trial.status == PRUNED for trial in trials)
    if pruned:
        aside += (
            f" Of {plural(pruned, 'setting that was pruned', 'settings that were pruned')} the search-time value is "
            "the estimate by the paired difference from the rival."
        )
    return (
        f"The search compared by {one}, a proxy. Over {plural(correlation.n, 'setting')} that it chose, best ones and "
        f"others along the ranking, Spearman’s rank correlation of its search-time {one} with {other} on fresh seeds "
        f"is {significant(correlation.r, 2)} ({ends}); 1 would mean that both rank settings alike.{aside}"
    )


def _pairs(results: list[HoldoutResult]) -> list[tuple[float, float]]:
    """Search-time value and value on fresh seeds of what the search chose."""
    return [(each.search.value, each.fresh.value) for each in results if each.is_chosen and each.search and each.fresh]


@plain_style()
def plot(search: SearchData, results: list[HoldoutResult]) -> Axes | None:
    """One value against the other; None with fewer than two settings that have both."""
    pairs = _pairs(results)
    if len(pairs) < 2:
        return None
    x, x_log = limits([pair[0] for pair in pairs], search.by_factors, -1)
    y, y_log = limits([pair[1] for pair in pairs], compares_by_factors(search.metric), -1)
    one, other = search.objective["title"], search.metric["title"]
    titles = f"{other}, on fresh seeds", f"{one}, on the search seeds"
    axes = canvas(frame := Frame(x, y, *titles, x_log=x_log, y_log=y_log, counts=False), WIDTH, HEIGHT, right=0.14)
    dots(axes, pairs, FRESH_LOOK, frame, zorder=2)
    axes.figure.set_label(f"{other} against {one}, {plural(len(pairs), 'setting')}.")
    return axes
