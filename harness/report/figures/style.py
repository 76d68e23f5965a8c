"""Colours and markers: one look for a series over all panels, safe for the colour-blind, in a light and a dark version.

Figures are drawn with the light colours; in the page each becomes a CSS variable, so that they follow the reader's
light or dark setting. No meaning rests on colour alone: every series has a marker of its own.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import seaborn as sns
from matplotlib import rc_context, rcdefaults

LABEL, TICK = 9.2, 8.8  # points


class Colour(NamedTuple):
    """A CSS variable and its two values."""

    variable: str
    light: str
    dark: str


LineStyle = str | tuple[float, tuple[float, ...]]
"""A line style of matplotlib: a word, or where it begins and how long ink and gaps are."""


class Style(NamedTuple):
    """The look of a series."""

    colour: Colour
    marker: str
    line: LineStyle

    @property
    def plot(self) -> dict[str, Any]:
        """Keywords of `Axes.plot`."""
        look = {"marker": self.marker, "ls": self.line, "lw": 1.5, "ms": 4.8}
        return look | {"color": self.colour.light, "mec": SURFACE.light, "mew": 0.6}


INK = Colour("--ink", "#1f2328", "#e6e8eb")
MUTED = Colour("--muted", "#5d6673", "#9aa3af")
RULE = Colour("--rule", "#dfe3e8", "#333a44")
SURFACE = Colour("--surface", "#fefefe", "#14171c")
FLOOR = Colour("--floor", "#8a919c", "#79818d")
NEUTRAL = (INK, MUTED, RULE, SURFACE, FLOOR)

BASELINE = Colour("--baseline", "#6f7782", "#a3acb8")
OURS = Colour("--ours", "#0b63b0", "#62aef2")
OTHERS = (
    Colour("--series-1", "#c65102", "#f0914f"),
    Colour("--series-2", "#00785a", "#3fc39b"),
    Colour("--series-3", "#a3458a", "#dd8cc6"),
    Colour("--series-4", "#8a6d00", "#d4b13d"),
    Colour("--series-5", "#3f8fc4", "#8fd0f5"),
    Colour("--series-6", "#7a4b2a", "#c99b78"),
)
RAMP = (
    Colour("--ramp-1", "#e3b23c", "#8a6410"),
    Colour("--ramp-2", "#d1922b", "#a5791d"),
    Colour("--ramp-3", "#b97432", "#bd8f38"),
    Colour("--ramp-4", "#9a5b48", "#c9996a"),
    Colour("--ramp-5", "#7a4a63", "#c98f9c"),
    Colour("--ramp-6", "#5a427d", "#b98fc4"),
    Colour("--ramp-7", "#403f8f", "#a296dd"),
    Colour("--ramp-8", "#2b3d8a", "#98a6ec"),
    Colour("--ramp-9", "#1b3575", "#a3bdf5"),
    Colour("--ramp-10", "#10254f", "#c2d8fb"),
)
"""For trials of one curve, in the order of their place on the horizontal axis, from light to dark."""

COLOURS = (*NEUTRAL, BASELINE, OURS, *OTHERS, *RAMP)

MARKERS = ("^", "D", "v", "P", "p", "<", ">")
LINES = ("-", "--", "-.", ":")


def styles(series: Sequence[dict[str, Any]], first: Sequence[str] = ()) -> dict[str, Style]:
    """A style for every series of a plan, by name: grey squares for the baseline, blue circles for the last of ours.

    After six other series the colours repeat with another line. No two series look the same.

    Args:
        series: entries of the plan.
        first: names of series that get the looks that are told apart best.
    """
    baseline = next((entry["name"] for entry in series if entry.get("role") == "baseline"), None)
    ours = next((entry["name"] for entry in reversed(series) if entry.get("role") == "ours"), None)
    by_series = {baseline: Style(BASELINE, "s", "-"), ours: Style(OURS, "o", "-")}
    names = dict.fromkeys([*first, *(entry["name"] for entry in series)])
    for index, name in enumerate(name for name in names if name not in by_series):
        by_series[name] = Style(OTHERS[index % len(OTHERS)], MARKERS[index % len(MARKERS)], _line(index))
    return {entry["name"]: by_series[entry["name"]] for entry in series}


def _line(index: int) -> LineStyle:
    """The line of a series: a word for the first, and then dashes of growing lengths, so that no look repeats."""
    place, again = index // len(OTHERS) % len(LINES), index // math.lcm(len(OTHERS) * len(LINES), len(MARKERS))
    return (0.0, (4.0 * again + place, 2.0)) if again else LINES[place]


def ramp(count: int) -> list[Style]:
    """Looks of so many trials of one curve, from the first to the last; up to ten, no colour repeats."""
    last = max(count - 1, 1)
    places = [round(index * (len(RAMP) - 1) / last) for index in range(count)]
    return [Style(RAMP[place], MARKERS[index % len(MARKERS)], "-") for index, place in enumerate(places)]


def variables(dark: bool) -> str:
    """CSS declarations of every colour."""
    return " ".join(f"{colour.variable}: {colour.dark if dark else colour.light};" for colour in COLOURS)


_SETTINGS: Any = {
    "font.size": LABEL,
    "axes.edgecolor": MUTED.light,
    "axes.linewidth": 0.7,
    "xtick.color": MUTED.light,
    "ytick.color": MUTED.light,
    "xtick.labelsize": TICK,
    "ytick.labelsize": TICK,
    "text.color": INK.light,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,
}


@contextmanager
def plain_style() -> Iterator[None]:
    """Matplotlib's defaults with our style, whatever the reader's own settings are."""
    with rc_context():
        rcdefaults()
        with sns.axes_style("ticks", _SETTINGS), rc_context(_SETTINGS):
            yield
