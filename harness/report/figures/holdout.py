"""The winner's curse as a figure: each setting's search-time value and its value on fresh seeds, joined by a line."""

from typing import Any, NamedTuple

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import log_ticks, plain
from harness.report.figures.glyphs import LABEL, TICK
from harness.report.figures.legend import Sign
from harness.report.figures.style import INK, MUTED, RULE
from harness.report.holdout import Final
from harness.report.study import Search, Value, by_factors, sign
from harness.report.text.numbers import significant

WIDTH, ROW, TOP, BOTTOM = 9.4, 0.27, 0.12, 0.5  # inches
LONGEST = 34
"""Letters of a label that are drawn."""


class Moves(NamedTuple):
    """The figure and its legend."""

    svg: str
    signs: list[Sign]


def moves(search: Search, found: list[Final], prefix: str = "moves") -> Moves | None:
    """Draw them in the order of the search-time values; None where the two values are not on one scale."""
    if not search.compares:
        return None
    rows = [(each, each.search, each.fresh) for each in found if each.search or each.fresh]
    if not any(before and after for _, before, after in rows):
        return None
    better = sign(search.metric)
    rows.sort(key=lambda row: (row[1] is None, better * (row[1] or row[2]).value))  # type: ignore[union-attr]
    values = [side.value for _, *sides in rows for side in sides if isinstance(side, Value)]
    ends = [end for _, *sides in rows for side in sides if isinstance(side, Value) for end in (side.low, side.high)]
    x, log = draw.limits(values, by_factors(search.metric), better, 0.04)
    if not log:
        x, _ = draw.limits([*values, *ends], False, better, 0.03)
    height = TOP + ROW * len(rows) + BOTTOM
    left = 0.3 + 0.073 * max(len(_label(each)) for each, _, _ in rows)
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        box = (left / WIDTH, BOTTOM / height, 1 - (left + 0.2) / WIDTH, ROW * len(rows) / height)
        axes = figure.add_axes(box, xlim=x, ylim=(len(rows) - 0.5, -0.5), xscale="log" if log else "linear")
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(*x, most=9)) if log else MaxNLocator(8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
        axes.set_yticks([])
        sns.despine(ax=axes, left=True)
        axes.grid(True, axis="x", color=RULE.light, lw=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(length=2.5, width=0.7, pad=2)
        axes.set_xlabel(str(search.metric["title"]), fontsize=LABEL, color=MUTED.light, labelpad=3)
        for place, (final, before, after) in enumerate(rows):
            _row(axes, place, final, before, after, x)
        words = "; ".join(f"{each.label}: {_went(before, after)}" for each, before, after in rows)
        svg = draw.finish(figure, prefix, f"{search.metric['title']} on the search seeds and on fresh ones. {words}.")
    return Moves(svg, _signs())


def _row(
    axes: Any, place: int, final: Final, before: Value | None, after: Value | None, x: tuple[float, float]
) -> None:
    axes.annotate(
        _label(final),
        (0, place),
        xycoords=("axes fraction", "data"),
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
        va="center_baseline",
        fontsize=TICK,
        color=INK.light if final.is_found else MUTED.light,
    )
    for side, shift, colour in ((before, 0.14, MUTED.light), (after, -0.14, draw.FRESH.light)):
        if side and side.low == side.low:
            ends = (max(side.low, x[0]), min(side.high, x[1]))
            axes.hlines(place - shift, *ends, color=colour, lw=0.8, alpha=0.5, zorder=2)
    if before and after:
        axes.plot([before.value, after.value], [place] * 2, color=draw.FRESH.light, lw=1.6, alpha=0.7, zorder=3)
    if before:
        axes.plot(
            [before.value], [place], zorder=4, **draw.PRUNED_LOOK | {"ms": 5.4, "mec": INK.light, "mfc": "#fefefe"}
        )
    if after:
        axes.plot([after.value], [place], zorder=5, **draw.FRESH_LOOK)


def _label(final: Final) -> str:
    return final.label if len(final.label) <= LONGEST else f"{final.label[: LONGEST - 1]}…"


def _went(before: Value | None, after: Value | None) -> str:
    return f"{significant(before.value if before else None)} to {significant(after.value if after else None)}"


def _signs() -> list[Sign]:
    return [
        draw.dot_sign(
            "searched", "on the seeds that the search chose by", draw.PRUNED_LOOK | {"ms": 5.4, "mec": INK.light}
        ),
        draw.dot_sign("fresh", "on fresh seeds", draw.FRESH_LOOK),
    ]
