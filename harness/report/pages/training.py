"""The section of a grid that trains its networks: the paper's Table 2, its Figure 5, and the argument of its eq. 8."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from harness.report.data import GridData
from harness.report.figures import configurations, preconditioning, svg, training_loss
from harness.report.figures.image_sheets import Gallery, galleries
from harness.report.figures.legend import LegendEntry, legend_entry, line_entries
from harness.report.figures.style import BASELINE, FLOOR, INK, Style, styles
from harness.report.pages.metrics import GridReport, MetricReport
from harness.report.pages.page import FigurePanel, PageSection, fragment
from harness.report.tables.configurations import axis_table, configuration_table, step_table
from harness.report.tables.table import Table
from harness.report.text.provenance import cautions
from harness.report.training import Training, axis_panels, judged_metrics, score_boards


class AxisFigure(NamedTuple):
    """Quality along another axis by one series.

    Args:
        series: its name.
        panels: an architecture each.
        rows: the configurations that they draw.
        caption: what stands under them.
        table: their values.
    """

    series: str
    panels: list[FigurePanel]
    rows: list[str]
    caption: str
    table: Table


class JudgedMetric(NamedTuple):
    """A metric by which configurations are judged.

    Args:
        id: of its headings.
        title: the metric's.
        cautions: what its rows ask to keep in mind.
        table, steps: the configurations, and each against the one before; None where no network has a trial.
        axes: quality along another axis than NFE, by series.
    """

    id: str
    title: str
    cautions: list[str]
    table: Table | None
    steps: Table | None
    axes: list[AxisFigure]


def training(report: GridReport) -> Iterable[PageSection]:
    """Training configurations against each other; nothing for grids that train nothing."""
    trained = report.training
    if trained is None:
        return
    looks = row_looks(trained)
    about = {row.name: ", ".join(filter(None, (row.name, row.about))) for row in trained.rows}
    legend = {
        name: entry._replace(words=about[name]) for name, entry in line_entries(looks, f"{report.prefix}row").items()
    }
    losses = list(loss_figures(report, trained, looks))
    marks = _loss_marks(report.prefix) if losses else []
    html = fragment(
        "training.html",
        "section",
        judged=[_judged(metric, trained, looks) for metric in _judging(report)],
        series_legend=legend,
        losses=losses,
        loss_marks=marks,
        loss_caption=LOSS_CAPTION,
        terms=list(term_figures(report, trained, looks)),
    )
    yield PageSection(html, [*legend.values(), *marks])
    yield from _samples(report, trained, legend)


def _samples(report: GridReport, trained: Training, legend: dict[str, LegendEntry]) -> Iterator[PageSection]:
    """Samples of one network a configuration, architecture by architecture; the first metric of images judges them."""
    metric = next((metric for metric in report.metrics if not metric.data.is_measure), None)
    of_panel = {item["panel"]: item["denoiser"] for item in report.plan["items"]}
    panels = [panel for panel in metric.panels if of_panel.get(panel.name) in trained.pictured] if metric else []
    drawn = galleries(report.store, metric.data, panels, set()) if metric else []
    by_network = {
        (network.row, network.column): gallery
        for gallery in drawn
        for network in [trained.pictured[of_panel[gallery.panel]]]
    }
    if not by_network:
        return
    plates = []
    for column in trained.columns:
        own = [(row.name, by_network.get((row.name, column.name))) for row in trained.rows]
        chosen = [sheet._replace(title=row) for row, gallery in own if gallery for sheet in gallery.chosen[:1]]
        others = [
            sheet._replace(title=f"{row}, {sheet.title}")
            for row, gallery in own
            if gallery
            for sheet in (*gallery.chosen[1:], *gallery.others)
        ]
        plates += [Gallery(column.name, chosen, others)] if chosen else []
    values = {"galleries": plates, "first": report.plan["first_seed"], "series_legend": legend}
    yield PageSection(fragment("training.html", "samples", **values))


LOSS_CAPTION = (
    "Lines are the mean over training seeds, their bands reach from the least seed to the greatest. The shade is the "
    "density with which training draws σ, over ln σ, to one scale in all panels. Between the two lines lies what "
    "training gained; where they meet, there was nothing to learn. The axes are common to all panels, but losses "
    "compare within a panel only: configurations weigh the levels differently, by λ(σ)."
)


def row_looks(trained: Training) -> dict[str, Style]:
    """Looks of the configurations by name; the first is the baseline and the last is ours."""
    roles = {trained.rows[-1].name: "ours"} | {trained.rows[0].name: "baseline"}
    return styles([{"name": row.name, "role": roles.get(row.name)} for row in trained.rows])


def training_figure(report: GridReport) -> FigurePanel | None:
    """The first figure of the section, for the index; None where it has none."""
    if report.training is None:
        return None
    looks = row_looks(report.training)
    for metric in _judging(report):
        for figure in _axis_figures(metric, report.training, looks):
            return figure.panels[0]
    losses = loss_figures(report, report.training, looks)
    return next(losses, None) or next(term_figures(report, report.training, looks), None)


def loss_figures(report: GridReport, trained: Training, looks: dict[str, Style]) -> Iterator[FigurePanel]:
    """The loss before and after training, a panel a configuration and architecture."""
    panels = training_loss.loss_panels(trained)
    frame, densest = training_loss.common_frame(panels), training_loss.density_of(panels)
    for index, panel in enumerate(panels if frame else []):
        axes = training_loss.plot(panel, looks[panel.row.name], frame, densest)
        title = f"{panel.column.name}, {panel.row.name}"
        yield FigurePanel(title, panel.row.about or title, svg.inline(axes, f"{report.prefix}loss{index}"))


def term_figures(report: GridReport, trained: Training, looks: dict[str, Style]) -> Iterator[FigurePanel]:
    """The terms of eq. 8, a panel a term and architecture."""
    panels = preconditioning.term_panels(trained)
    frames = {term: preconditioning.common_frame(panels, term) for term in preconditioning.TERMS}
    for index, panel in enumerate(panels):
        if frame := frames[panel.term]:
            drawn = svg.inline(preconditioning.plot(panel, looks, frame), f"{report.prefix}term{index}")
            yield FigurePanel(panel.column.name, panel.column.name, drawn)


def _judging(report: GridReport) -> list[MetricReport]:
    judged = judged_metrics(report.every)
    return [metric for metric in report.metrics if any(metric.data is data for data in judged)]


def _judged(metric: MetricReport, trained: Training, looks: dict[str, Style]) -> JudgedMetric:
    data, name = metric.data, f"training-{metric.prefix}"
    boards = score_boards(trained, data)
    return JudgedMetric(
        id=name,
        title=data.title,
        cautions=cautions(data),
        table=configuration_table(trained, boards, f"h-{name}") if boards else None,
        steps=step_table(trained, boards, f"h-steps-{name}") if boards and len(trained.rows) > 1 else None,
        axes=list(_axis_figures(metric, trained, looks)),
    )


def _axis_figures(metric: MetricReport, trained: Training, looks: dict[str, Style]) -> Iterator[AxisFigure]:
    """Quality along the grid's axis where that is not NFE, a figure a series."""
    data = metric.data
    for place, series in enumerate(data.plan["series"]):
        panels = axis_panels(trained, data, series["name"])
        frame = configurations.common_frame(data, panels)
        if frame is None:
            continue
        drawn = [
            FigurePanel(
                panel.column.name,
                panel.series,
                svg.inline(configurations.plot(data, panel, looks, frame), f"{metric.prefix}axis{place}-{index}"),
            )
            for index, panel in enumerate(panels)
        ]
        caption = _axis_caption(data, metric.axis, panels[0].at_infinity)
        rows = list(dict.fromkeys(curve.row.name for panel in panels for curve in panel.curves))
        yield AxisFigure(series["name"], drawn, rows, caption, axis_table(data, metric.axis, panels))


def _axis_caption(data: GridData, axis: str, at_infinity: bool) -> str:
    which = "at infinite N" if at_infinity else f"at N = {data.n:,}"
    return (
        f"{data.title} {which} of the last snapshots against {axis}: the mean over training seeds, with a band from "
        f"the least seed to the greatest; {'lower' if data.lower_is_better else 'higher'} is better. A ring is at the "
        f"{'lowest' if data.lower_is_better else 'highest'} mean, which the seeds need not tell from its neighbours. "
        "The axes are common to all panels."
    )


def _loss_marks(prefix: str) -> list[LegendEntry]:
    """What lines and shade of the panels of losses are."""
    dashed: Any = {"color": BASELINE.light, "lw": 1.6, "ls": training_loss.DASHES}
    ends = [0.15, 1.85]
    return [
        legend_entry(f"{prefix}loss-before", "untrained network", lambda axes: axes.plot(ends, [0.5] * 2, **dashed)),
        legend_entry(
            f"{prefix}loss-after",
            "trained network, in its configuration’s colour",
            lambda axes: axes.plot(ends, [0.5] * 2, color=INK.light, lw=1.6),
        ),
        legend_entry(
            f"{prefix}loss-density",
            "density of ln σ in training",
            lambda axes: axes.fill_between([0.1, 1.9], 0.15, 0.85, color=FLOOR.light, alpha=0.3, lw=0),
        ),
    ]
