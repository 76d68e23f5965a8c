"""Value against cost: every trial by its NFE, and the front of those that no other beats in both."""

from matplotlib.axes import Axes

from harness.report.figures.axes import Frame, canvas, is_log
from harness.report.figures.history import estimate
from harness.report.figures.legend import LegendEntry, marker_entry
from harness.report.figures.search_axes import (
    DONE_LOOK,
    FRESH_LOOK,
    PALE_LOOK,
    PRUNED_LOOK,
    STEP_LOOK,
    dots,
    limits,
    span_of,
)
from harness.report.figures.style import plain_style
from harness.report.holdout import HoldoutResult
from harness.report.study import SearchData, SearchTrial
from harness.report.text.numbers import evaluations, plural, significant

WIDTH, HEIGHT = 9.4, 3.2  # inches


def front(search: SearchData) -> list[SearchTrial]:
    """Done trials that none other equals or beats in both NFE and value, by NFE."""
    done = [
        (trial.nfe, search.sign * trial.full.value, trial)
        for trial in search.own
        if trial.full and trial.nfe is not None
    ]
    kept: list[SearchTrial] = []
    least = float("inf")
    for _, value, trial in sorted(done, key=lambda each: each[:2]):
        if value < least:
            kept.append(trial)
            least = value
    return kept


def _estimates(search: SearchData) -> list[tuple[float, float]]:
    """NFE and estimated value of the pruned trials."""
    return [
        (trial.nfe, value.value) for trial in search.own if trial.nfe is not None and (value := estimate(search, trial))
    ]


def _fresh(search: SearchData, results: list[HoldoutResult]) -> list[tuple[float, float]]:
    """NFE and value on fresh seeds, where that is on the same scale."""
    return [(each.nfe, each.fresh.value) for each in results if search.compares and each.fresh and each.nfe]


@plain_style()
def plot(search: SearchData, results: list[HoldoutResult]) -> Axes:
    """Draw it; the line is the front. At least one trial has to be done."""
    best = front(search)
    done = [(trial, trial.nfe, trial.full.value) for trial in search.own if trial.full and trial.nfe is not None]
    estimates, fresh = _estimates(search), _fresh(search, results)
    every = [*((nfe, value) for _, nfe, value in done), *estimates, *fresh]
    title, counts = str(search.objective["title"]), [nfe for nfe, _ in every]
    y, log = limits([value for _, value in every], search.by_factors, search.sign)
    x_log = is_log(counts, ratio=6)
    frame = Frame(span_of(counts, x_log, 0.06), y, title, x_log=x_log, y_log=log, counts=True)
    axes = canvas(frame, WIDTH, HEIGHT, right=0.14)
    line = [(nfe, value) for trial, nfe, value in done if trial in best]
    line.sort()
    dots(axes, estimates, PRUNED_LOOK | {"alpha": 0.6}, frame, zorder=2)
    dots(axes, [(nfe, value) for _, nfe, value in done if (nfe, value) not in line], PALE_LOOK, frame, zorder=3)
    x, values = zip(*line, strict=True)
    axes.step([*x, frame.x[1]], [*values, values[-1]], where="post", zorder=4, **STEP_LOOK)
    dots(axes, line, DONE_LOOK, frame, zorder=5)
    dots(axes, fresh, FRESH_LOOK, frame, zorder=6)
    words = ", ".join(f"{significant(value)} at {evaluations(nfe)}" for nfe, value in line)
    axes.figure.set_label(f"{title} against NFE of {plural(len(done), 'trial')}; the front: {words}.")
    return axes


def legend(search: SearchData, results: list[HoldoutResult]) -> list[LegendEntry]:
    """The signs that the figure has."""
    entries = [
        marker_entry("sign-front", "on the front, at full N", DONE_LOOK),
        marker_entry("sign-front-behind", "beaten in both", PALE_LOOK),
    ]
    if _estimates(search):
        words = "pruned: estimated, by the paired difference"
        entries.append(marker_entry("sign-front-pruned", words, PRUNED_LOOK))
    if _fresh(search, results):
        entries.append(marker_entry("sign-front-fresh", "on fresh seeds", FRESH_LOOK))
    return entries
