"""What the figures of a search share: how trials are marked, and axes with room for outliers."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

from harness.report.figures.axes import Frame, is_log, padded, spanned
from harness.report.figures.style import BASELINE, INK, MUTED, OTHERS, OURS, SURFACE

FRESH = OTHERS[0]
"""The colour of values on fresh seeds, in every figure."""

FAR = 30.0
"""Values worse than the best by more than this factor stand at the edge of a logarithmic axis."""

_DOT: dict[str, Any] = {"marker": "o", "ls": "none"}
DONE_LOOK = _DOT | {"ms": 4.8, "mfc": OURS.light, "mec": SURFACE.light, "mew": 0.6}
PALE_LOOK = DONE_LOOK | {"mfc": BASELINE.light, "alpha": 0.55}
PRUNED_LOOK = _DOT | {"ms": 4, "mfc": "none", "mec": MUTED.light, "mew": 0.9}
NAMED_LOOK = DONE_LOOK | {"marker": "D", "ms": 5, "mfc": INK.light}
FRESH_LOOK = DONE_LOOK | {"marker": "s", "ms": 5, "mfc": FRESH.light}
EDGE_LOOK: dict[str, Any] = {"ms": 4.6, "mfc": "none", "mec": MUTED.light, "mew": 0.9, "ls": "none", "clip_on": False}
STEP_LOOK: dict[str, Any] = {"color": OURS.light, "lw": 1.3, "solid_joinstyle": "miter"}


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
    return span_of(finite, log, share), log


def span_of(values: Sequence[float], log: bool, share: float = 0.05) -> tuple[float, float]:
    """Ends of an axis that holds some values."""
    return (padded(values, share) if log else spanned(values, share)) or (0.0, 1.0)


def dots(axes: Axes, places: Iterable[tuple[float, float]], look: dict[str, Any], frame: Frame, zorder: float) -> None:
    """Marks of one look at (x, y); triangles at the edge for values beyond the upright axis."""
    every = list(places)
    inside = [(x, y) for x, y in every if frame.y[0] <= y <= frame.y[1]]
    axes.plot([x for x, _ in inside], [y for _, y in inside], **look | {"zorder": zorder})
    for x, y in every:
        if y > frame.y[1]:
            axes.plot([x], [frame.y[1]], marker="^", **EDGE_LOOK)
        elif y < frame.y[0]:
            axes.plot([x], [frame.y[0]], marker="v", **EDGE_LOOK)
