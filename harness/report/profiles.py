"""Values by noise level: a panel a denoiser, or a panel a curve where a curve has many trials, one line a trial."""

from typing import Any, NamedTuple

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import marks
from harness.report.axes import Frame, draw_ticks, is_log, padded, spanned
from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.figures import LEFT, MAIN, RIGHT, TICKS, TOP, WIDTH
from harness.report.formula import symbols
from harness.report.marks import LABEL
from harness.report.numbers import evaluations, significant
from harness.report.palette import MUTED, RAMP, RULE, Style
from harness.report.svg import inline

LEVELS = "Noise level σ"
DECADES = 1e4
"""A log axis goes down by at most this factor; what vanishes at some levels is left off."""

ZERO = 1e-9
"""Values that are all below this are rounding, and shown as nothing on an axis up to 1."""

MARKERS = 12
"""About how many of a line's points have a marker."""


class Line(NamedTuple):
    """One trial: a label, its look, and columns by noise level as `harness.metrics.per_sample.profile` has them."""

    label: str
    style: Style
    profile: dict[str, list[float]]


class Plot(NamedTuple):
    """One panel: heading, what it is about, and its lines."""

    title: str
    about: str
    lines: list[Line]


def plots(data: GridData, panels: list[Panel], styles: dict[str, Style]) -> list[Plot]:
    """The panels to draw; none where nothing is done or the metric has no values by level."""
    found = []
    for panel in panels:
        curves = [(curve, _seen(curve)) for curve in panel.curves]
        curves = [(curve, lines) for curve, lines in curves if lines]
        if all(len(lines) == 1 for _, lines in curves):
            lines = [Line(curve.name, styles[curve.name], own[0]["details"]["profile"]) for curve, own in curves]
            found += [Plot(panel.title, panel.name, lines)] if lines else []
        else:
            found += [Plot(panel.title, curve.name, _ramp(own, data)) for curve, own in curves]
    return found


def _seen(curve: Curve) -> list[dict[str, Any]]:
    return [line for line in records(curve.done) if "profile" in line["details"]]


def _ramp(lines: list[dict[str, Any]], data: GridData) -> list[Line]:
    """The trials of one curve in colours that run with their place on the horizontal axis."""
    shown = lines if len(lines) <= len(RAMP) else [lines[round(k)] for k in _evenly(len(lines), len(RAMP))]
    found = []
    for index, line in enumerate(shown):
        place = round(index * (len(RAMP) - 1) / max(len(shown) - 1, 1))
        name = "NFE" if data.against_nfe else symbols(data.plan["x"]["title"])
        at = evaluations(line["x"]) if data.against_nfe else significant(line["x"])
        found.append(Line(f"{name} {at}", Style(RAMP[place], "", "-"), line["details"]["profile"]))
    return found


def _evenly(count: int, most: int) -> list[float]:
    return [index * (count - 1) / (most - 1) for index in range(most)]


def frame_of(shown: list[Plot], title: str) -> Frame | None:
    """Axes that hold every panel; None where there is nothing."""
    lines = [line for plot in shown for line in plot.lines]
    levels = [level for line in lines for level in line.profile["level"]]
    values = [value for line in lines for value in line.profile["mean"]]
    x_log, y_log = is_log(levels), is_log(values, 5)
    positive = [value for value in values if value > 0]
    if not y_log and positive and max(positive) / min(positive) > 100:
        y_log = True
    if max(values, default=1.0) < ZERO:
        return Frame(padded(levels, 0.03) or (0.1, 1.0), (-0.02, 1.0), title, LEVELS, True, False, counts=False)
    if y_log:
        values = [value for value in values if value > max(values) / DECADES]
    width = padded(levels, 0.03) if x_log else spanned(levels, 0.03)
    height = padded(values, 0.06) if y_log else spanned([*values, 0.0], 0.06)
    if width is None or height is None:
        return None
    return Frame(width, height, title, LEVELS, x_log, y_log, counts=False)


def plot_svg(plot: Plot, frame: Frame, prefix: str) -> str:
    """One panel as inline SVG."""
    height = TOP + MAIN + TICKS
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((LEFT / WIDTH, TICKS / height, 1 - (LEFT + RIGHT) / WIDTH, MAIN / height))
        axes.set(xscale="log" if frame.x_log else "linear", yscale="log" if frame.y_log else "linear")
        axes.set(xlim=frame.x, ylim=frame.y)
        draw_ticks(axes, frame)
        sns.despine(ax=axes)
        axes.grid(True, color=RULE.light, lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(frame.x_title, fontsize=LABEL, color=MUTED.light, labelpad=3)
        axes.text(0, 1 + 0.09 / MAIN, frame.y_title, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)
        for order, line in enumerate(plot.lines):
            _draw(axes, line, frame, 3 + order)
        words = ", ".join(line.label for line in plot.lines)
        return inline(figure, prefix, f"{frame.y_title} against noise level for {plot.title}, {plot.about}: {words}.")


def _draw(axes: Axes, line: Line, frame: Frame, order: int) -> None:
    profile, colour = line.profile, line.style.colour.light
    low = [max(value, frame.y[0]) for value in profile["low"]]
    axes.fill_between(profile["level"], low, profile["high"], color=colour, alpha=0.14, lw=0, zorder=order)
    look = marks.line(line.style) | {"ms": 4.2, "markevery": max(1, len(profile["level"]) // MARKERS)}
    axes.plot(profile["level"], profile["mean"], zorder=order + 0.5, **look)
