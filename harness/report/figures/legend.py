"""The marks of figures, and the legend of all panels: small pictures that the page draws once and shows by name."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import CurvePanel
from harness.report.data import FloorBand
from harness.report.figures.style import FLOOR, INK, MUTED, Style, plain_style
from harness.report.figures.svg import symbol
from harness.report.text.numbers import plural

SIZE = (0.44, 0.2)  # inches


class LegendEntry(NamedTuple):
    """An entry of the legend: a picture as a `<symbol>` with this id, and words."""

    id: str
    words: str
    symbol: str


def ring(axes: Axes, x: float, y: float, colour: str = INK.light) -> None:
    """Round the lowest NFE within 3 %, or the best."""
    axes.plot([x], [y], marker="o", ms=9.5, mfc="none", mec=colour, mew=1.3, ls="none", zorder=9)


def diamond(axes: Axes, x: float, y: float) -> None:
    """At a published NFE."""
    axes.plot([x], [y], marker="D", ms=4.4, mfc="none", mec=MUTED.light, mew=1, ls="none", zorder=3, clip_on=False)


def cross(axes: Axes, x: list[float], y: float, colour: str = INK.light, **options: Any) -> None:
    """At the places of failed trials."""
    axes.plot(x, [y] * len(x), marker="x", ms=5, mec=colour, mew=1.3, ls="none", zorder=9, **options)


def range_bars(axes: Axes, x: list[float], low: list[float], high: list[float], colour: str, **options: Any) -> None:
    """From the least to the greatest of several ranges of seeds: thin, with ends, so as not to look like a band."""
    axes.vlines(x, low, high, color=colour, lw=0.9, **options)
    for y in (low, high):
        axes.plot(x, y, marker="_", ms=4.6, mec=colour, mew=0.9, ls="none", **options)


def floor_band(axes: Axes, low: float, mean: float, high: float) -> None:
    """What a perfect sampler gets, a dashed line in its band."""
    axes.axhspan(low, high, color=FLOOR.light, alpha=0.18, lw=0, zorder=1)
    axes.axhline(mean, color=FLOOR.light, lw=1.1, ls=(0, (4, 2)), zorder=1.5)


@plain_style()
def legend_entry(name: str, words: str, draw: Callable[[Axes], Any]) -> LegendEntry:
    """A small picture, drawn on axes from (0, 0) to (2, 1)."""
    axes = Figure(figsize=SIZE).add_axes((0, 0, 1, 1), xlim=(0, 2), ylim=(0, 1))
    axes.axis("off")
    draw(axes)
    return LegendEntry(name, words, symbol(axes, name))


def marker_entry(name: str, words: str, look: Mapping[str, Any]) -> LegendEntry:
    """The entry of a marker."""
    return legend_entry(name, words, lambda axes: axes.plot([1], [0.5], **look))


def line_entries(styles: Mapping[str, Style], prefix: str) -> dict[str, LegendEntry]:
    """Lines with their markers, by name: of series, or of trials of one curve."""

    def line(style: Style) -> Callable[[Axes], Any]:
        return lambda axes: axes.plot([0.15, 1, 1.85], [0.5] * 3, markevery=[1], **style.plot)

    return {
        name: legend_entry(f"{prefix}{index}", name, line(style)) for index, (name, style) in enumerate(styles.items())
    }


def others_entry(count: int) -> LegendEntry:
    """The grey lines of so many curves that have no entry of their own."""
    words = f"{plural(count, 'other curve')}; each says its name when pointed at, and the tables have all"
    look: Any = {"color": FLOOR.light, "lw": 1.0, "alpha": 0.55}
    return legend_entry("mark-others", words, lambda axes: axes.plot([0.15, 1.85], [0.5] * 2, **look))


def mark_entries(panels: list[CurvePanel], floor: FloorBand | None, ranges: str = "") -> list[LegendEntry]:
    """The other marks that the panels show; `ranges` says what bars over ranges of seeds are."""
    curves = [curve for panel in panels for curve in panel.curves]
    entries = []
    if curves and floor:
        draw: Callable[[Axes], Any] = lambda axes: floor_band(axes, 0.2, 0.5, 0.8)  # noqa: E731
        entries.append(legend_entry("mark-floor", "a perfect sampler, 90 % of draws", draw))
    if any(curve.lowest for curve in curves):
        words = "lowest NFE within 3 % of the curve’s best"
        entries.append(legend_entry("mark-lowest", words, lambda axes: ring(axes, 1, 0.5)))
    if any(curve.published for curve in curves):
        entries.append(legend_entry("mark-paper", "the paper’s NFE, by FID", lambda axes: diamond(axes, 1, 0.5)))
    if ranges and any(trial.range_ends for curve in curves for trial in curve.done):
        bars: Callable[[Axes], Any] = lambda axes: range_bars(axes, [1], [0.15], [0.85], INK.light)  # noqa: E731
        entries.append(legend_entry("mark-ranges", ranges, bars))
    if any(trial.status == "failed" for curve in curves for trial in curve.trials):
        entries.append(legend_entry("mark-failed", "failed trial", lambda axes: cross(axes, [1], 0.5)))
    return entries
