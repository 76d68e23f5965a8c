"""Axes that panels share, with ticks at plain numbers, few enough not to run into each other."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

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


def draw_ticks(axes: Axes, frame: Frame) -> None:
    """Plain numbers on both axes; none on an upright axis that a strip has."""
    if frame.x_log:
        axes.xaxis.set_major_locator(FixedLocator(log_ticks(*frame.x, most=9, whole=frame.counts)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.tick_params(length=2.5, width=0.7, pad=2)
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(*frame.y, most=7)))
    elif not frame.y_log:
        axes.yaxis.set_major_locator(MaxNLocator(6))
    else:
        axes.yaxis.set_major_locator(NullLocator())
        return
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
