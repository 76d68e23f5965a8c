"""Values by noise level: a panel a denoiser, or a panel a curve where a curve has many trials, one line a trial."""

from typing import NamedTuple

from matplotlib.axes import Axes

from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData, TrialResult
from harness.report.figures.axes import Frame, canvas, is_log, padded, spanned
from harness.report.figures.style import Style, plain_style, ramp, styles
from harness.report.text.formula import symbols
from harness.report.text.numbers import evaluations

WIDTH = 4.1  # inches
LEVELS = "Noise level σ"
DECADES = 1e4
"""A log axis goes down by at most this factor; what vanishes at some levels is left off."""

ZERO = 1e-9
"""Values that are all below this are rounding, and shown as nothing on an axis up to 1."""

MARKERS = 12
"""About how many of a line's points have a marker."""


class LevelLine(NamedTuple):
    """One trial: a label, its look, and columns by noise level as `per_sample.profile` has them."""

    label: str
    style: Style
    profile: dict[str, list[float]]


class LevelPanel(NamedTuple):
    """One panel: heading, what it is about, and its lines."""

    title: str
    about: str
    lines: list[LevelLine]


def level_panels(data: GridData, panels: list[CurvePanel]) -> list[LevelPanel]:
    """The panels to draw; none where nothing is done or the metric has no values by level."""
    every = [(panel, [(curve, own) for curve in panel.curves if (own := _with_profile(curve))]) for panel in panels]
    trials = [trial for _, curves in every for _, own in curves for trial in own]
    places = sorted({trial.x for trial in trials if trial.x == trial.x})
    looks, of_places = styles(data.plan["series"]), dict(zip(places, ramp(len(places)), strict=True))
    drawn = []
    for panel, curves in every:
        if all(len(own) == 1 for _, own in curves):
            alone = [LevelLine(curve.name, looks[curve.name], own[0].details["profile"]) for curve, own in curves]
            drawn += [LevelPanel(panel.title, panel.name, alone)] if alone else []
            continue
        for curve, own in curves:
            lines = [
                LevelLine(_place(trial, data), of_places.get(trial.x, looks[curve.name]), trial.details["profile"])
                for trial in own
            ]
            drawn.append(LevelPanel(panel.title, curve.name, lines))
    return drawn


def _with_profile(curve: SeriesCurve) -> list[TrialResult]:
    return [trial for trial in curve.done if "profile" in trial.details]


def _place(trial: TrialResult, data: GridData) -> str:
    """A trial's place on the horizontal axis."""
    if data.against_nfe:
        return f"NFE {evaluations(trial.x)}"
    return f"{symbols(data.plan['x']['title'])} {trial.x:g}"


def common_frame(panels: list[LevelPanel], title: str) -> Frame | None:
    """Axes that hold every panel; None where there is nothing."""
    lines = [line for panel in panels for line in panel.lines]
    levels = [level for line in lines for level in line.profile["level"]]
    values = [value for line in lines for value in line.profile["mean"]]
    if max(values, default=1.0) < ZERO:
        return Frame(padded(levels, 0.03) or (0.1, 1.0), (-0.02, 1.0), title, LEVELS, True, False, counts=False)
    positive = [value for value in values if value > 0]
    x_log, y_log = is_log(levels), is_log(values, 5) or (bool(positive) and max(positive) / min(positive) > 100)
    if y_log:
        values = [value for value in values if value > max(values) / DECADES]
    x = padded(levels, 0.03) if x_log else spanned(levels, 0.03)
    y = padded(values, 0.06) if y_log else spanned([*values, 0.0], 0.06)
    return Frame(x, y, title, LEVELS, x_log, y_log, counts=False) if x and y else None


@plain_style()
def plot(panel: LevelPanel, frame: Frame | None = None) -> Axes:
    """Draw one panel.

    Args:
        panel: from `level_panels`.
        frame: the axes that all panels share; those of this panel by default.

    Raises:
        ValueError: it has no values.
    """
    frame = frame or common_frame([panel], panel.title)
    if frame is None:
        raise ValueError(f"{panel.title}: there are no values by noise level to draw")
    axes = canvas(frame, WIDTH)
    for order, line in enumerate(panel.lines, start=3):
        level, mean = line.profile["level"], line.profile["mean"]
        if "low" in line.profile:
            low, colour = [max(value, frame.y[0]) for value in line.profile["low"]], line.style.colour.light
            axes.fill_between(level, low, line.profile["high"], color=colour, alpha=0.14, lw=0, zorder=order)
        look = line.style.plot | {"ms": 4.2, "markevery": max(1, len(level) // MARKERS)}
        axes.plot(level, mean, zorder=order + 0.5, **look)
    labels = ", ".join(line.label for line in panel.lines)
    axes.figure.set_label(f"{frame.y_title} against noise level for {panel.title}, {panel.about}: {labels}.")
    return axes
