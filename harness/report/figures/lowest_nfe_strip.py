"""The strip under a panel: the lowest NFE within 3 % of each curve's best, with its range, and the paper's.

It shares the panel's NFE axis. The paper's FIDs are of other networks on another scale: they stand here as numbers, and
only their NFE is drawn, as hollow diamonds.
"""

from typing import Any

from matplotlib.axes import Axes

from harness.report.curves import Curve, Panel
from harness.report.figures import glyphs as marks
from harness.report.figures.axes import Frame, draw_ticks
from harness.report.figures.glyphs import LABEL, TICK
from harness.report.figures.style import MUTED, RULE, Style
from harness.report.text.numbers import evaluations

ROW, ROW_WITH_PAPER = 0.25, 0.42  # inches
HEADING = "Lowest NFE within 3 % of the best, and its range"


def row_heights(panel: Panel) -> list[float]:
    """Inches of each curve's row."""
    return [ROW_WITH_PAPER if curve.published else ROW for curve in panel.curves]


def draw_strip(axes: Axes, panel: Panel, frame: Frame, styles: dict[str, Style]) -> None:
    """Draw the rows on axes that are as high as all of them."""
    rows = row_heights(panel)
    total = sum(rows)
    axes.set(xscale="log", xlim=frame.x, ylim=(0, total))
    draw_ticks(axes, frame)
    axes.grid(True, axis="x", color=RULE.light, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0, total + 0.07, HEADING, transform=axes.get_yaxis_transform(), fontsize=LABEL, color=MUTED.light)
    top = total
    for curve, height in zip(panel.curves, rows, strict=True):
        axes.axhline(top, color=RULE.light, lw=0.7, clip_on=False)
        _draw_lowest(axes, curve, styles[curve.name], frame, top - 0.13)
        if curve.published:
            _draw_published(axes, curve, frame, top - 0.305)
        top -= height


def _draw_lowest(axes: Axes, curve: Curve, style: Style, frame: Frame, y: float) -> None:
    colour = style.colour.light
    if curve.lowest is None:
        axes.text(frame.x[0], y, " nothing done yet", fontsize=TICK, color=MUTED.light, va="center")
        return
    lowest = curve.lowest
    axes.plot([lowest.low, lowest.high], [y, y], color=colour, lw=4.5, alpha=0.32, solid_capstyle="butt", zorder=2)
    axes.plot([lowest.point.nfe], [y], zorder=3, **marks.line(style))
    _beside(axes, frame, lowest.low, lowest.high, y, evaluations(lowest.point.nfe), colour, "bold")


def _draw_published(axes: Axes, curve: Curve, frame: Frame, y: float) -> None:
    assert curve.published is not None
    nfe, words = curve.published.nfe, f"paper {evaluations(curve.published.nfe)} (FID {curve.published.fid:g})"
    if nfe > frame.x[1]:
        axes.text(frame.x[1], y, f"{words} →", fontsize=TICK, color=MUTED.light, ha="right", va="center_baseline")
    elif nfe < frame.x[0]:
        axes.text(frame.x[0], y, f"← {words}", fontsize=TICK, color=MUTED.light, va="center_baseline")
    else:
        marks.diamond(axes, nfe, y)
        _beside(axes, frame, nfe, nfe, y, words, MUTED.light, "normal")


def _beside(axes: Axes, frame: Frame, low: float, high: float, y: float, words: str, colour: str, weight: str) -> None:
    """Words right of a mark from low to high, or left of it where the right has no room."""
    right = frame.across(high) + 0.022 * len(words) + 0.04 < 1
    offset, align = ((6, 0), "left") if right else ((-6, 0), "right")
    anchor = (high if right else low, y)
    kind: dict[str, Any] = {"color": colour, "fontweight": weight, "fontsize": TICK, "ha": align}
    axes.annotate(words, anchor, xytext=offset, textcoords="offset points", va="center_baseline", **kind)
