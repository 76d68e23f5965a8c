"""The loss by noise level before and after training, over what training draws: the paper's Figure 5a.

A network learns at the levels where the loss can fall: at low noise it has nothing to see, and at high noise the answer
is the data's mean whatever it does. The paper's argument for its noise distribution is that training belongs between.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from harness.report.figures.axes import Frame, canvas, padded
from harness.report.figures.noise_levels import DECADES, LEVELS
from harness.report.figures.style import BASELINE, FLOOR, Style, plain_style
from harness.report.text.numbers import NONE, plural, significant
from harness.report.training import Column, Levels, Row, Training

WIDTH, HEIGHT = 4.1, 1.9  # inches
LOSS = "Loss λ|D − y|² per pixel"
WILD = 20
"""Losses above so many times the untrained network's median make the axis logarithmic."""

TALLEST = 0.92
"""Part of a panel's height that the greatest density of all panels takes."""

DASHES = (0, (4, 2))


class LossPanel(NamedTuple):
    """A configuration on an architecture, [S, K] over training seeds and levels; NaN where it is not known.

    Args:
        row, column: which.
        sigma: [K] noise levels, ascending.
        before, after: the loss of the untrained and of the trained network.
        density: [K] of ln sigma in training; empty where it is not known.
    """

    row: Row
    column: Column
    sigma: np.ndarray
    before: np.ndarray
    after: np.ndarray
    density: np.ndarray


def loss_panels(training: Training) -> list[LossPanel]:
    """The panels to draw, architecture by architecture; those without any loss are left out."""
    made = []
    for column in training.columns:
        for row in training.rows:
            own = [each for each in training.levels if (each.row, each.column) == (row.name, column.name)]
            if any(each.before or each.after for each in own):
                made.append(_panel(row, column, own))
    return made


def _panel(row: Row, column: Column, own: Sequence[Levels]) -> LossPanel:
    sigma = np.array(own[0].sigma)
    before, after = (
        np.stack([_on(sigma, each.sigma, values) for each, values in zip(own, lists, strict=True)])
        for lists in ([each.before for each in own], [each.after for each in own])
    )
    density = next((_on(sigma, each.sigma, each.density) for each in own if each.density), np.empty(0))
    return LossPanel(row, column, sigma, before, after, density)


def _on(sigma: np.ndarray, levels: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """Values [K] at the levels of the first seed, linear in ln sigma between a seed's own; NaN beyond them."""
    if not values:
        return np.full(len(sigma), np.nan)
    return np.interp(np.log(sigma), np.log(levels), values, left=np.nan, right=np.nan)


def common_frame(panels: Sequence[LossPanel]) -> Frame | None:
    """Axes that hold every panel; None where there is nothing.

    The loss is linear from 0, so that what there is to gain is seen as a height, unless some loss is far above the
    untrained networks'.
    """
    losses = np.concatenate([np.empty(0), *(part.ravel() for panel in panels for part in (panel.before, panel.after))])
    losses = losses[np.isfinite(losses)]
    x = padded((float(level) for panel in panels for level in panel.sigma), 0.03)
    if x is None or not losses.size:
        return None
    untrained = np.concatenate([panel.before.ravel() for panel in panels])
    usual = float(np.nanmedian(untrained)) if np.isfinite(untrained).any() else float(np.median(losses))
    if losses.max() > WILD * usual:
        y = padded((float(value) for value in losses if value > losses.max() / DECADES), 0.06)
        return Frame(x, y, LOSS, LEVELS, counts=False) if y else None
    top = 1.06 * float(losses.max()) or 1.0
    return Frame(x, (0.0, top), LOSS, LEVELS, y_log=False, counts=False)


@plain_style()
def plot(panel: LossPanel, style: Style, frame: Frame | None = None, densest: float | None = None) -> Axes:
    """Draw one panel.

    Args:
        panel: from `loss_panels`.
        style: of the configuration.
        frame: the axes that all panels share; those of this panel by default.
        densest: the greatest density of all panels, so that their shades compare; this panel's by default.

    Raises:
        ValueError: it has no losses.
    """
    frame = frame or common_frame([panel])
    if frame is None:
        raise ValueError(f"{panel.row.name} on {panel.column.name}: there is no loss by noise level to draw")
    axes = canvas(frame, WIDTH, HEIGHT)
    top = densest or density_of([panel])
    if panel.density.size and top > 0:
        height = TALLEST * np.nan_to_num(panel.density) / top
        across = axes.get_xaxis_transform()  # x in levels, y from 0 to 1 in the panel
        axes.fill_between(panel.sigma, height, color=FLOOR.light, alpha=0.22, lw=0, zorder=1, transform=across)
    _lines(axes, panel.sigma, panel.before, frame, BASELINE.light, DASHES, 3)
    _lines(axes, panel.sigma, panel.after, frame, style.colour.light, "-", 4)
    axes.figure.set_label(_words(panel))
    return axes


def density_of(panels: Sequence[LossPanel]) -> float:
    """The greatest density of some panels; 0 where none is known."""
    return max((float(np.nan_to_num(panel.density).max()) for panel in panels if panel.density.size), default=0.0)


def _lines(
    axes: Axes, sigma: np.ndarray, losses: np.ndarray, frame: Frame, colour: str, line: object, order: int
) -> None:
    """The mean over seeds, and from the least to the greatest of them as a band."""
    known = np.isfinite(losses).any(axis=0)
    if not known.any():
        return
    shown, at = losses[:, known], sigma[known]
    low, high = (np.maximum(end, frame.y[0]) for end in (np.nanmin(shown, axis=0), np.nanmax(shown, axis=0)))
    axes.fill_between(at, low, high, color=colour, alpha=0.2, lw=0, zorder=order)
    axes.plot(at, np.nanmean(shown, axis=0), color=colour, ls=line, lw=1.6, zorder=order + 0.5)


def _words(panel: LossPanel) -> str:
    """The panel for readers who do not see it."""
    told = f"Training loss against noise level for configuration {panel.row.name} on {panel.column.name}, "
    told += f"{plural(len(panel.after), 'training seed')}"
    for word, losses in (("untrained", panel.before), ("trained", panel.after)):
        if not np.isfinite(losses).any():
            told += f"; {word}: {NONE}"
            continue
        means = np.nanmean(losses[:, np.isfinite(losses).any(axis=0)], axis=0)
        told += f"; {word}: {significant(float(means.min()))} to {significant(float(means.max()))}"
    if density_of([panel]) > 0:
        most = float(panel.sigma[np.nan_to_num(panel.density).argmax()])
        told += f"; training draws σ about {significant(most)} most"
    return f"{told}."
