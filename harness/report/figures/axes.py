"""Axes that panels share: limits and scales, and ticks at plain numbers, few enough not to run into each other."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.report.figures.style import LABEL, MUTED, RULE

LEFT, RIGHT, TOP, MAIN, TICKS = 0.42, 0.12, 0.30, 2.6, 0.48
"""Inches beside, above, of and below the axes of a figure."""

MANTISSAS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
"""From dense to sparse; the densest that is not too many is used."""

WHOLE_MANTISSAS = ((1, 2, 5), (1, 3), (1,))
"""The same for NFE: nothing but 1, 2, 5 where that gives enough."""

SINGLE = (1, 2, 3, 4, 5, 6, 7, 8, 9)


class Frame(NamedTuple):
    """The axes that all panels share.

    Args:
        x: limits of the horizontal axis.
        y: limits of the metric.
        y_title: name of the metric.
        x_title: of the horizontal axis.
        x_log, y_log: whether they are logarithmic.
        counts: whether the horizontal axis counts evaluations, and so has whole numbers.
        better: which way the metric is better.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    y_title: str
    x_title: str = "Denoiser evaluations per image (NFE)"
    x_log: bool = True
    y_log: bool = True
    counts: bool = True
    better: Literal["lower", "higher"] = "lower"

    def across(self, x: float) -> float:
        """Where a number stands on the horizontal axis, from 0 at the left to 1 at the right."""
        low, high, at = (math.log(value) if self.x_log else value for value in (*self.x, x))
        return (at - low) / (high - low)


def log_ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers between low and high for a log axis, at most `most` of them.

    Args:
        low, high: ends of the axis, above zero.
        most: no more ticks than this.
        whole: for whole numbers; 1, 2, 5 and their decades, unless fewer than three lie on the axis.
    """
    sets: tuple[tuple[float, ...], ...] = WHOLE_MANTISSAS if whole else MANTISSAS
    if whole and len(_between(low, high, sets[0])) < 3:
        sets = (SINGLE, *MANTISSAS)
    for mantissas in sets:
        ticks = _between(low, high, mantissas)
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def _between(low: float, high: float, mantissas: tuple[float, ...]) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    candidates = (mantissa * 10.0**exponent for exponent in range(first, last + 1) for mantissa in mantissas)
    return [tick for tick in candidates if low <= tick <= high]


def padded(values: Iterable[float], share: float) -> tuple[float, float] | None:
    """Limits of a log axis: the positive values and some room, as a share of the decades between them."""
    positive = [value for value in values if math.isfinite(value) and value > 0]
    if not positive:
        return None
    low, high = math.log10(min(positive)), math.log10(max(positive))
    room = max((high - low) * share, 0.03)
    return 10 ** (low - room), 10 ** (high + room)


def spanned(values: Iterable[float], share: float) -> tuple[float, float] | None:
    """Limits of a linear axis: the values and some room, as a share of what is between them."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    room = (high - low) * share or abs(low) * share or 0.5
    return low - room, high + room


def is_log(values: Iterable[float], ratio: float = 25) -> bool:
    """Whether numbers are best seen on a log axis: all positive, and far apart."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > ratio


def plain(value: float) -> str:
    """A tick's label: 0.05, 5, −2000."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}", 1) if value < 0 else f"{value:.10g}"


def label_room(frame: Frame) -> float:
    """Inches that the labels of the upright axis take, with their ticks."""
    ticks = log_ticks(*frame.y, most=7) if frame.y_log else MaxNLocator(6).tick_values(*frame.y)
    return 0.078 * max((len(plain(tick)) for tick in ticks if frame.y[0] <= tick <= frame.y[1]), default=0) + 0.05


def canvas(frame: Frame, width: float, height: float = MAIN, below: float = TICKS, right: float = RIGHT) -> Axes:
    """Prepared axes on a figure of their own.

    Args:
        frame: what they show.
        width: of the figure, in inches.
        height: of the axes alone.
        below, right: room for ticks, titles and scales.
    """
    left, total = max(LEFT, label_room(frame)), TOP + height + below
    box = (left / width, below / total, 1 - (left + right) / width, height / total)
    axes = Figure(figsize=(width, total)).add_axes(box)
    prepare(axes, frame)
    return axes


def prepare(axes: Axes, frame: Frame) -> None:
    """Scales, limits, ticks, grid and titles."""
    axes.set(xscale="log" if frame.x_log else "linear", yscale="log" if frame.y_log else "linear")
    axes.set(xlim=frame.x, ylim=frame.y)
    draw_ticks(axes, frame)
    sns.despine(ax=axes)
    axes.grid(True, color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel(frame.x_title, fontsize=LABEL, color=MUTED.light, labelpad=3)
    axes.text(0, 1 + 0.09 / MAIN, frame.y_title, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)


def draw_ticks(axes: Axes, frame: Frame, upright: bool = True) -> None:
    """Plain numbers on both axes; none on an upright axis without numbers."""
    ticks = FixedLocator(log_ticks(*frame.x, most=9, whole=frame.counts)) if frame.x_log else MaxNLocator(7)
    axes.xaxis.set_major_locator(ticks)
    if upright:
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(*frame.y, most=7)) if frame.y_log else MaxNLocator(6))
    else:
        axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(length=2.5, width=0.7, pad=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
