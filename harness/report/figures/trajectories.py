"""Trajectories of samples of one number, x against t: straight lines are what every solver follows without error."""

from typing import Any, NamedTuple

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import Panel
from harness.report.data import records
from harness.report.figures import glyphs as marks
from harness.report.figures.glyphs import LABEL
from harness.report.figures.quality import LEFT, RIGHT, TICKS, TOP, WIDTH
from harness.report.figures.style import MUTED, RULE, Style
from harness.report.figures.svg import inline
from harness.report.text.numbers import significant

HEIGHT, GAP, NEAR = 1.9, 0.62, 2.5


class Trajectories(NamedTuple):
    """One panel: heading, curve, its curvature as text, and times and states of every sample."""

    title: str
    series: str
    about: str
    t: list[float]
    x: list[list[float]]
    style: Style


def trajectories(panels: list[Panel], styles: dict[str, Style]) -> list[Trajectories]:
    """Every trial that kept its trajectories."""
    found = []
    for panel in panels:
        for curve in panel.curves:
            for line in records(curve.done):
                paths = line["details"].get("paths")
                if paths:
                    about = f"curvature {significant(line['value'])}"
                    style = styles[curve.name]
                    found.append(Trajectories(panel.title, curve.name, about, paths["t"], paths["x"], style))
    return found


def trajectories_svg(shown: Trajectories, prefix: str) -> str:
    """The whole range of t above, and where the data is below."""
    height = TOP + 2 * HEIGHT + GAP + TICKS
    wide = 1 - (LEFT + RIGHT) / WIDTH
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        upper = figure.add_axes((LEFT / WIDTH, 1 - (TOP + HEIGHT) / height, wide, HEIGHT / height))
        _draw(upper, shown, "x against t, over the whole range")
        lower = figure.add_axes((LEFT / WIDTH, TICKS / height, wide, HEIGHT / height))
        _draw(lower, shown, "the same near the data")
        lower.set(xlim=(0, _near(shown)), ylim=(-NEAR, NEAR))
        lower.set_xlabel("t", fontsize=LABEL, color=MUTED.light, labelpad=3)
        return inline(figure, prefix, f"Trajectories x(t) of {shown.title}, {shown.series}: {shown.about}.")


def _near(shown: Trajectories) -> float:
    """The time up to which half of the samples stay near the data."""
    for index, t in enumerate(reversed(shown.t)):
        column = [path[len(shown.t) - 1 - index] for path in shown.x]
        if sum(abs(value) < NEAR for value in column) < len(column) / 2:
            return t
    return max(shown.t)


def _draw(axes: Axes, shown: Trajectories, words: str) -> None:
    kind: dict[str, Any] = {"color": shown.style.colour.light, "lw": 0.8, "alpha": 0.55}
    for path in shown.x:
        axes.plot(shown.t, path, **kind)
    axes.set_xlim(0, max(shown.t))
    axes.tick_params(length=2.5, width=0.7, pad=2)
    axes.grid(True, color=RULE.light, lw=0.5)
    sns.despine(ax=axes)
    axes.text(0, 1 + 0.07 / HEIGHT, words, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)
