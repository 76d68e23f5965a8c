"""Whether the cheap proxy that a search compared by ranks settings as the metric does.

Spearman's rank correlation of the objective's search-time value and the metric's fresh value, with the interval of
Fisher's z and the standard error sqrt((1 + r^2 / 2) / (n - 3)) (Bonett & Wright 2000).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri
from scipy.stats import rankdata

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import Frame
from harness.report.holdout import Final
from harness.report.study import PRUNED, Search, by_factors, sign
from harness.report.text.numbers import plural, significant
from harness.report.text.summary import lowered

WIDTH, HEIGHT = 5.6, 3.2  # inches
FEWEST = 4
"""Settings below which no correlation is told."""


class Proxy(NamedTuple):
    """The correlation in words, and the scatter ("" where there is too little)."""

    words: str
    svg: str


class Correlation(NamedTuple):
    """Spearman's coefficient, oriented so that 1 is perfect agreement on what is better; NaN ends for no interval."""

    r: float
    low: float
    high: float
    n: int


def spearman(x: list[float], y: list[float]) -> Correlation | None:
    """None with fewer than `FEWEST` pairs or where one side is constant."""
    n = len(x)
    a, b = rankdata(x), rankdata(y)
    if n < FEWEST or not (a.std() and b.std()):
        return None
    r = float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))
    r = max(-1.0, min(1.0, round(r, 12)))
    if abs(r) == 1:
        return Correlation(r, math.nan, math.nan, n)
    reach = float(ndtri(0.975)) * math.sqrt((1 + r * r / 2) / (n - 3))
    z = math.atanh(r)
    return Correlation(r, math.tanh(z - reach), math.tanh(z + reach), n)


def proxy(search: Search, found: list[Final], prefix: str = "proxy") -> Proxy | None:
    """None where the search compared by the metric itself."""
    if not search.is_proxy:
        return None
    used = [(each, each.search, each.fresh) for each in found if each.is_found and each.search and each.fresh]
    x = [before.value for _, before, _ in used if before]
    y = [after.value for _, _, after in used if after]
    one, other = (lowered(str(each["title"])) for each in (search.objective, search.metric))
    both = sign(search.objective) * sign(search.metric)
    correlation = spearman(x, [both * value for value in y])
    if correlation is None:
        return Proxy(
            f"The search compared by {one}, and {plural(len(used), 'setting')} that it chose have both that and "
            f"{other} on fresh seeds: too few, or too much alike, for a rank correlation.",
            _draw(search, used, prefix) if len(used) > 1 else "",
        )
    ends = (
        f"95 % interval {significant(correlation.low, 2)} to {significant(correlation.high, 2)}, by Fisher’s z"
        if correlation.low == correlation.low
        else "no interval: all ranks agree, and the formula then gives none"
    )
    pruned = sum(each.number is not None and _is_pruned(search, each.number) for each, _, _ in used)
    guessed = (
        f" Of {plural(pruned, 'setting that was pruned', 'settings that were pruned')} the search-time value is the "
        "estimate by the paired difference from the rival."
        if pruned
        else ""
    )
    aside = " A negative value would mean that they rank the opposite way." if correlation.r < 0 else ""
    told = (
        f"The search compared by {one}, a proxy. Over {plural(correlation.n, 'setting')} that it chose, best ones and "
        f"others along the ranking, Spearman’s rank correlation of its search-time {one} with {other} on fresh seeds "
        f"is {significant(correlation.r, 2)} ({ends}); 1 would mean that both rank settings alike.{aside}{guessed}"
    )
    return Proxy(told, _draw(search, used, prefix))


def _is_pruned(search: Search, number: int) -> bool:
    slot = search.by_number.get(number)
    return slot is not None and slot.status == PRUNED


def _draw(search: Search, used: Sequence[tuple[Final, object, object]], prefix: str) -> str:
    pairs = [(each, each.search.value, each.fresh.value) for each, _, _ in used if each.search and each.fresh]
    x, x_log = draw.limits([pair[1] for pair in pairs], by_factors(search.objective), -1)
    y, y_log = draw.limits([pair[2] for pair in pairs], by_factors(search.metric), -1)
    title = f"{search.objective['title']}, on the search seeds"
    frame = Frame(x, y, f"{search.metric['title']}, on fresh seeds", title, x_log=x_log, y_log=y_log, counts=False)
    with marks.plain_style():
        figure, axes = draw.canvas(frame, WIDTH, HEIGHT)
        inside = [pair for pair in pairs if x[0] <= pair[1] <= x[1] and y[0] <= pair[2] <= y[1]]
        axes.plot([pair[1] for pair in inside], [pair[2] for pair in inside], **draw.FRESH_LOOK)
        label = f"{search.metric['title']} against {search.objective['title']}, {plural(len(pairs), 'setting')}."
        return draw.finish(figure, prefix, label)
