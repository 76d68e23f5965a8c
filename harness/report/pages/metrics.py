"""A grid under its metrics, and a section for each: figures, tables and pictures, as the metric has them."""

from collections.abc import Iterable, Iterator
from itertools import chain

from harness.core.published import Paper, load_paper
from harness.report.curves import CurvePanel, panels
from harness.report.data import GridData, load
from harness.report.figures import noise_levels, quality, svg, trajectories
from harness.report.figures.image_sheets import galleries, level_sheets
from harness.report.figures.legend import line_entries, mark_entries, others_entry
from harness.report.figures.noise_levels import LevelPanel, level_panels
from harness.report.figures.style import Style, styles
from harness.report.pages.page import FigurePanel, PageSection, fragment
from harness.report.tables.costs import cost_table
from harness.report.tables.curve_summary import curve_summary, has_curves
from harness.report.tables.matrix import matrices
from harness.report.tables.seed_ranges import ranges_in_words, seed_range_table
from harness.report.text.formula import symbols
from harness.report.text.numbers import significant, span
from harness.report.text.provenance import cautions
from harness.report.training import Training, training_of
from harness.store.database import Store


class MetricReport:
    """A grid under one metric, as its page shows it.

    Args:
        data: the results.
        prefix: of the ids in its figures; different for every metric of a page.

    `looks` are those of the series, which all metrics of a page share. `axis` is the title of the horizontal axis.
    `is_flat` says that nothing runs along it, so that every curve is one trial; `is_ruled` that the 3 % rule applies.
    """

    def __init__(self, data: GridData, prefix: str) -> None:
        self.data, self.prefix = data, prefix
        self.looks: dict[str, Style] = {}
        self.panels: list[CurvePanel] = panels(data)
        self.curves = [curve for panel in self.panels for curve in panel.curves]
        self.is_flat = not has_curves(self.panels)
        self.is_ruled = data.is_distance and data.against_nfe and not self.is_flat
        self.axis = "NFE" if data.against_nfe else symbols(data.plan["x"]["title"])


class GridReport:
    """What the sections of a grid's page are made from.

    Args:
        store: has the pictures.
        grid: name of a grid that was run.
        prefix: of the ids in the figures; different for every grid of a page.

    `training` is what the plan says of the networks that the grid trains; None for grids that train nothing.

    Raises:
        InputError: the store has no such grid.
    """

    def __init__(self, store: Store, grid: str, prefix: str = "m") -> None:
        self.store, self.prefix = store, prefix
        self.every = load(store, grid)
        self.plan = self.every[0].plan
        self.training: Training | None = training_of(self.plan)
        self.metrics = [MetricReport(data, f"{prefix}{index}") for index, data in enumerate(self.every)]
        series = self.plan["series"]
        leading = _leading(self.metrics) if len(series) > quality.FOLDED else []
        looks = styles(series, leading)
        for metric in self.metrics:
            metric.looks = looks
        self.panels = [metric.panels for metric in self.metrics]
        self.legend = line_entries({name: looks[name] for name in leading} if leading else looks, "series")
        has_published = any(curve.published for metric in self.metrics for curve in metric.curves)
        self.paper: Paper | None = load_paper() if has_published else None


def _leading(metrics: list[MetricReport]) -> list[str]:
    """The curves that some figure of a page draws in full."""
    panels = [(metric.data.lower_is_better, panel) for metric in metrics for panel in metric.panels]
    return list(dict.fromkeys(name for lower, panel in panels for name in sorted(quality.leading(panel, lower))))


def metrics(report: GridReport) -> Iterable[PageSection]:
    """A section a metric; a sheet of samples stands in the first that has it.

    None for a grid that trains: it has a panel for every network, a hundred and more of a point each, and what they say
    together is in the section of training.
    """
    shown: set[str] = set()
    for index, metric in enumerate([] if report.training else report.metrics):
        yield _metric(report, metric, is_first=index == 0)
        yield from _samples(report, metric, shown)


def _metric(report: GridReport, metric: MetricReport, is_first: bool) -> PageSection:
    data, panels, name = metric.data, metric.panels, f"metric-{metric.prefix}"
    figures, levels = list(quality_figures(metric)), level_panels(data, panels)
    level_figures = list(noise_level_figures(metric, levels))
    marks = mark_entries(panels if figures else [], data.floor, ranges_in_words(data))
    lines = {line.label: line.style for panel in levels for line in panel.lines if line.label not in metric.looks}
    line_legend = list(line_entries(lines, f"{metric.prefix}line").values()) if level_figures else []
    names = {curve.name for curve in metric.curves}
    others = names.difference(report.legend)
    marks += [others_entry(len(others))] if others and figures else []
    heading = data.title
    if metric.is_ruled:
        heading = "Quality against cost" if len(report.metrics) == 1 else f"{data.title} against cost"
    summary = curve_summary(data, panels, metric.axis, bool(level_figures), f"h-{name}")
    html = fragment(
        "grid.html",
        "metric_section",
        name=name,
        heading=heading,
        metric=metric,
        data=data,
        cautions=cautions(data),
        figures=figures,
        legend=[entry for series, entry in report.legend.items() if series in names],
        marks=marks,
        caption=_caption(report, metric),
        notes=_notes(report) if is_first else [],
        sheets=level_sheets(report.store, data, panels),
        level_figures=level_figures,
        line_legend=line_legend,
        trajectories=list(trajectory_figures(metric)),
        matrices=matrices(data, panels),
        costs=cost_table(data, panels, report.paper, f"h-cost-{name}") if metric.is_ruled else None,
        summary=summary if summary.groups and not metric.is_ruled else None,
        ranges=seed_range_table(data, panels, metric.axis, f"h-ranges-{name}"),
        series_legend=report.legend,
    )
    return PageSection(html, [*marks, *line_legend])


def _samples(report: GridReport, metric: MetricReport, shown: set[str]) -> Iterator[PageSection]:
    drawn = [] if metric.data.is_measure else galleries(report.store, metric.data, metric.panels, shown)
    if drawn:
        first, name = report.plan["first_seed"], f"h-images-metric-{metric.prefix}"
        html = fragment(
            "grid.html",
            "samples_section",
            name=name,
            galleries=drawn,
            is_ruled=metric.is_ruled,
            first=first,
            series_legend=report.legend,
        )
        yield PageSection(html)


def first_figure(report: GridReport) -> FigurePanel | None:
    """The first figure of a page, for the index; None where it has none."""
    for metric in report.metrics:
        levels = level_panels(metric.data, metric.panels)
        figures = chain(quality_figures(metric), trajectory_figures(metric), noise_level_figures(metric, levels))
        for figure in figures:
            return figure
    return None


def quality_figures(metric: MetricReport) -> Iterator[FigurePanel]:
    """The metric against the horizontal axis, a panel a denoiser; none where every curve has one trial."""
    frame = None if metric.is_flat else quality.common_frame(metric.data, metric.panels)
    drawn = [panel for panel in metric.panels if panel.curves] if frame else []
    for index, panel in enumerate(drawn):
        axes = quality.plot(metric.data, panel, frame, metric.looks)
        yield FigurePanel(panel.title, _about(panel), svg.inline(axes, f"{metric.prefix}panel{index}"))


def noise_level_figures(metric: MetricReport, levels: list[LevelPanel]) -> Iterator[FigurePanel]:
    """Values by noise level."""
    frame = noise_levels.common_frame(levels, metric.data.metric["by_level"] or metric.data.title)
    for index, panel in enumerate(levels if frame else []):
        drawn = svg.inline(noise_levels.plot(panel, frame), f"{metric.prefix}profile{index}")
        yield FigurePanel(panel.title, panel.about, drawn)


def trajectory_figures(metric: MetricReport) -> Iterator[FigurePanel]:
    """The trajectories that trials kept."""
    trials = ((panel, curve, trial) for panel in metric.panels for curve in panel.curves for trial in curve.done)
    kept = (entry for entry in trials if entry[2].details.get("paths"))
    for index, (panel, curve, trial) in enumerate(kept):
        upper, _ = trajectories.plot(trial, panel.title, metric.looks[curve.name])
        about = f"{panel.title}, {trajectories.curvature(trial)}"
        yield FigurePanel(curve.name, about, svg.inline(upper, f"{metric.prefix}path{index}"))


def _about(panel: CurvePanel) -> str:
    """A line on the denoiser from its card."""
    card, parts = panel.card, [panel.name]
    if card.get("dataset"):
        parts.append(str(card["dataset"]))
    if isinstance(card.get("parameters"), int):
        parts.append(f"{card['parameters']:,} parameters")
    return " · ".join(parts)


def _caption(report: GridReport, metric: MetricReport) -> str:
    """What stands under the figures."""
    data = metric.data
    axis = f"{metric.axis}, the axes common to all panels"
    if metric.is_ruled:
        axis = "denoiser evaluations per image, both axes logarithmic and common to all panels"
    better = ("lower" if data.lower_is_better else "higher") + (" and further left" if metric.axis == "NFE" else "")
    parts = [
        f"{data.title} of {data.n:,} images against {axis}; {better} is better.",
        "Bands are 95 % intervals over blocks of seeds.",
    ]
    if len(data.first_seeds) > 1:
        least = "; the paper reports the least of three" if data.is_distance else ""
        parts.append(f"Curves and bands are of the first range; thin bars are the {ranges_in_words(data)}{least}.")
        parts.append("Where no bar shows, it is shorter than the mark.")
    if data.floor:
        ends = f"{significant(data.floor.mean)} ({span(data.floor.low, data.floor.high)})"
        parts.append(f"The dashed line is what a perfect sampler gets, draws from the reference's own data: {ends}.")
    if metric.is_ruled:
        parts.append(
            "Under each panel, the lowest NFE within 3 % of each curve’s best at infinite N; the bar is the range that "
            "the seeds leave open, an arrow where the curve’s end cuts it off."
        )
        if report.paper:
            parts.append(
                "Diamonds are the paper’s, by FID: only the NFE is drawn, on this axis, and the FID, which compares "
                "with this metric only if network and metric are the paper’s, stands beside it."
            )
    return " ".join(parts)


def _notes(report: GridReport) -> list[tuple[str, str]]:
    """What the series are: one note for all curves of a series, under its own name where they are several."""
    notes: dict[str, tuple[list[str], str]] = {}
    for curve in report.plan["series"]:
        if curve.get("note"):
            notes.setdefault(curve.get("base") or curve["name"], ([], curve["note"]))[0].append(curve["name"])
    return [(names[0] if len(names) == 1 else base, note) for base, (names, note) in notes.items()]
