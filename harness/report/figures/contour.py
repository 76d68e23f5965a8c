"""The value over two parameters at once: every trial as a point over a field interpolated between them.

The field is linear on the triangles of a Delaunay triangulation of the points, so it says nothing beyond their hull and
nothing that three trials do not say; a trial's noise is in it undiminished.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation
from scipy.spatial import Delaunay, QhullError

from harness.report.figures.axes import Frame, canvas
from harness.report.figures.importance import Importance, by_importance
from harness.report.figures.legend import ring
from harness.report.figures.search_axes import span_of
from harness.report.figures.style import MUTED, RAMP, SURFACE, TICK, plain_style
from harness.report.study import ParameterAxis, SearchData, SearchTrial, parameters
from harness.report.text.numbers import plural, significant

WIDTH, HEIGHT, BAR = 5.6, 3.7, 0.95  # inches
FEWEST = 8
"""Trials at different places below which no field is drawn."""


class Contour(NamedTuple):
    """What is drawn: two parameters, the trials that have both, their places and the triangles between them.

    Args:
        pair: the horizontal and the upright parameter.
        trials: with their values at the first rung.
        places: of the trials, [2, trials].
        triangles: indices of trials, [triangles, 3].
        about: the caption.
        refused: why nothing is drawn, in words; "" where something is.
    """

    pair: tuple[ParameterAxis, ...]
    trials: dict[SearchTrial, float]
    places: np.ndarray
    triangles: np.ndarray
    about: str = ""
    refused: str = ""


def contour(search: SearchData, importance: Importance) -> Contour:
    """The two most important numeric parameters, or why they make no map."""
    numeric = by_importance(importance, parameters(search))
    nothing = Contour((), {}, np.empty((2, 0)), np.empty((0, 3), dtype=int))
    if len(numeric) < 2:
        return nothing._replace(refused="There are not two numeric parameters, so no map of two is drawn.")
    x, y = numeric[:2]
    trials = {
        trial: value for trial, value in search.measured.items() if x.of(trial) is not None and y.of(trial) is not None
    }
    places = np.array([[axis.of(trial) for trial in trials] for axis in (x, y)], dtype=float)
    unit = np.column_stack([_unit(axis, own) for axis, own in zip((x, y), places, strict=True)])
    different = len(np.unique(np.round(unit, 9), axis=0))
    names = f"{x.name} and {y.name}"
    if different < FEWEST:
        have = plural(different, "trial", "different trials")
        return nothing._replace(refused=f"No map of {names}: {have} with both, and {FEWEST} are needed.")
    triangles = _triangles(unit)
    if triangles is None:
        return nothing._replace(refused=f"No map of {names}: all trials lie on one line, so nothing lies between them.")
    which = "the two most important numeric parameters" if importance.shares else "the first two numeric parameters"
    about = (
        f"{search.objective['title']} of the first {search.first_images} images over {names}, {which}, of "
        f"{plural(len(trials), 'trial')}. The field is linear between the points and ends where they end; "
        "other parameters vary as well, so neighbours may differ for their sake."
    )
    return Contour((x, y), trials, places, triangles, about)


def _unit(axis: ParameterAxis, values: np.ndarray) -> np.ndarray:
    """On the parameter's own scale, from 0 to 1."""
    ends = np.array([axis.low, axis.high])
    low, high = np.log(ends) if axis.log else ends
    return ((np.log(values) if axis.log else values) - low) / (high - low)


def _triangles(places: np.ndarray) -> np.ndarray | None:
    """Triangles of points, as indices; None where all lie on a line."""
    if np.linalg.matrix_rank(places - places.mean(0), tol=1e-6) < 2:
        return None
    try:
        return np.asarray(Delaunay(places).simplices)
    except QhullError:
        return None


@plain_style()
def plot(search: SearchData, contour: Contour) -> Axes:
    """Draw it, with the scale of colours as the second axes of the figure."""
    values = np.array(list(contour.trials.values()))
    # Borders of ten colours with as many trials in each, so that few bad ones do not take all of the scale.
    levels = np.unique(np.quantile(values, np.linspace(0, 1, len(RAMP) + 1)))
    colours = [colour.light for colour in RAMP]
    if search.sign == 1:
        colours.reverse()  # the better, the darker
    one, other = contour.pair
    ends = [
        span_of([axis.low, axis.high, *at], axis.log, 0.04)
        for axis, at in zip(contour.pair, contour.places, strict=True)
    ]
    frame = Frame(ends[0], ends[1], other.name, one.name, x_log=one.log, y_log=other.log, counts=False)
    axes = canvas(frame, WIDTH, HEIGHT, right=BAR + 0.3)
    axes.grid(False)
    if len(levels) > 2:
        fill: Any = {"levels": levels, "colors": colours[: len(levels) - 1], "alpha": 0.45, "zorder": 1}
        axes.tricontourf(Triangulation(contour.places[0], contour.places[1], contour.triangles), values, **fill)
    kinds = np.clip(np.searchsorted(levels, values, side="right") - 1, 0, max(len(levels) - 2, 0))
    full = np.array([trial.full is not None for trial in contour.trials])
    for is_full in (False, True):
        for kind, colour in enumerate(colours):
            x, y = contour.places[:, (kinds == kind) & (full == is_full)]
            look: Any = {"ms": 5.4 if is_full else 4.2, "mfc": colour, "mec": SURFACE.light, "mew": 0.7}
            axes.plot(x, y, marker="o", ls="none", zorder=3, clip_on=False, **look)
    done = [(search.sign * trial.full.value, index) for index, trial in enumerate(contour.trials) if trial.full]
    if done:
        ring(axes, *contour.places[:, min(done)[1]])
    _draw_scale(axes, levels, colours)
    words = f"{search.objective['title']} over {one.name} and {other.name}, {plural(len(contour.trials), 'trial')}."
    axes.figure.set_label(words)
    return axes


def _draw_scale(axes: Axes, levels: np.ndarray, colours: list[str]) -> None:
    """The colours with the values at their borders, beside the field."""
    box = axes.get_position()
    bar = axes.figure.add_axes((box.x1 + 0.22 / WIDTH, box.y0, 0.14 / WIDTH, box.height), xlim=(0, 1))
    bar.set_ylim(0, max(len(levels) - 1, 1))
    bar.axis("off")
    look: Any = {"textcoords": "offset points", "va": "center_baseline", "fontsize": TICK, "color": MUTED.light}
    for place in range(len(levels) - 1):
        bar.axhspan(place, place + 1, color=colours[place], lw=0, alpha=0.85)
    for place, level in enumerate(levels):
        bar.annotate(significant(float(level)), (1, place), xytext=(4, 0), **look)
