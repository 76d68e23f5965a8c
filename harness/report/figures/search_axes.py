"""What the figures of a search share: how slots are marked, axes with room for outliers, and the legend's signs."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures import glyphs as marks
from harness.report.figures.axes import Frame, is_log, label_room, padded, spanned
from harness.report.figures.legend import Sign, sign
from harness.report.figures.quality import MAIN, prepare
from harness.report.figures.style import BASELINE, INK, MUTED, OTHERS, OURS, SURFACE
from harness.report.figures.svg import inline

FRESH = OTHERS[0]
"""The colour of values on fresh seeds, in every figure."""

FAR = 30.0
"""Values worse than the best by more than this factor stand at the edge of a logarithmic axis."""

DONE_LOOK: dict[str, Any] = {
    "marker": "o",
    "ms": 4.8,
    "mfc": OURS.light,
    "mec": SURFACE.light,
    "mew": 0.6,
    "ls": "none",
}
PALE_LOOK = DONE_LOOK | {"mfc": BASELINE.light, "alpha": 0.55}
PRUNED_LOOK: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": "none", "mec": MUTED.light, "mew": 0.9, "ls": "none"}
NAMED_LOOK = DONE_LOOK | {"marker": "D", "ms": 5, "mfc": INK.light}
FRESH_LOOK = DONE_LOOK | {"marker": "s", "ms": 5, "mfc": FRESH.light}
EDGE_LOOK: dict[str, Any] = {"ms": 4.6, "mfc": "none", "mec": MUTED.light, "mew": 0.9, "ls": "none", "clip_on": False}
STEP: dict[str, Any] = {"color": OURS.light, "lw": 1.3, "solid_joinstyle": "miter"}


def limits(
    values: Iterable[float], factors: bool, better: int, share: float = 0.07
) -> tuple[tuple[float, float], bool]:
    """An upright axis for values: its ends, and whether it is logarithmic.

    Args:
        values: what is drawn; those that are not finite are left aside.
        factors: whether values compare by factors; if not, the axis is linear.
        better: 1 where lower is better, −1 where higher is.
        share: room beyond the values, as a share of what is between them.
    """
    finite = [value for value in values if math.isfinite(value)]
    log = factors and is_log(finite, ratio=4)
    if log and better == 1:
        finite = [value for value in finite if value <= FAR * min(finite)]
    found = padded(finite, share) if log else spanned(finite, share)
    return found or (0.0, 1.0), log


def span_of(values: Sequence[float], log: bool, share: float = 0.05) -> tuple[float, float]:
    """Ends of a horizontal axis."""
    return (padded(values, share) if log else spanned(values, share)) or (0.0, 1.0)


def canvas(
    frame: Frame, width: float, height: float = MAIN, below: float = 0.48, right: float = 0.14
) -> tuple[Figure, Axes]:
    """A figure of so many inches with prepared axes; `height` is that of the axes alone."""
    left, top = max(0.42, label_room(frame)), 0.30
    total = top + height + below
    figure = Figure(figsize=(width, total))
    axes = figure.add_axes((left / width, below / total, 1 - (left + right) / width, height / total))
    prepare(axes, frame)
    return figure, axes


def at_edge(axes: Axes, x: Iterable[float], y: Iterable[float], frame: Frame) -> None:
    """Marks at the edge for values that lie beyond it."""
    for place, value in zip(x, y, strict=True):
        if value > frame.y[1]:
            axes.plot([place], [frame.y[1]], marker="^", **EDGE_LOOK)
        elif value < frame.y[0]:
            axes.plot([place], [frame.y[0]], marker="v", **EDGE_LOOK)


def best_ring(axes: Axes, x: float, y: float) -> None:
    """Round the best."""
    marks.ring(axes, x, y, INK.light)


def finish(figure: Figure, prefix: str, label: str) -> str:
    """The figure as inline SVG."""
    return inline(figure, prefix, label)


def legend_sign(name: str, words: str, draw: Callable[[Axes], Any]) -> Sign:
    """An entry of the legend."""
    return sign(f"sign-{name}", words, draw)


def dot_sign(name: str, words: str, look: dict[str, Any]) -> Sign:
    """An entry of the legend for a marker."""
    return legend_sign(name, words, lambda axes: axes.plot([1], [0.5], **look))
