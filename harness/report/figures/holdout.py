"""The winner's curse as a figure: each setting's search-time value and its value on fresh seeds, joined by a line."""

from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.report.data import compares_by_factors
from harness.report.figures.axes import Frame, draw_ticks
from harness.report.figures.legend import LegendEntry, marker_entry
from harness.report.figures.search_axes import FRESH, FRESH_LOOK, PRUNED_LOOK, limits
from harness.report.figures.style import INK, LABEL, MUTED, RULE, SURFACE, TICK, plain_style
from harness.report.holdout import HoldoutResult
from harness.report.study import SearchData, sign
from harness.report.text.numbers import significant

WIDTH, ROW, TOP, BOTTOM = 9.4, 0.27, 0.12, 0.5  # inches
LONGEST = 34
"""Letters of a label that are drawn."""

SEARCHED_LOOK = PRUNED_LOOK | {"ms": 5.4, "mec": INK.light}


@plain_style()
def plot(search: SearchData, results: list[HoldoutResult]) -> Axes | None:
    """Draw them in the order of the search-time values; None where the two values are not on one scale."""
    if not search.compares or not any(each.search and each.fresh for each in results):
        return None
    better = sign(search.metric)
    rows = [each for each in results if each.search or each.fresh]
    rows.sort(key=lambda each: (each.search is None, better * (each.search or each.fresh).value))  # type: ignore[union-attr]
    sides = [side for each in rows for side in (each.search, each.fresh) if side]
    values = [side.value for side in sides]
    x, log = limits(values, compares_by_factors(search.metric), better, 0.04)
    if not log:
        x, _ = limits([*values, *(end for side in sides for end in side[1:])], False, better, 0.03)
    height = TOP + ROW * len(rows) + BOTTOM
    left = 0.3 + 0.073 * max(len(_label(each)) for each in rows)
    title = str(search.metric["title"])
    words = "; ".join(f"{each.label}: {_text(each)}" for each in rows)
    figure = Figure(figsize=(WIDTH, height), label=f"{title} on the search seeds and on fresh ones. {words}.")
    box = (left / WIDTH, BOTTOM / height, 1 - (left + 0.2) / WIDTH, ROW * len(rows) / height)
    axes = figure.add_axes(box, xscale="log" if log else "linear", xlim=x, ylim=(len(rows) - 0.5, -0.5))
    draw_ticks(axes, Frame(x, (0, 1), "", x_log=log, counts=False), upright=False)
    if not log:
        axes.xaxis.set_major_locator(MaxNLocator(8))
    sns.despine(ax=axes, left=True)
    axes.grid(True, axis="x", color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(title, fontsize=LABEL, color=MUTED.light, labelpad=3)
    for place, result in enumerate(rows):
        _draw_row(axes, place, result, x)
    return axes


def _draw_row(axes: Axes, place: int, result: HoldoutResult, x: tuple[float, float]) -> None:
    before, after = result.search, result.fresh
    look: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center_baseline"}
    colour = INK.light if result.is_chosen else MUTED.light
    axes.annotate(_label(result), (0, place), xytext=(-8, 0), ha="right", fontsize=TICK, color=colour, **look)
    for side, shift, colour in ((before, 0.14, MUTED.light), (after, -0.14, FRESH.light)):
        if side and side.low == side.low:
            ends = (max(side.low, x[0]), min(side.high, x[1]))
            axes.hlines(place - shift, *ends, color=colour, lw=0.8, alpha=0.5, zorder=2)
    if before and after:
        axes.plot([before.value, after.value], [place] * 2, color=FRESH.light, lw=1.6, alpha=0.7, zorder=3)
    if before:
        axes.plot([before.value], [place], zorder=4, **SEARCHED_LOOK | {"mfc": SURFACE.light})
    if after:
        axes.plot([after.value], [place], zorder=5, **FRESH_LOOK)


def _label(result: HoldoutResult) -> str:
    return result.label if len(result.label) <= LONGEST else f"{result.label[: LONGEST - 1]}…"


def _text(result: HoldoutResult) -> str:
    before, after = (significant(side.value if side else None) for side in (result.search, result.fresh))
    return f"{before} to {after}"


def legend() -> list[LegendEntry]:
    """The signs of both sides."""
    searched = marker_entry("sign-searched", "on the seeds that the search chose by", SEARCHED_LOOK)
    return [searched, marker_entry("sign-fresh", "on fresh seeds", FRESH_LOOK)]
