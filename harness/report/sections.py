"""A grid's page in sections, one a metric: figures, tables and pictures that follow from what the metric has."""

from typing import NamedTuple

from markupsafe import Markup

from harness.report import lists
from harness.report.along import AlongGroup, along
from harness.report.curves import Panel, panels
from harness.report.data import GridData
from harness.report.figures import common_frame, panel_svg
from harness.report.formula import symbols
from harness.report.lists import Group
from harness.report.mosaics import Gallery, galleries
from harness.report.numbers import significant, span
from harness.report.palette import Style
from harness.report.paths import trajectories, trajectories_svg
from harness.report.profiles import frame_of, plot_svg, plots
from harness.report.signs import Sign, line_signs, mark_signs
from harness.report.strips import Strip, strips
from harness.store import Store


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
        costs: the table of the 3 % rule; empty where that does not apply.
        along: the table of all other curves.
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
    costs: list[Group]
    along: list[AlongGroup]
    profiles: list[Drawn]
    profile_signs: list[Sign]
    paths: list[Drawn]
    strips: list[Strip]
    galleries: list[Gallery]
    floor: tuple[str, str] | None
    blocks: list[int]

    @property
    def is_ruled(self) -> bool:
        """Whether the 3 % rule applies."""
        return self.data.is_distance and self.data.against_nfe


def sections(store: Store, every: list[GridData], looks: dict[str, Style]) -> list[Section]:
    """The sections of a page, in the order of the grid's metrics."""
    return [_section(store, data, looks, index, len(every)) for index, data in enumerate(every)]


def _section(store: Store, data: GridData, looks: dict[str, Style], index: int, count: int) -> Section:
    shown = panels(data)
    ruled = data.is_distance and data.against_nfe
    heading = "Quality against cost" if ruled else data.title
    if ruled and count > 1:
        heading = f"{data.title} against cost"
    frame = common_frame(shown, data.floor, data.title, data.plan["x"])
    drawn = [panel for panel in shown if panel.curves] if frame and _has_curves(shown) else []
    figures = [
        Drawn(panel.title, about(panel), Markup(panel_svg(panel, frame, looks, data.floor, f"m{index}panel{number}")))
        for number, panel in enumerate(drawn)
        if frame
    ]
    profiles, profile_signs = _profiles(data, shown, looks, index)
    floor = data.floor
    return Section(
        data=data,
        panels=shown,
        id=f"metric{index}",
        heading=heading,
        figures=figures,
        marks=mark_signs(drawn, data.floor),
        axis="NFE" if data.against_nfe else symbols(data.plan["x"]["title"]),
        costs=lists.costs(shown) if ruled else [],
        along=[] if ruled else along(data, shown),
        profiles=profiles,
        profile_signs=profile_signs,
        paths=[
            Drawn(one.series, f"{one.title}, {one.about}", Markup(trajectories_svg(one, f"m{index}path{number}")))
            for number, one in enumerate(trajectories(shown, looks))
        ],
        strips=strips(store, data, shown),
        galleries=galleries(store, data, shown) if data.is_distance else [],
        floor=(significant(floor.mean), span(floor.low, floor.high)) if floor else None,
        blocks=sorted({len(blocks) for blocks in data.trials["blocks"] if len(blocks)}),
    )


def _has_curves(shown: list[Panel]) -> bool:
    """Whether anything runs along the horizontal axis."""
    return any(curve.done["x"].nunique() > 1 for panel in shown for curve in panel.curves)


def _profiles(
    data: GridData, shown: list[Panel], looks: dict[str, Style], index: int
) -> tuple[list[Drawn], list[Sign]]:
    found = plots(data, shown, looks)
    frame = frame_of(found, data.metric["by_level"] or data.title) if found else None
    if frame is None:
        return [], []
    drawn = [
        Drawn(plot.title, plot.about, Markup(plot_svg(plot, frame, f"m{index}profile{number}")))
        for number, plot in enumerate(found)
    ]
    labels = {line.label: line.style for plot in found for line in plot.lines if line.label not in looks}
    return drawn, line_signs(labels, f"m{index}line")


def about(panel: Panel) -> str:
    """A line on the denoiser from its card."""
    card = panel.card
    parts = [panel.name]
    if card.get("dataset"):
        parts.append(str(card["dataset"]))
    if isinstance(card.get("parameters"), int):
        parts.append(f"{card['parameters']:,} parameters")
    return " · ".join(parts)
