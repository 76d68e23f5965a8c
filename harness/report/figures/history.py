"""The history of a search: every trial in order at its value, and the running best.

A value of few images is not on the scale of one of many: a Frechet distance of finite sets is too large by about c / n.
    So a pruned trial is not drawn at what it measured. It stands where the paired difference puts it: the incumbent's
    value at full N plus the difference from the incumbent at the same few images. That is an estimate, and drawn
    hollow.
"""

from typing import Any

from matplotlib.axes import Axes

from harness.report.figures.axes import Frame, canvas
from harness.report.figures.legend import LegendEntry, cross, legend_entry, marker_entry, ring
from harness.report.figures.search_axes import (
    DONE_LOOK,
    EDGE_LOOK,
    NAMED_LOOK,
    PALE_LOOK,
    PRUNED_LOOK,
    STEP_LOOK,
    dots,
    limits,
)
from harness.report.figures.style import MUTED, plain_style
from harness.report.study import DONE, FAILED, PRUNED, SUGGESTED, SearchData, SearchTrial, ValueInterval
from harness.report.text.numbers import plural, significant, whole

WIDTH, HEIGHT = 9.4, 2.9  # inches


def estimate(search: SearchData, trial: SearchTrial) -> ValueInterval | None:
    """Where a pruned trial would be at full N, by the difference from the incumbent; None where that is not known."""
    incumbent = search.by_number.get(trial.incumbent) if trial.incumbent is not None else None
    gap = trial.difference
    if trial.status != PRUNED or incumbent is None or incumbent.full is None or gap is None or gap.value != gap.value:
        return None
    return ValueInterval(*(incumbent.full.value + part for part in gap))


def running_best(search: SearchData) -> list[tuple[int, float]]:
    """Numbers of trials at which the best value at full N changes, with the new best."""
    steps: list[tuple[int, float]] = []
    for trial in search.own:
        if trial.full and (not steps or search.sign * (trial.full.value - steps[-1][1]) < 0):
            steps.append((trial.number, trial.full.value))
    return steps


def _places(search: SearchData) -> tuple[dict[int, ValueInterval], dict[int, ValueInterval]]:
    """Values of the done trials, and estimates of the pruned ones, by number."""
    done = {trial.number: trial.full for trial in search.trials if trial.full}
    return done, {trial.number: place for trial in search.trials if (place := estimate(search, trial))}


def _upright(search: SearchData) -> tuple[tuple[float, float], bool]:
    done, pruned = _places(search)
    return limits((value.value for value in (*done.values(), *pruned.values())), search.by_factors, search.sign)


@plain_style()
def plot(search: SearchData) -> Axes | None:
    """Draw it; None while no trial is done."""
    done, pruned = _places(search)
    if not done:
        return None
    y, log = _upright(search)
    last = max(search.by_number)
    room = max(1.0, 0.015 * last)
    title, x_title = str(search.objective["title"]), "Trial of the search, in order"
    frame = Frame((-room, last + room), y, title, x_title, x_log=False, y_log=log, counts=False)
    axes = canvas(frame, WIDTH, HEIGHT, right=0.14)
    bars = [
        (number, max(value.low, y[0]), min(value.high, y[1]))
        for number, value in pruned.items()
        if value.low == value.low and y[0] < value.value < y[1]
    ]
    if bars:
        axes.vlines(*zip(*bars, strict=True), color=MUTED.light, lw=0.7, alpha=0.45, zorder=2)
    dots(axes, [(number, value.value) for number, value in pruned.items()], PRUNED_LOOK, frame, zorder=3)
    steps = running_best(search)
    x, values = [number for number, _ in steps], [value for _, value in steps]
    axes.step([*x, frame.x[1]], [*values, *values[-1:]], where="post", zorder=4, **STEP_LOOK)
    own = [search.by_number[number] for number in done]
    for look, zorder, holds in (
        (PALE_LOOK, 3, lambda trial: trial.duplicate_of is not None),
        (DONE_LOOK, 5, lambda trial: trial.duplicate_of is None and trial.origin == SUGGESTED),
        (NAMED_LOOK, 6, lambda trial: trial.duplicate_of is None and trial.origin != SUGGESTED),
    ):
        dots(axes, [(trial.number, done[trial.number].value) for trial in own if holds(trial)], look, frame, zorder)
    best = search.best or min(own, key=lambda trial: search.sign * done[trial.number].value)
    value = done[best.number].value
    ring(axes, best.number, value)
    failed: list[Any] = [trial.number for trial in search.trials if trial.status == FAILED]
    cross(axes, failed, 0.975, transform=axes.get_xaxis_transform(), clip_on=False)
    counts = f"{plural(search.count(DONE), 'trial')} done, {whole(search.count(PRUNED))} pruned"
    words = f"best {significant(value)} at No. {best.number}"
    axes.figure.set_label(f"{title} of every trial in order: {counts}; {words}.")
    return axes


def left_aside(search: SearchData) -> tuple[int, int]:
    """How many pruned trials have no place in the figure, and how many values lie beyond its axis."""
    done, pruned = _places(search)
    (low, high), _ = _upright(search)
    beyond = sum(not low <= value.value <= high for value in (*done.values(), *pruned.values()))
    return search.count(PRUNED) - len(pruned), beyond


def legend(search: SearchData) -> list[LegendEntry]:
    """The signs that the figure has."""
    done, pruned = _places(search)
    trials = [search.by_number[number] for number in done]
    entries = [marker_entry("sign-done", "done: at full N", DONE_LOOK)]
    if any(trial.origin != SUGGESTED and trial.duplicate_of is None for trial in trials):
        entries.append(marker_entry("sign-named", "the baseline or the paper’s, done", NAMED_LOOK))
    if pruned:
        entries.append(marker_entry("sign-pruned", "pruned: estimated, by the paired difference", PRUNED_LOOK))
    if any(trial.duplicate_of is not None for trial in trials):
        entries.append(marker_entry("sign-repeat", "repeat of an earlier setting", PALE_LOOK))
    if search.count(FAILED):
        entries.append(legend_entry("sign-failed", "failed", lambda axes: cross(axes, [1], 0.5)))
    if left_aside(search)[1]:
        entries.append(marker_entry("sign-beyond", "beyond the axis", EDGE_LOOK | {"marker": "^"}))
    corner = [0.1, 1, 1, 1.9], [0.75, 0.75, 0.25, 0.25]
    entries.append(legend_entry("sign-step", "running best", lambda axes: axes.plot(*corner, **STEP_LOOK)))
    entries.append(legend_entry("sign-best", "best on the search seeds", lambda axes: ring(axes, 1, 0.5)))
    return entries
