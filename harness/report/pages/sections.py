"""A grid's page in sections, one a metric: figures, tables and pictures that follow from what the metric has."""

from typing import Literal, NamedTuple

from markupsafe import Markup

from harness.report.curves import Panel, panels
from harness.report.data import GridData
from harness.report.figures.image_sheets import Gallery, galleries
from harness.report.figures.legend import Sign, line_signs, mark_signs
from harness.report.figures.level_sheets import Strip, strips
from harness.report.figures.noise_levels import frame_of, plot_svg, plots
from harness.report.figures.quality import common_frame, panel_svg, upright
from harness.report.figures.style import Style
from harness.report.figures.trajectories import trajectories, trajectories_svg
from harness.report.tables import trials as lists
from harness.report.tables.curve_summary import AlongGroup, along
from harness.report.tables.detail_columns import Beside, columns
from harness.report.tables.matrix import Matrix, matrices
from harness.report.tables.seed_ranges import RangeGroup
from harness.report.tables.seed_ranges import table as ranges_table
from harness.report.tables.seed_ranges import words as ranges_words
from harness.report.tables.trials import Group
from harness.report.text.formula import symbols
from harness.report.text.identity import Identity, cautions, identity
from harness.report.text.numbers import significant, span
from harness.store.database import Store


class Drawn(NamedTuple):
    """A panel of a figure: heading, a line about it, and the SVG."""

    title: str
    about: str
    svg: Markup


class Section(NamedTuple):
    """One metric of a grid.

    Args:
        data: its results.
        panels: a panel a denoiser.
        id: of the section in the page.
        heading: for people.
        figures: the metric against the horizontal axis; empty where every curve has one trial.
        marks: signs of the marks in the figures.
        axis: title of the horizontal axis.
        is_ruled: whether the 3 % rule applies.
        is_flat: whether nothing runs along the horizontal axis, so that every curve is one trial.
        has_nfe: whether the sampler is run, so that its NFE means something.
        costs: the table of the 3 % rule; empty where that does not apply.
        matrices: values by series and NFE, where there are few.
        along: the table of all other curves.
        has_spread: whether its values are means over samples, whose quantiles are known.
        beside: further columns of that table, where the metric says more than a number.
        ranges: the table of all ranges of seeds; empty where there is one. `ranges_words` says what is in it.
        cautions: what to keep in mind, in sentences.
        identity: what must be equal for numbers to be comparable.
        profiles: values by noise level, `profile_signs` their legend where a panel has trials of one curve.
        paths: trajectories.
        strips: pictures by noise level.
        galleries: mosaics of samples.
        floor: mean and range of the floor, as text.
        blocks: numbers of blocks of seeds.
    """

    data: GridData
    panels: list[Panel]
    id: str
    heading: str
    figures: list[Drawn]
    marks: list[Sign]
    axis: str
    is_ruled: bool
    is_flat: bool
    has_nfe: bool
    costs: list[Group]
    matrices: list[Matrix]
    along: list[AlongGroup]
    has_spread: bool
    beside: list[Beside]
    ranges: list[RangeGroup]
    ranges_words: str
    cautions: list[str]
    identity: Identity
    profiles: list[Drawn]
    profile_signs: list[Sign]
    paths: list[Drawn]
    strips: list[Strip]
    galleries: list[Gallery]
    floor: tuple[str, str] | None
    blocks: list[int]


def sections(store: Store, every: list[GridData], looks: dict[str, Style], prefix: str = "m") -> list[Section]:
    """The sections of a page, in the order of the grid's metrics.

    Args:
        store: has the pictures.
        every: the grid under each metric.
        looks: of the series.
        prefix: of the ids in the figures; different for every grid of a page.
    """
    sheets: set[str] = set()
    return [_section(store, data, looks, f"{prefix}{index}", len(every), sheets) for index, data in enumerate(every)]


def _section(
    store: Store, data: GridData, looks: dict[str, Style], prefix: str, count: int, sheets: set[str]
) -> Section:
    shown = panels(data)
    has_curves = _has_curves(shown)
    ruled = data.is_distance and data.against_nfe and has_curves
    heading = "Quality against cost" if ruled else data.title
    if ruled and count > 1:
        heading = f"{data.title} against cost"
    better: Literal["lower", "higher"] = "lower" if data.lower_is_better else "higher"
    frame = common_frame(shown, data.floor, data.title, data.plan["x"], upright(data), better)
    drawn = [panel for panel in shown if panel.curves] if frame and has_curves else []
    figures = [
        Drawn(panel.title, about(panel), Markup(panel_svg(panel, frame, looks, data.floor, f"{prefix}panel{number}")))
        for number, panel in enumerate(drawn)
        if frame
    ]
    profiles, profile_signs = _profiles(data, shown, looks, prefix)
    floor = data.floor
    return Section(
        data=data,
        panels=shown,
        id=f"metric-{prefix}",
        heading=heading,
        figures=figures,
        marks=mark_signs(drawn, data.floor, ranges_words(data)),
        axis="NFE" if data.against_nfe else symbols(data.plan["x"]["title"]),
        is_ruled=ruled,
        is_flat=not has_curves,
        has_nfe=bool(data.trials["nfe"].notna().any()),
        costs=lists.costs(shown) if ruled else [],
        matrices=matrices(data, shown),
        along=[] if ruled else along(data, shown),
        has_spread=any("quantiles" in details for details in data.trials["details"]),
        beside=columns(data),
        ranges=ranges_table(data, shown),
        ranges_words=ranges_words(data),
        cautions=cautions(data),
        identity=identity(data),
        profiles=profiles,
        profile_signs=profile_signs,
        paths=[
            Drawn(one.series, f"{one.title}, {one.about}", Markup(trajectories_svg(one, f"{prefix}path{number}")))
            for number, one in enumerate(trajectories(shown, looks))
        ],
        strips=strips(store, data, shown),
        galleries=[] if data.is_measure else galleries(store, data, shown, sheets),
        floor=(significant(floor.mean), span(floor.low, floor.high)) if floor else None,
        blocks=sorted({len(blocks) for blocks in data.trials["blocks"] if len(blocks)}),
    )


def _has_curves(shown: list[Panel]) -> bool:
    """Whether anything runs along the horizontal axis."""
    return any(curve.done["x"].nunique() > 1 for panel in shown for curve in panel.curves)


def _profiles(
    data: GridData, shown: list[Panel], looks: dict[str, Style], prefix: str
) -> tuple[list[Drawn], list[Sign]]:
    found = plots(data, shown, looks)
    frame = frame_of(found, data.metric["by_level"] or data.title) if found else None
    if frame is None:
        return [], []
    drawn = [
        Drawn(plot.title, plot.about, Markup(plot_svg(plot, frame, f"{prefix}profile{number}")))
        for number, plot in enumerate(found)
    ]
    labels = {line.label: line.style for plot in found for line in plot.lines if line.label not in looks}
    return drawn, line_signs(labels, f"{prefix}line")


def about(panel: Panel) -> str:
    """A line on the denoiser from its card."""
    card = panel.card
    parts = [panel.name]
    if card.get("dataset"):
        parts.append(str(card["dataset"]))
    if isinstance(card.get("parameters"), int):
        parts.append(f"{card['parameters']:,} parameters")
    return " · ".join(parts)
