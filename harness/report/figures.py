"""The figure: a panel for every denoiser, the metric against NFE on log axes, one line a series."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report import marks
from harness.report.axes import Frame, draw_ticks, padded
from harness.report.curves import Curve, Panel
from harness.report.data import Floor
from harness.report.marks import LABEL, TICK
from harness.report.numbers import NONE, evaluations, significant
from harness.report.palette import MUTED, RULE, Style
from harness.report.strip import draw_strip, row_heights
from harness.report.svg import inline

WIDTH, LEFT, RIGHT = 4.1, 0.42, 0.12  # inches
TOP, MAIN, TICKS, HEADING, BOTTOM = 0.30, 2.6, 0.48, 0.24, 0.06


def common_frame(panels: list[Panel], floor: Floor | None, y_title: str) -> Frame | None:
    """Axes that hold every panel, so that panels compare by eye; None while nothing is done."""
    done = [curve.done for panel in panels for curve in panel.curves]
    table = pd.concat(done) if done else pd.DataFrame(columns=["nfe", "value"])
    ground = [floor.mean] if floor else []
    x = padded([nfe for panel in panels for curve in panel.curves for nfe in curve.trials["nfe"]], 0.05)
    y = padded([*table["value"], *ground], 0.06)
    return Frame(x, y, y_title) if x and y and len(table) else None


def panel_svg(panel: Panel, frame: Frame, styles: dict[str, Style], floor: Floor | None, prefix: str) -> str:
    """One panel as inline SVG."""
    strip = sum(row_heights(panel))
    height = TOP + MAIN + TICKS + HEADING + strip + BOTTOM
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        wide = 1 - (LEFT + RIGHT) / WIDTH
        main = figure.add_axes((LEFT / WIDTH, 1 - (TOP + MAIN) / height, wide, MAIN / height))
        _draw_main(main, panel, frame, styles, floor)
        below = figure.add_axes((LEFT / WIDTH, BOTTOM / height, wide, strip / height))
        draw_strip(below, panel, frame, styles)
        return inline(figure, prefix, _words(panel, frame))


def _draw_main(axes: Axes, panel: Panel, frame: Frame, styles: dict[str, Style], floor: Floor | None) -> None:
    axes.set(xscale="log", yscale="log", xlim=frame.x, ylim=frame.y)
    draw_ticks(axes, frame)
    sns.despine(ax=axes)
    axes.grid(True, color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("Denoiser evaluations per image (NFE)", fontsize=LABEL, color=MUTED.light, labelpad=3)
    axes.text(0, 1 + 0.09 / MAIN, frame.y_title, transform=axes.transAxes, fontsize=LABEL, color=MUTED.light)
    if floor:
        _draw_floor(axes, frame, floor)
    for order, curve in enumerate(panel.curves):
        _draw_curve(axes, curve, styles[curve.name], frame, 3 + order)


def _draw_floor(axes: Axes, frame: Frame, floor: Floor) -> None:
    if floor.mean <= 0:
        return
    marks.floor_band(axes, max(floor.low, frame.y[0]), floor.mean, max(floor.high, frame.y[0]))
    place: Any = {"xytext": (4, 3), "textcoords": "offset points", "fontsize": TICK, "color": MUTED.light}
    axes.annotate(f"floor {significant(floor.mean)}", (frame.x[0], max(floor.mean, floor.high)), **place)


def _draw_curve(axes: Axes, curve: Curve, style: Style, frame: Frame, order: int) -> None:
    done, colour = curve.done, style.colour.light
    failed = curve.trials[curve.trials["status"] == "failed"]["nfe"]
    low = done["low"].fillna(done["value"]).clip(lower=frame.y[0])
    high = done["high"].fillna(done["value"])
    axes.fill_between(done["nfe"], low, high, color=colour, alpha=0.16, lw=0, zorder=order)
    axes.plot(done["nfe"], done["value"], zorder=order + 0.5, **marks.line(style))
    if curve.lowest:
        point = curve.lowest.point
        axes.plot([point.nfe] * 2, [point.value, frame.y[0]], color=colour, lw=0.8, ls=(0, (1, 2)), zorder=2)
        marks.ring(axes, point.nfe, point.value, colour)
    marks.cross(axes, list(failed), 0.985, colour, transform=axes.get_xaxis_transform(), clip_on=False)


def _words(panel: Panel, frame: Frame) -> str:
    """The panel for readers who do not see it."""
    parts = []
    for curve in panel.curves:
        if curve.lowest:
            best, point = curve.lowest.best, curve.lowest.point
            parts.append(
                f"{curve.name}: best {significant(best.value)}, within 3 % of it from NFE {evaluations(point.nfe)}"
            )
        else:
            parts.append(f"{curve.name}: {NONE}")
    return f"{frame.y_title} against NFE for {panel.title}. " + "; ".join(parts) + "."
