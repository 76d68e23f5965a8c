"""Trajectories of samples of one number, x against t: straight lines are what every solver follows without error."""

from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.data import TrialResult
from harness.report.figures.axes import LEFT, RIGHT, TICKS, TOP
from harness.report.figures.style import LABEL, MUTED, OURS, RULE, Style, plain_style
from harness.report.text.numbers import significant

WIDTH, HEIGHT, GAP = 4.1, 1.9, 0.62  # inches
NEAR = 2.5
"""How far from 0 the lower axes show."""


@plain_style()
def plot(trial: TrialResult, title: str = "", style: Style | None = None) -> list[Axes]:
    """Draw the whole range of t above, and where the data is below.

    Args:
        trial: a finished one that kept its trajectories.
        title: of its panel, for readers who do not see the figure.
        style: whose colour the lines take.
    """
    t, x = trial.details["paths"]["t"], trial.details["paths"]["x"]
    height = TOP + 2 * HEIGHT + GAP + TICKS
    wide = 1 - (LEFT + RIGHT) / WIDTH
    about = f"Trajectories x(t) of {title or trial.panel}, {trial.series}: {curvature(trial)}."
    figure = Figure(figsize=(WIDTH, height), label=about)
    upper = figure.add_axes((LEFT / WIDTH, 1 - (TOP + HEIGHT) / height, wide, HEIGHT / height))
    lower = figure.add_axes((LEFT / WIDTH, TICKS / height, wide, HEIGHT / height))
    look: Any = {"color": (style.colour if style else OURS).light, "lw": 0.8, "alpha": 0.55}
    for axes, words in ((upper, "x against t, over the whole range"), (lower, "the same near the data")):
        for path in x:
            axes.plot(t, path, **look)
        axes.set_xlim(0, max(t))
        axes.tick_params(length=2.5, width=0.7, pad=2)
        axes.grid(True, color=RULE.light, lw=0.5)
        sns.despine(ax=axes)
        axes.text(0, 1 + 0.07 / HEIGHT, words, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)
    lower.set(xlim=(0, _near(t, x)), ylim=(-NEAR, NEAR))
    lower.set_xlabel("t", fontsize=LABEL, color=MUTED.light, labelpad=3)
    return [upper, lower]


def curvature(trial: TrialResult) -> str:
    """The trial's value in words."""
    return f"curvature {significant(trial.value)}"


def _near(t: list[float], x: list[list[float]]) -> float:
    """The time up to which half of the samples stay near the data."""
    for index in reversed(range(len(t))):
        if sum(abs(path[index]) < NEAR for path in x) < len(x) / 2:
            return t[index]
    return max(t)
