"""Quality along another axis than NFE, such as S_churn, for each training configuration: the paper's Figure 5b."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from harness.metrics.statistics.welch import mean
from harness.report.data import GridData
from harness.report.figures.axes import Frame, canvas, is_log, padded, spanned
from harness.report.figures.legend import ring
from harness.report.figures.style import Style, plain_style
from harness.report.figures.svg import SAYS
from harness.report.text.formula import symbols
from harness.report.text.numbers import significant
from harness.report.training import AxisCurve, AxisPanel, AxisPlace

WIDTH = 4.1  # inches
APART = 5
"""Values that are further apart than by this factor have a logarithmic axis."""


def common_frame(data: GridData, panels: Sequence[AxisPanel]) -> Frame | None:
    """Axes that hold every panel; None where nothing is done."""
    places = [place for panel in panels for curve in panel.curves for place in curve.places]
    values = [value for place in places for value in place.values]
    x_log = is_log(place.x for place in places)
    y_log = data.by_factors and is_log(values, APART)
    x = (padded if x_log else spanned)((place.x for place in places), 0.05 if x_log else 0.04)
    y = (padded if y_log else spanned)(values, 0.06)
    if x is None or y is None:
        return None
    return Frame(x, y, data.title, symbols(data.plan["x"]["title"]), x_log=x_log, y_log=y_log, counts=False)


@plain_style()
def plot(data: GridData, panel: AxisPanel, looks: Mapping[str, Style], frame: Frame | None = None) -> Axes:
    """Draw one panel: the mean over training seeds, the band from their least to their greatest, a ring at the best.

    Args:
        data: the grid under the metric.
        panel: from `axis_panels`.
        looks: of the configurations by name.
        frame: the axes that all panels share; those of this panel by default.

    Raises:
        ValueError: nothing is done yet.
    """
    frame = frame or common_frame(data, [panel])
    if frame is None:
        raise ValueError(f"{data.title}: no trial is done yet, so there is nothing to draw")
    axes = canvas(frame, WIDTH)
    for order, curve in enumerate(panel.curves, start=3):
        colour, x = looks[curve.row.name].colour.light, [place.x for place in curve.places]
        low, high = ([end(place.values) for place in curve.places] for end in (min, max))
        axes.fill_between(x, low, high, color=colour, alpha=0.16, lw=0, zorder=order)
        means = [mean(place.values) for place in curve.places]
        (line,) = axes.plot(x, means, zorder=order + len(panel.curves), **looks[curve.row.name].plot)
        line.set_gid(f"{SAYS}{curve.row.name}")
        best = best_place(curve, data.lower_is_better)
        ring(axes, best.x, mean(best.values), colour)
    told = "; ".join(_words(curve, data.lower_is_better) for curve in panel.curves)
    axes.figure.set_label(f"{data.title} against {frame.x_title} on {panel.column.name}, by {panel.series}. {told}.")
    return axes


def best_place(curve: AxisCurve, lower_is_better: bool) -> AxisPlace:
    """Where the mean over seeds is best; of equals the first."""
    sign = 1 if lower_is_better else -1
    return min(curve.places, key=lambda place: sign * mean(place.values))


def _words(curve: AxisCurve, lower_is_better: bool) -> str:
    best = best_place(curve, lower_is_better)
    at = "" if math.isnan(best.x) else f" at {best.x:g}"
    return f"{curve.row.name}: {'least' if lower_is_better else 'highest'} {significant(mean(best.values))}{at}"
