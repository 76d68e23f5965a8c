"""What preconditioning and loss make of the raw network's task, by noise level: the terms of the paper's eq. 8.

    E [ lambda(sigma) c_out(sigma)^2 | F(c_in (y + n); c_noise) - (y - c_skip (y + n)) / c_out |^2 ]

The paper's choices put the variance of the network's input, the variance of its target and the effective weight
lambda c_out^2 at 1 at every level.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from harness.report.figures.axes import Frame, canvas, padded
from harness.report.figures.noise_levels import DECADES, LEVELS
from harness.report.figures.style import MUTED, TICK, Style, plain_style
from harness.report.text.numbers import significant
from harness.report.training import Column, Levels, Row, Training

WIDTH, HEIGHT = 4.1, 1.9  # inches
TERMS = {
    "effective_weight": "Effective weight λ·c_out²",
    "input_variance": "Variance of the input c_in·x",
    "target_variance": "Variance of the target (y − c_skip·x) / c_out",
}
"""Terms of eq. 8 by their names in a plan."""

SAME = 1e-3
"""Relative difference below which two configurations have one line."""

NAMES = 0.14
"""Room above the lines for their names, as a part of the decades of the axis."""

MARKS = 7
"""About how many markers a line has."""


class TermLine(NamedTuple):
    """Configurations that agree on a term of an architecture, and its values [K] by noise level."""

    rows: tuple[Row, ...]
    sigma: np.ndarray
    values: np.ndarray


class TermPanel(NamedTuple):
    """A term of eq. 8 on an architecture."""

    term: str
    column: Column
    lines: list[TermLine]


def term_panels(training: Training) -> list[TermPanel]:
    """The panels to draw, architecture by architecture; those without values are left out."""
    panels = [TermPanel(term, column, _merged(training, term, column)) for column in training.columns for term in TERMS]
    return [panel for panel in panels if panel.lines]


def _merged(training: Training, term: str, column: Column) -> list[TermLine]:
    """A line for each configuration; those that lie on each other are one. All training seeds have the same."""
    lines: list[TermLine] = []
    for row in training.rows:
        own = next((each for each in training.levels if _has(each, term, row, column)), None)
        if own is None:
            continue
        sigma, values = np.array(own.sigma), np.array(getattr(own, term))
        same = (place for place, line in enumerate(lines) if _agree(line, sigma, values))
        place = next(same, None)
        if place is None:
            lines.append(TermLine((row,), sigma, values))
        else:
            lines[place] = lines[place]._replace(rows=(*lines[place].rows, row))
    return lines


def _has(levels: Levels, term: str, row: Row, column: Column) -> bool:
    values = getattr(levels, term)
    return (levels.row, levels.column) == (row.name, column.name) and bool(np.isfinite(values).any())


def _agree(line: TermLine, sigma: np.ndarray, values: np.ndarray) -> bool:
    if line.sigma.shape != sigma.shape:
        return False
    return all(
        np.allclose(one, two, rtol=SAME, atol=0, equal_nan=True)
        for one, two in ((line.sigma, sigma), (line.values, values))
    )


def common_frame(panels: Sequence[TermPanel], term: str) -> Frame | None:
    """Axes on log scales that hold a term on every architecture, and 1; None where there is nothing above 0."""
    lines = [line for panel in panels if panel.term == term for line in panel.lines]
    values = np.concatenate([np.empty(0), *(line.values for line in lines)])
    values = values[np.isfinite(values) & (values > 0)]
    x = padded((float(level) for line in lines for level in line.sigma), 0.03)
    if x is None or not values.size:
        return None
    # what is furthest from 1 on the way up has no limit, and on the way down at most DECADES
    y = padded((1.0, *(float(value) for value in values if value > 1 / DECADES)), 0.08)
    assert y is not None
    low, high = min(y[0], 0.5), max(y[1], 2.0)  # a term that is 1 everywhere does not fill its panel with rounding
    y = (low, high * (high / low) ** NAMES)
    return Frame(x, y, TERMS[term], LEVELS, counts=False)


@plain_style()
def plot(panel: TermPanel, looks: Mapping[str, Style], frame: Frame | None = None) -> Axes:
    """Draw one panel.

    Args:
        panel: from `term_panels`.
        looks: of the configurations by name.
        frame: the axes that all panels of the term share; those of this panel by default.

    Raises:
        ValueError: it has no values above 0.
    """
    frame = frame or common_frame([panel], panel.term)
    if frame is None:
        raise ValueError(f"{panel.column.name}: {TERMS[panel.term]} has no values to draw")
    axes = canvas(frame, WIDTH, HEIGHT)
    axes.axhline(1, color=MUTED.light, lw=0.8, ls=(0, (1, 2)), zorder=2)
    right = 1.0
    for order, line in reversed(list(enumerate(panel.lines))):
        style = looks[line.rows[0].name]
        every = max(1, len(line.sigma) // MARKS)
        look = style.plot | {"ms": 4.2, "markevery": (order * every // max(1, len(panel.lines)), every)}
        axes.plot(line.sigma, line.values, zorder=3 + order, **look)
        right = _name(axes, ", ".join(row.name for row in line.rows), style, right)
    told = "; ".join(_words(line) for line in panel.lines)
    axes.figure.set_label(f"{TERMS[panel.term]} against noise level on {panel.column.name}. {told}.")
    return axes


def _name(axes: Axes, names: str, style: Style, right: float) -> float:
    """The names of a line below the top of the panel, right of what follows; where the next ends."""
    axes.text(
        right,
        0.97,
        names,
        transform=axes.transAxes,
        fontsize=TICK,
        fontweight="bold",
        color=style.colour.light,
        ha="right",
        va="top",
        zorder=100,
    )
    return right - 0.028 * (len(names) + 2)


def _words(line: TermLine) -> str:
    known = line.values[np.isfinite(line.values)]
    return (
        f"{', '.join(row.name for row in line.rows)}: {significant(float(known[0]))} to {significant(float(known[-1]))}"
    )
