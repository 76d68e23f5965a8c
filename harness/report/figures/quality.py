"""The figure: a panel for every denoiser, the metric against NFE or another number, one line a series."""

import math
from typing import Any, Literal

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import Curve, Panel
from harness.report.data import Floor, GridData, records
from harness.report.figures import glyphs as marks
from harness.report.figures.axes import Frame, draw_ticks, is_log, label_room, padded, spanned
from harness.report.figures.glyphs import LABEL, TICK
from harness.report.figures.lowest_nfe_strip import draw_strip, row_heights
from harness.report.figures.style import MUTED, RULE, Style
from harness.report.figures.svg import inline
from harness.report.tables.seed_ranges import ends
from harness.report.text.formula import symbols
from harness.report.text.numbers import NONE, evaluations, significant

WIDTH, LEFT, RIGHT = 4.1, 0.42, 0.12  # inches
TOP, MAIN, TICKS, HEADING, BOTTOM = 0.30, 2.6, 0.48, 0.24, 0.06


Upright = Literal["log", "wide", "linear", "share"]
"""Scales of a metric: logarithmic wherever all is above zero; only where that spans decades; linear; from 0 to 1."""


def upright(data: GridData) -> Upright:
    """How a metric's axis is scaled: distances and errors compare by factors, shares and scores by differences."""
    if data.is_share:
        return "share"
    if data.by_factors:
        return "log"
    return "wide" if data.lower_is_better else "linear"


def common_frame(
    panels: list[Panel],
    floor: Floor | None,
    y_title: str,
    x: dict[str, Any] | None = None,
    scale: Upright = "log",
    better: Literal["lower", "higher"] = "lower",
) -> Frame | None:
    """Axes that hold every panel, so that panels compare by eye; None while nothing is done.

    Args:
        panels: what is drawn.
        floor: of the metric, if it has one.
        y_title: name of the metric.
        x: path and title of the horizontal axis; None for NFE.
        scale: of the metric's axis.
        better: which way is better.
    """
    done = [curve.done for panel in panels for curve in panel.curves]
    table = pd.concat(done) if done else pd.DataFrame(columns=["x", "value", "low", "high", "ranges"])
    every = [value for panel in panels for curve in panel.curves for value in curve.trials["x"]]
    bars = [end for line in records(table) for end in ends(line) or ()]
    heights = [*table["value"], *bars, *([floor.mean] if floor else [])]
    counts = x is None or x["path"] == "nfe"
    x_log = counts or is_log(every)
    y_log = is_log(heights) if scale == "wide" else scale == "log" and min(heights, default=0) > 0
    width = padded(every, 0.05) if x_log else spanned(every, 0.04)
    ends_too = [*heights, *table["low"], *table["high"]]
    if scale == "share":  # an interval may pass the ends that a share has; the axis does not
        ends_too = [min(max(value, 0.0), 1.0) for value in ends_too if math.isfinite(value)]
        ends_too += [0.0, 1.0] if len(set(ends_too)) == 1 else []
    height = padded(heights, 0.06) if y_log else spanned(ends_too, 0.06)
    if not (width and height and len(table)):
        return None
    title = {} if counts or x is None else {"x_title": symbols(x["title"])}
    return Frame(width, height, y_title, **title, x_log=x_log, y_log=y_log, counts=counts, better=better)


def panel_svg(panel: Panel, frame: Frame, styles: dict[str, Style], floor: Floor | None, prefix: str) -> str:
    """One panel as inline SVG, with a strip of lowest NFE below it where that rule applies."""
    has_strip = any(curve.lowest or curve.published for curve in panel.curves)
    strip = sum(row_heights(panel)) if has_strip else 0.0
    height = TOP + MAIN + TICKS + (HEADING + strip + BOTTOM if has_strip else 0.0)
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        left = max(LEFT, label_room(frame))
        wide = 1 - (left + RIGHT) / WIDTH
        main = figure.add_axes((left / WIDTH, 1 - (TOP + MAIN) / height, wide, MAIN / height))
        _draw_main(main, panel, frame, styles, floor)
        if has_strip:
            below = figure.add_axes((left / WIDTH, BOTTOM / height, wide, strip / height))
            draw_strip(below, panel, frame, styles)
        return inline(figure, prefix, _words(panel, frame))


def prepare(axes: Axes, frame: Frame) -> None:
    """Scales, limits, ticks, grid and titles."""
    axes.set(xscale="log" if frame.x_log else "linear", yscale="log" if frame.y_log else "linear")
    axes.set(xlim=frame.x, ylim=frame.y)
    draw_ticks(axes, frame)
    sns.despine(ax=axes)
    axes.grid(True, color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(frame.x_title, fontsize=LABEL, color=MUTED.light, labelpad=3)
    axes.text(0, 1 + 0.09 / MAIN, frame.y_title, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)


def _draw_main(axes: Axes, panel: Panel, frame: Frame, styles: dict[str, Style], floor: Floor | None) -> None:
    prepare(axes, frame)
    if floor:
        _draw_floor(axes, frame, floor)
    for order, curve in enumerate(panel.curves):
        (_draw_level if curve.is_level else _draw_curve)(axes, curve, styles[curve.name], frame, 3 + order)


def _draw_level(axes: Axes, curve: Curve, style: Style, frame: Frame, order: int) -> None:
    """A curve without a place on the horizontal axis: a line across with its band."""
    for line in records(curve.done):
        low, high = (line["low"], line["high"]) if line["low"] == line["low"] else (line["value"],) * 2
        axes.axhspan(max(low, frame.y[0]), high, color=style.colour.light, alpha=0.12, lw=0, zorder=order)
        axes.axhline(line["value"], color=style.colour.light, lw=1.2, ls=(0, (5, 2)), zorder=order + 0.5)


def _draw_floor(axes: Axes, frame: Frame, floor: Floor) -> None:
    if floor.mean <= 0:
        return
    marks.floor_band(axes, max(floor.low, frame.y[0]), floor.mean, max(floor.high, frame.y[0]))
    place: Any = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": TICK, "color": MUTED.light}
    axes.annotate(f"floor {significant(floor.mean)}", (frame.x[0], max(floor.mean, floor.high)), **place)


def _draw_curve(axes: Axes, curve: Curve, style: Style, frame: Frame, order: int) -> None:
    done, colour = curve.done, style.colour.light
    failed = curve.trials[curve.trials["status"] == "failed"]["x"]
    low = done["low"].fillna(done["value"]).clip(lower=frame.y[0])
    high = done["high"].fillna(done["value"])
    axes.fill_between(done["x"], low, high, color=colour, alpha=0.16, lw=0, zorder=order)
    axes.plot(done["x"], done["value"], zorder=order + 0.5, **marks.line(style))
    spans = [(line["x"], *found) for line in records(done) if (found := ends(line))]
    if spans:
        x, least, greatest = (list(part) for part in zip(*spans, strict=True))
        marks.bars(axes, x, least, greatest, colour, zorder=order + 0.4)
    if curve.lowest:
        point = curve.lowest.point
        axes.plot([point.nfe] * 2, [point.value, frame.y[0]], color=colour, lw=0.8, ls=(0, (1, 2)), zorder=2)
        marks.ring(axes, point.nfe, point.value, colour)
    marks.cross(axes, list(failed), 0.985, colour, transform=axes.get_xaxis_transform(), clip_on=False)


def _words(panel: Panel, frame: Frame) -> str:
    """The panel for readers who do not see it."""
    parts = []
    for curve in panel.curves:
        if curve.lowest:
            best, point = curve.lowest.best, curve.lowest.point
            parts.append(
                f"{curve.name}: best {significant(best.value)}, within 3 % of it from NFE {evaluations(point.nfe)}"
            )
        elif len(curve.done):
            choose, word = (min, "least") if frame.better == "lower" else (max, "highest")
            best_line = choose(records(curve.done), key=lambda line: line["value"])
            parts.append(f"{curve.name}: {word} {significant(best_line['value'])} at {significant(best_line['x'])}")
        else:
            parts.append(f"{curve.name}: {NONE}")
    axis = "NFE" if frame.counts else frame.x_title
    return f"{frame.y_title} against {axis} for {panel.title}. " + "; ".join(parts) + "."
