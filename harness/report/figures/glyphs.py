"""What figures and legend are drawn with: matplotlib's settings, lines, rings, diamonds and crosses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import seaborn as sns
from matplotlib import rc_context, rcdefaults
from matplotlib.axes import Axes

from harness.report.figures.style import FLOOR, INK, MUTED, SURFACE, Style

LABEL, TICK = 9.2, 8.8  # points

_STYLE: Any = {
    "font.size": LABEL,
    "axes.edgecolor": MUTED.light,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "text.color": INK.light,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,
}


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's defaults with our style, whatever the reader's own settings are."""
    with rc_context():
        rcdefaults()
        with sns.axes_style("ticks", _STYLE), rc_context(_STYLE):
            yield


def line(style: Style) -> dict[str, Any]:
    """Keywords of `Axes.plot` for a series."""
    look = {"marker": style.marker, "ls": style.line, "lw": 1.5, "ms": 4.8}
    return look | {"color": style.colour.light, "mec": SURFACE.light, "mew": 0.6}


def ring(axes: Axes, x: float, y: float, colour: str) -> None:
    """Round the lowest NFE within 3 %."""
    axes.plot([x], [y], marker="o", ms=9.5, mfc="none", mec=colour, mew=1.3, ls="none", zorder=9)


def diamond(axes: Axes, x: float, y: float) -> None:
    """At a published NFE."""
    axes.plot([x], [y], marker="D", ms=4.4, mfc="none", mec=MUTED.light, mew=1, ls="none", zorder=3, clip_on=False)


def cross(axes: Axes, x: list[float], y: float, colour: str, **options: Any) -> None:
    """At the NFE of failed trials."""
    axes.plot(x, [y] * len(x), marker="x", ms=5, mec=colour, mew=1.3, ls="none", zorder=9, **options)


def bars(axes: Axes, x: list[float], low: list[float], high: list[float], colour: str, **options: Any) -> None:
    """From the least to the greatest of several ranges of seeds: thin, with ends, so as not to look like a band."""
    axes.vlines(x, low, high, color=colour, lw=0.9, **options)
    for y in (low, high):
        axes.plot(x, y, marker="_", ms=4.6, mec=colour, mew=0.9, ls="none", **options)


def floor_band(axes: Axes, low: float, mean: float, high: float) -> None:
    """The floor, a dashed line in its band."""
    axes.axhspan(low, high, color=FLOOR.light, alpha=0.18, lw=0, zorder=1)
    axes.axhline(mean, color=FLOOR.light, lw=1.1, ls=(0, (4, 2)), zorder=1.5)
