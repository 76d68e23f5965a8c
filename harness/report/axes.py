"""Axes that panels share, logarithmic, with ticks at plain numbers, few enough not to run into each other."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

MANTISSAS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))
"""From dense to sparse; the densest that is not too many is used."""

WHOLE_MANTISSAS = ((1, 2, 5), (1, 3), (1,))
"""The same for NFE: nothing but 1, 2, 5 where that gives enough."""

SINGLE = (1, 2, 3, 4, 5, 6, 7, 8, 9)


class Frame(NamedTuple):
    """The axes that all panels share.

    Args:
        x: limits of NFE.
        y: limits of the metric.
        y_title: name of the metric.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    y_title: str

    def across(self, nfe: float) -> float:
        """Where an NFE stands on the axis, from 0 at the left to 1 at the right."""
        low, high = (math.log(end) for end in self.x)
        return (math.log(nfe) - low) / (high - low)


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


def plain(value: float) -> str:
    """A tick's label: 0.05, 5, 2000."""
    return f"{value:.10g}"


def draw_ticks(axes: Axes, frame: Frame) -> None:
    """Plain numbers on both axes; none on an upright axis that is not logarithmic."""
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(*frame.x, most=9, whole=True)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.tick_params(length=2.5, width=0.7, pad=2)
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(*frame.y, most=7)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    else:
        axes.yaxis.set_major_locator(NullLocator())
