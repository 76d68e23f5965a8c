"""Values by noise level: a panel a denoiser, or a panel a curve where a curve has many trials, one line a trial."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.figures import glyphs as marks
from harness.report.figures.axes import Frame, is_log, padded, spanned
from harness.report.figures.quality import LEFT, MAIN, RIGHT, TICKS, TOP, WIDTH, prepare
from harness.report.figures.style import Style, ramp
from harness.report.figures.svg import inline
from harness.report.text.formula import symbols
from harness.report.text.numbers import evaluations

LEVELS = "Noise level σ"
DECADES = 1e4
"""A log axis goes down by at most this factor; what vanishes at some levels is left off."""

ZERO = 1e-9
"""Values that are all below this are rounding, and shown as nothing on an axis up to 1."""

MARKERS = 12
"""About how many of a line's points have a marker."""


class Line(NamedTuple):
    """One trial: a label, its look, and columns by noise level as `per_sample.profile` has them."""

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
    every = [(panel, [(curve, lines) for curve in panel.curves if (lines := _seen(curve))]) for panel in panels]
    places = sorted(
        {line["x"] for _, curves in every for _, lines in curves for line in lines if line["x"] == line["x"]}
    )
    looks = dict(zip(places, ramp(len(places)), strict=True))
    found = []
    for panel, curves in every:
        if all(len(lines) == 1 for _, lines in curves):
            alone = [Line(curve.name, styles[curve.name], own[0]["details"]["profile"]) for curve, own in curves]
            found += [Plot(panel.title, panel.name, alone)] if alone else []
        else:
            for curve, own in curves:
                each = [
                    Line(_label(line, data), looks.get(line["x"], styles[curve.name]), line["details"]["profile"])
                    for line in own
                ]
                found.append(Plot(panel.title, curve.name, each))
    return found


def _seen(curve: Curve) -> list[dict[str, Any]]:
    return [line for line in records(curve.done) if "profile" in line["details"]]


def _label(line: dict[str, Any], data: GridData) -> str:
    """A trial's place on the horizontal axis."""
    if data.against_nfe:
        return f"NFE {evaluations(line['x'])}"
    return f"{symbols(data.plan['x']['title'])} {line['x']:g}"


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
        prepare(axes, frame)
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
