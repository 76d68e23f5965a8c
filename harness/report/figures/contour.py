"""The value over two parameters at once: every trial as a point over a field interpolated between them.

The field is linear on the triangles of a Delaunay triangulation of the points, so it says nothing beyond their hull and
nothing that three trials do not say; a trial's noise is in it undiminished.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.tri import Triangulation
from scipy.spatial import Delaunay, QhullError

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import Frame
from harness.report.figures.glyphs import TICK
from harness.report.figures.importance import Importance, ranked
from harness.report.figures.slices import best_point
from harness.report.figures.style import MUTED, RAMP, SURFACE
from harness.report.parameters import Parameter, Point, parameters, points
from harness.report.study import Search, sign
from harness.report.text.numbers import plural, significant, whole

WIDTH, HEIGHT, BAR = 5.6, 3.7, 0.95  # inches
FEWEST = 8
"""Trials at different places below which no field is drawn."""


class Contour(NamedTuple):
    """The figure with its caption, or why there is none."""

    svg: str
    about: str
    refused: str


def contour(search: Search, found: Importance, prefix: str = "contour") -> Contour:
    """Draw it for the two most important numeric parameters."""
    numeric = ranked(found, parameters(search))
    if len(numeric) < 2:
        return Contour("", "", "There are not two numeric parameters, so no map of two is drawn.")
    one, other = numeric[:2]
    every = [point for point in points(search) if one.of(point.slot) is not None and other.of(point.slot) is not None]
    pair = f"{one.name} and {other.name}"
    x, y = (np.array([each.of(point.slot) for point in every], dtype=float) for each in (one, other))
    places = np.column_stack([_unit(one, x), _unit(other, y)])
    different = len(np.unique(np.round(places, 9), axis=0))
    if different < FEWEST:
        have = plural(different, "trial", "different trials")
        return Contour("", "", f"No map of {pair}: {have} with both, and {FEWEST} are needed.")
    triangles = _triangles(places)
    if triangles is None:
        return Contour("", "", f"No map of {pair}: all trials lie on one line, so nothing lies between them.")
    svg = _draw(search, (one, other), every, (x, y), triangles, prefix)
    whose = "the two most important numeric parameters" if found.shares else "the first two numeric parameters"
    about = (
        f"{search.objective['title']} of the first {whole(search.spec['rungs'][0])} images over {pair}, {whose}, of "
        f"{plural(len(every), 'trial')}. The field is linear between the points and ends where they end; "
        "other parameters vary as well, so neighbours may differ for their sake."
    )
    return Contour(svg, about, "")


def _unit(each: Parameter, values: np.ndarray) -> np.ndarray:
    """On the parameter's own scale, from 0 to 1."""
    low, high = (np.log([each.low, each.high]) if each.log else np.array([each.low, each.high])).tolist()
    return ((np.log(values) if each.log else values) - low) / (high - low)


def _triangles(places: np.ndarray) -> np.ndarray | None:
    """Triangles of points, as indices; None where all lie on a line."""
    if np.linalg.matrix_rank(places - places.mean(0), tol=1e-6) < 2:
        return None
    try:
        return np.asarray(Delaunay(places).simplices)
    except QhullError:
        return None


def _levels(values: np.ndarray) -> np.ndarray:
    """Borders of ten colours: as many trials in each, so that few bad ones do not take all of the scale."""
    return np.quantile(values, np.linspace(0, 1, len(RAMP) + 1))


def _draw(
    search: Search,
    pair: tuple[Parameter, Parameter],
    every: list[Point],
    places: tuple[np.ndarray, np.ndarray],
    triangles: np.ndarray,
    prefix: str,
) -> str:
    values = np.array([point.value.value for point in every])
    levels = np.unique(_levels(values))
    colours = [colour.light for colour in RAMP]
    if sign(search.objective) == 1:
        colours.reverse()  # the better, the darker
    ends = [draw.span_of([each.low, each.high, *at], each.log, 0.04) for each, at in zip(pair, places, strict=True)]
    one, other = pair
    frame = Frame(ends[0], ends[1], other.name, one.name, x_log=one.log, y_log=other.log, counts=False)
    with marks.plain_style():
        figure, axes = draw.canvas(frame, WIDTH, HEIGHT, right=BAR + 0.3)
        axes.grid(False)
        if len(levels) > 2:
            mesh = Triangulation(*places, triangles)
            fill: Any = {"levels": levels, "colors": colours[: len(levels) - 1], "alpha": 0.45, "zorder": 1}
            axes.tricontourf(mesh, values, **fill)
        kinds = np.clip(np.searchsorted(levels, values, side="right") - 1, 0, max(len(levels) - 2, 0))
        full = np.array([point.slot.full is not None for point in every])
        for kind, is_full in ((kind, is_full) for is_full in (False, True) for kind in range(len(colours))):
            x, y = (at[(kinds == kind) & (full == is_full)] for at in places)
            look: Any = {"ms": 5.4 if is_full else 4.2, "mfc": colours[kind], "mec": SURFACE.light, "mew": 0.7}
            axes.plot(x, y, marker="o", ls="none", zorder=3, clip_on=False, **look)
        top = best_point(search, every)
        for point, x, y in zip(every, *places, strict=True):
            if point is top:
                draw.best_ring(axes, x, y)
        _scale(figure, axes, levels, colours)
        label = f"{search.objective['title']} over {one.name} and {other.name}, {plural(len(every), 'trial')}."
        return draw.finish(figure, prefix, label)


def _scale(figure: Any, axes: Any, levels: np.ndarray, colours: list[str]) -> None:
    """The colours with the values at their borders, beside the field."""
    box = axes.get_position()
    bar = figure.add_axes((box.x1 + 0.22 / WIDTH, box.y0, 0.14 / WIDTH, box.height), xlim=(0, 1))
    bar.set_ylim(0, max(len(levels) - 1, 1))
    bar.axis("off")
    for place in range(len(levels) - 1):
        bar.axhspan(place, place + 1, color=colours[place], lw=0, alpha=0.85)
    for place, level in enumerate(levels):
        bar.annotate(
            significant(float(level)),
            (1, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=TICK,
            color=MUTED.light,
        )
