"""A metric against NFE or another number, one line a series; under the 3 % rule, with the lowest-NFE strip below.

The strip shares the panel's NFE axis: the lowest NFE within 3 % of each curve's best, with its range, and the paper's.
The paper's FIDs are mostly of other networks on another scale: they stand there as numbers, and only their NFE is
drawn, as hollow diamonds.
"""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import CurvePanel, SeriesCurve, panels
from harness.report.data import FloorBand, GridData
from harness.report.figures.axes import (
    LEFT,
    MAIN,
    RIGHT,
    TICKS,
    TOP,
    Frame,
    draw_ticks,
    is_log,
    label_room,
    padded,
    prepare,
    spanned,
)
from harness.report.figures.legend import cross, diamond, floor_band, range_bars, ring
from harness.report.figures.style import FLOOR, LABEL, MUTED, RULE, TICK, Style, plain_style, styles
from harness.report.figures.svg import SAYS
from harness.report.text.formula import symbols
from harness.report.text.numbers import NONE, evaluations, plural, significant

WIDTH, HEADING, BOTTOM, ROW, ROW_WITH_PAPER = 4.1, 0.24, 0.06, 0.25, 0.42  # inches
MANY = 6
"""Curves of a panel above which only the best are drawn in full."""

NAMED = 3
"""How many those are."""

FOLDED = 24
"""Curves of a panel above which strip and words have those that are drawn in full alone."""

STRIP = "Lowest NFE within 3 % of the best, and its range"


def common_frame(data: GridData, panels: list[CurvePanel]) -> Frame | None:
    """Axes that hold every panel, so that panels compare by eye; None while nothing is done.

    Distances and errors compare by factors, so their axis is logarithmic wherever all is above zero; that of other
    metrics that fall is where they span decades. Scores have a linear axis, and shares one within 0 and 1.
    """
    curves = [curve for panel in panels for curve in panel.curves]
    done = [trial for curve in curves for trial in curve.done]
    places = [trial.x for curve in curves for trial in curve.trials]
    bars = [end for trial in done for end in trial.range_ends or ()]
    heights = [*(trial.value for trial in done), *bars, *([data.floor.mean] if data.floor else [])]
    ends = [*heights, *(trial.low for trial in done), *(trial.high for trial in done)]
    if data.is_share:
        y_log = False
        ends = [
            min(max(end, 0.0), 1.0) for end in ends if math.isfinite(end)
        ]  # an interval may pass what a share can be
        ends += [0.0, 1.0] if len(set(ends)) == 1 else []
    elif data.by_factors:
        y_log = min(heights, default=0) > 0
    else:
        y_log = data.lower_is_better and is_log(heights)
    x_log = data.against_nfe or is_log(places)
    x = padded(places, 0.05) if x_log else spanned(places, 0.04)
    y = padded(heights, 0.06) if y_log else spanned(ends, 0.06)
    if not (x and y and done):
        return None
    title = {} if data.against_nfe else {"x_title": symbols(data.plan["x"]["title"])}
    better: Any = "lower" if data.lower_is_better else "higher"
    return Frame(x, y, data.title, **title, x_log=x_log, y_log=y_log, counts=data.against_nfe, better=better)


@plain_style()
def plot(
    data: GridData,
    panel: CurvePanel | None = None,
    frame: Frame | None = None,
    looks: Mapping[str, Style] | None = None,
) -> Axes:
    """Draw one panel; where the 3 % rule applies, the strip is the second axes of the figure.

    Args:
        data: the grid under one metric.
        panel: one of its panels; the first by default.
        frame: the axes that all panels share; those of all panels by default.
        looks: of the series by name; those of the report by default.

    Raises:
        ValueError: nothing is done yet.
    """
    every = panels(data)
    panel, frame, looks = panel or every[0], frame or common_frame(data, every), looks or styles(data.plan["series"])
    if frame is None:
        raise ValueError(f"{data.title}: no trial is done yet, so there is nothing to draw")
    named = leading(panel, data.lower_is_better)
    told = [curve for curve in panel.curves if curve.name in named or len(panel.curves) <= FOLDED]
    rows = [ROW_WITH_PAPER if curve.published else ROW for curve in told]
    has_strip = any(curve.lowest or curve.published for curve in told)
    height = TOP + MAIN + TICKS + (HEADING + sum(rows) + BOTTOM if has_strip else 0.0)
    figure = Figure(figsize=(WIDTH, height), label=_words(panel, frame, told))
    left = max(LEFT, label_room(frame))
    wide = 1 - (left + RIGHT) / WIDTH
    axes = figure.add_axes((left / WIDTH, 1 - (TOP + MAIN) / height, wide, MAIN / height))
    prepare(axes, frame)
    if data.floor:
        _draw_floor(axes, frame, data.floor)
    for order, curve in enumerate(panel.curves):
        if curve.is_level:
            _draw_level(axes, curve, looks[curve.name], frame, 3 + order)
        elif curve.name in named:
            _draw_curve(axes, curve, looks[curve.name], frame, 3 + order + len(panel.curves))
        else:
            _draw_muted(axes, curve, 3 + order)
    if len(named) < len(panel.curves):
        _name_lines(axes, [curve for curve in panel.curves if curve.name in named and curve.done], looks, frame)
    if has_strip:
        below = figure.add_axes((left / WIDTH, BOTTOM / height, wide, sum(rows) / height))
        _draw_strip(below, told, frame, looks, rows)
    return axes


def leading(panel: CurvePanel, lower_is_better: bool) -> set[str]:
    """The curves that are drawn in full: all of a few; of many the best, the baseline and ours.

    The best have the best rank on average over all places; a curve counts there with its last point so far.
    """
    if len(panel.curves) <= MANY:
        return {curve.name for curve in panel.curves}
    sign, done = 1 if lower_is_better else -1, [curve for curve in panel.curves if curve.done]
    ranks = dict.fromkeys((curve.name for curve in done), 0)
    for x in {trial.x for curve in done for trial in curve.done}:
        so_far = {curve.name: [sign * trial.value for trial in curve.done if trial.x <= x] for curve in done}
        last = {name: values[-1] if values else math.inf for name, values in so_far.items()}
        for name, value in last.items():
            ranks[name] += sum(other < value for other in last.values())
    best = sorted(ranks, key=lambda name: ranks[name])[:NAMED]
    return {*best, *(curve.name for curve in (panel.baseline, panel.ours) if curve)}


def _draw_muted(axes: Axes, curve: SeriesCurve, order: int) -> None:
    """A curve among many: a thin grey line that says its name to whoever points at it."""
    (line,) = axes.plot([trial.x for trial in curve.done], [trial.value for trial in curve.done], zorder=order)
    line.set(color=FLOOR.light, lw=1.0, alpha=0.55, gid=f"{SAYS}{curve.name}")


def _name_lines(axes: Axes, curves: list[SeriesCurve], looks: Mapping[str, Style], frame: Frame) -> None:
    """The names of curves inside the panel, at its right, in the order of their last points."""
    ordered = sorted(curves, key=lambda curve: curve.done[-1].value, reverse=True)
    for place, curve in enumerate(ordered):
        look: Any = {"fontsize": TICK, "color": looks[curve.name].colour.light, "ha": "right", "va": "top"}
        at = 0.985 - 0.075 * place
        axes.text(0.985, at, curve.name, transform=axes.transAxes, zorder=100, **look)


def _draw_level(axes: Axes, curve: SeriesCurve, style: Style, frame: Frame, order: int) -> None:
    """A curve without a place on the horizontal axis: a line across with its band."""
    for trial in curve.done:
        low, high = (trial.value,) * 2 if math.isnan(trial.low) else (trial.low, trial.high)
        axes.axhspan(max(low, frame.y[0]), high, color=style.colour.light, alpha=0.12, lw=0, zorder=order)
        axes.axhline(trial.value, color=style.colour.light, lw=1.2, ls=(0, (5, 2)), zorder=order + 0.5)


def _draw_floor(axes: Axes, frame: Frame, floor: FloorBand) -> None:
    if frame.y_log and floor.mean <= 0:
        return
    floor_band(axes, max(floor.low, frame.y[0]), floor.mean, max(floor.high, frame.y[0]))
    place: Any = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": TICK, "color": MUTED.light}
    axes.annotate(f"perfect {significant(floor.mean)}", (frame.x[0], max(floor.mean, floor.high)), **place)


def _draw_curve(axes: Axes, curve: SeriesCurve, style: Style, frame: Frame, order: int) -> None:
    done, colour = curve.done, style.colour.light
    x = [trial.x for trial in done]
    low = [max(trial.value if math.isnan(trial.low) else trial.low, frame.y[0]) for trial in done]
    high = [trial.value if math.isnan(trial.high) else trial.high for trial in done]
    axes.fill_between(x, low, high, color=colour, alpha=0.16, lw=0, zorder=order)
    (line,) = axes.plot(x, [trial.value for trial in done], zorder=order + 0.5, **style.plot)
    line.set_gid(f"{SAYS}{curve.name}")
    bars = [(trial.x, *trial.range_ends) for trial in done if trial.range_ends]
    if bars:
        at, least, greatest = (list(part) for part in zip(*bars, strict=True))
        range_bars(axes, at, least, greatest, colour, zorder=order + 0.4)
    point = curve.lowest.point if curve.lowest else None
    if point:
        axes.plot([point.nfe] * 2, [point.value, frame.y[0]], color=colour, lw=0.8, ls=(0, (1, 2)), zorder=2)
        ring(axes, point.nfe, point.value, colour)
    failed = [trial.x for trial in curve.trials if trial.status == "failed"]
    cross(axes, failed, 0.985, colour, transform=axes.get_xaxis_transform(), clip_on=False)


def _draw_strip(
    axes: Axes, curves: list[SeriesCurve], frame: Frame, looks: Mapping[str, Style], rows: list[float]
) -> None:
    """Rows of so many inches, a curve each, on axes that are as high as all of them."""
    top = sum(rows)
    axes.set(xscale="log", xlim=frame.x, ylim=(0, top))
    draw_ticks(axes, frame, upright=False)
    axes.grid(True, axis="x", color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0, top + 0.07, STRIP, transform=axes.get_yaxis_transform(), fontsize=LABEL, color=MUTED.light)
    for curve, height in zip(curves, rows, strict=True):
        axes.axhline(top, color=RULE.light, lw=0.7, clip_on=False)
        _draw_lowest(axes, curve, looks[curve.name], frame, top - 0.13)
        _draw_published(axes, curve, frame, top - 0.305)
        top -= height


def _draw_lowest(axes: Axes, curve: SeriesCurve, style: Style, frame: Frame, y: float) -> None:
    colour, lowest = style.colour.light, curve.lowest
    if lowest is None:
        axes.text(frame.x[0], y, " nothing done yet", fontsize=TICK, color=MUTED.light, va="center")
        return
    rule = lowest.rule
    if rule.cost is None:
        axes.text(frame.x[0], y, f" {rule.undecided}", fontsize=TICK, color=MUTED.light, va="center")
        return
    low, high = (rule.cost,) * 2 if rule.low is None or rule.high is None else (rule.low, rule.high)
    low, high = min(low, rule.cost), max(high, rule.cost)
    axes.plot([low, high], [y, y], color=colour, lw=4.5, alpha=0.32, solid_capstyle="butt", zorder=2)
    if rule.is_least:  # what lies beyond the curve's end is open
        axes.plot([high], [y], color=colour, marker=">", ms=4, alpha=0.6, zorder=2.5)
    axes.plot([rule.cost], [y], zorder=3, **style.plot)
    text = evaluations(rule.cost)
    look = {"color": MUTED.light if rule.undecided else colour, "fontweight": "normal" if rule.undecided else "bold"}
    _annotate(axes, frame, (low, high), y, f"{text}, undecided" if rule.undecided else text, look)


def _draw_published(axes: Axes, curve: SeriesCurve, frame: Frame, y: float) -> None:
    if curve.published is None:
        return
    nfe, text = curve.published.nfe, f"paper {evaluations(curve.published.nfe)} (FID {curve.published.fid:g})"
    look: Any = {"fontsize": TICK, "color": MUTED.light, "va": "center_baseline"}
    if nfe > frame.x[1]:
        axes.text(frame.x[1], y, f"{text} →", ha="right", **look)
    elif nfe < frame.x[0]:
        axes.text(frame.x[0], y, f"← {text}", **look)
    else:
        diamond(axes, nfe, y)
        _annotate(axes, frame, (nfe, nfe), y, text, {"color": MUTED.light, "fontweight": "normal"})


def _annotate(axes: Axes, frame: Frame, ends: tuple[float, float], y: float, text: str, look: dict[str, Any]) -> None:
    """Words right of a mark with these ends, or left of it where the right has no room."""
    right = frame.across(ends[1]) + 0.022 * len(text) + 0.04 < 1
    offset, align = ((6, 0), "left") if right else ((-6, 0), "right")
    look = look | {"fontsize": TICK, "ha": align, "va": "center_baseline", "textcoords": "offset points"}
    axes.annotate(text, (ends[1] if right else ends[0], y), xytext=offset, **look)


def _words(panel: CurvePanel, frame: Frame, told: list[SeriesCurve]) -> str:
    """The panel for readers who do not see it, with these of its curves."""
    parts = []
    for curve in told:
        if curve.lowest:
            best, nfe = significant(curve.lowest.best.value), evaluations(curve.lowest.rule.cost)
            sure = ", undecided" if curve.lowest.rule.undecided else ""
            parts.append(f"{curve.name}: best {best}, within 3 % of it from NFE {nfe}{sure}")
        elif curve.done:
            word, sign = ("least", 1) if frame.better == "lower" else ("highest", -1)
            top = min(curve.done, key=lambda trial: sign * trial.value)
            parts.append(f"{curve.name}: {word} {significant(top.value)} at {significant(top.x)}")
        else:
            parts.append(f"{curve.name}: {NONE}")
    if len(told) < len(panel.curves):
        parts.append(f"and {plural(len(panel.curves) - len(told), 'other curve')}")
    axis = "NFE" if frame.counts else frame.x_title
    return f"{frame.y_title} against {axis} for {panel.title}. " + "; ".join(parts) + "."
