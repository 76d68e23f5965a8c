"""Slices: the value at the first rung against one parameter at a time, pruned and done trials told apart."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from harness.report.figures.axes import TICKS, Frame, canvas
from harness.report.figures.legend import LegendEntry, legend_entry, marker_entry, ring
from harness.report.figures.search_axes import (
    DONE_LOOK,
    EDGE_LOOK,
    NAMED_LOOK,
    PRUNED_LOOK,
    dots,
    limits,
    span_of,
)
from harness.report.figures.style import TICK, plain_style
from harness.report.study import DONE, FAILED, SUGGESTED, ParameterAxis, SearchData, SearchTrial
from harness.report.text.numbers import plural

WIDTH, HEIGHT = 4.1, 2.35  # inches
MOST_WORDS = 6
"""Choices whose names fit upright under an axis; more are turned."""

LOOKS: tuple[tuple[dict[str, Any], Callable[[SearchTrial], bool]], ...] = (
    (PRUNED_LOOK, lambda trial: trial.status != DONE),
    (DONE_LOOK, lambda trial: trial.status == DONE and trial.origin == SUGGESTED),
    (NAMED_LOOK, lambda trial: trial.status == DONE and trial.origin != SUGGESTED),
)
"""From the lowest to the highest."""


def panels(search: SearchData, axes: list[ParameterAxis]) -> list[tuple[ParameterAxis, str]]:
    """The parameters that any trial has, each with a line about it."""
    trials = search.measured
    inside = sum(bool(trial.settings) for trial in trials)
    titled = []
    for axis in axes:
        having = sum(axis.of(trial) is not None for trial in trials)
        if having:
            active = "" if having == inside else f"; active in {plural(having, 'trial')}"
            titled.append((axis, f"{axis.path}{active}"))
    return titled


@plain_style()
def plot(search: SearchData, axis: ParameterAxis) -> Axes:
    """Draw the panel of one parameter."""
    trials = {trial: value for trial, value in search.measured.items() if axis.of(trial) is not None}
    title = f"{search.objective['title']}, first {search.first_images} images"
    y, log = limits(search.measured.values(), search.by_factors, search.sign)
    places = {trial: _place(axis, trial) for trial in trials}
    x = (-0.6, len(axis.choices) - 0.4)
    if not axis.is_choice:
        x = span_of([axis.low, axis.high, *places.values()], axis.log, 0.04)
    turned = axis.is_choice and len(axis.choices) > MOST_WORDS
    frame = Frame(x, y, title, axis.name, x_log=axis.log, y_log=log, counts=False)
    axes = canvas(frame, WIDTH, HEIGHT, below=1.0 if turned else TICKS, right=0.14)
    if axis.is_choice:
        axes.xaxis.set_major_locator(FixedLocator(list(range(len(axis.choices)))))
        names = [_short(name, 14 if turned else max(6, 44 // len(axis.choices))) for name in axis.choices]
        look: Any = {"rotation": 35, "ha": "right"} if turned else {"rotation": 0, "ha": "center"}
        axes.set_xticks(range(len(names)), names, fontsize=TICK, **look)
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif axis.low <= x[0] or axis.high >= x[1]:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
    for zorder, (look, holds) in enumerate(LOOKS, start=3):
        dots(axes, [(places[trial], value) for trial, value in trials.items() if holds(trial)], look, frame, zorder)
    best = search.best
    if best in trials:
        ring(axes, places[best], trials[best])
    axes.figure.set_label(f"{title} against {axis.name}, {plural(len(trials), 'trial')}.")
    return axes


def _place(axis: ParameterAxis, trial: SearchTrial) -> float:
    """Where a trial stands; those of one choice side by side, in a fixed order that looks like none."""
    value = axis.of(trial)
    if axis.is_choice:  # multiples of the golden ratio fill the unit interval evenly
        return axis.choices.index(str(value)) + 0.5 * ((trial.number * 0.618034) % 1 - 0.5)
    assert isinstance(value, float)
    return value


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def beyond(search: SearchData) -> int:
    """How many values lie beyond the upright axis."""
    values = list(search.measured.values())
    (low, high), _ = limits(values, search.by_factors, search.sign)
    return sum(not low <= value <= high for value in values)


def legend(search: SearchData) -> list[LegendEntry]:
    """The signs that the panels have."""
    trials = list(search.measured)
    entries = [marker_entry("sign-slice-done", "done", DONE_LOOK)]
    if any(trial.origin != SUGGESTED and trial.status == DONE for trial in trials):
        entries.append(marker_entry("sign-slice-named", "the baseline or the paper’s, done", NAMED_LOOK))
    if any(trial.status not in (DONE, FAILED) for trial in trials):
        entries.append(marker_entry("sign-slice-pruned", "pruned, or still running", PRUNED_LOOK))
    if beyond(search):
        entries.append(marker_entry("sign-slice-beyond", "beyond the axis", EDGE_LOOK | {"marker": "^"}))
    if any(trial.full for trial in trials):
        entries.append(legend_entry("sign-slice-best", "best at full N", lambda axes: ring(axes, 1, 0.5)))
    return entries
