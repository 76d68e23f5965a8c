"""The legend of all panels: small pictures that the page draws once and shows wherever it names a series."""

from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.curves import Panel
from harness.report.data import Floor, records
from harness.report.figures import glyphs as marks
from harness.report.figures.style import INK, Style
from harness.report.figures.svg import symbol
from harness.report.tables.seed_ranges import ends

SIZE = (0.44, 0.2)  # inches


class Sign(NamedTuple):
    """An entry of the legend: a picture as a `<symbol>` with this id, and words."""

    id: str
    words: str
    symbol: str


def series_signs(styles: dict[str, Style]) -> dict[str, Sign]:
    """The sign of every series: its line and marker."""
    return {name: sign(f"series{index}", name, _sample(style)) for index, (name, style) in enumerate(styles.items())}


def line_signs(styles: dict[str, Style], prefix: str) -> list[Sign]:
    """The signs of lines that are no series: trials of one curve."""
    return [sign(f"{prefix}{index}", name, _sample(style)) for index, (name, style) in enumerate(styles.items())]


def mark_signs(panels: list[Panel], floor: Floor | None, ranges: str = "") -> list[Sign]:
    """The signs of the other marks that the panels show; `ranges` says what bars over ranges of seeds are."""
    curves = [curve for panel in panels for curve in panel.curves]
    signs = []
    if curves and floor:
        signs.append(sign("mark-floor", "floor: real images", lambda axes: marks.floor_band(axes, 0.2, 0.5, 0.8)))
    if any(curve.lowest for curve in curves):
        words = "lowest NFE within 3 % of the curve’s best"
        signs.append(sign("mark-lowest", words, lambda axes: marks.ring(axes, 1, 0.5, INK.light)))
    if any(curve.published for curve in curves):
        words = "the same in the paper, by FID"
        signs.append(sign("mark-paper", words, lambda axes: marks.diamond(axes, 1, 0.5)))
    if ranges and any(ends(line) for curve in curves for line in records(curve.done)):
        signs.append(sign("mark-ranges", ranges, lambda axes: marks.bars(axes, [1], [0.15], [0.85], INK.light)))
    if any((curve.trials["status"] == "failed").any() for curve in curves):
        signs.append(sign("mark-failed", "failed trial", lambda axes: marks.cross(axes, [1], 0.5, INK.light)))
    return signs


def sign(name: str, words: str, draw: Callable[[Axes], Any]) -> Sign:
    """A small picture, drawn on axes from (0, 0) to (2, 1)."""
    with marks.plain_style():
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 2), ylim=(0, 1))
        axes.axis("off")
        draw(axes)
        return Sign(name, words, symbol(figure, name))


def _sample(style: Style) -> Callable[[Axes], Any]:
    return lambda axes: axes.plot([0.15, 1, 1.85], [0.5] * 3, markevery=[1], **marks.line(style))
