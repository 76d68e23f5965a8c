"""Every trial of a grid, those that failed, and what is still to be run."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.report.curves import CurvePanel
from harness.report.data import GridData, TrialResult
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn, code
from harness.report.text.choices import AXES, describe
from harness.report.text.numbers import NONE, distance_span, evaluations, listing, plural, significant, span
from harness.report.training import Training


class TrialRow(NamedTuple):
    """A trial under a metric, the title of its panel, and how often it is the outcome of the 3 % rule."""

    data: GridData
    trial: TrialResult
    panel: str
    share: float = math.nan


def trial_table(every: list[GridData], panels: list[list[CurvePanel]], heading: str) -> Table:
    """The trials of the plan in its order, metric by metric; it sorts and filters.

    Args:
        every: the grid under each metric.
        panels: of each metric.
        heading: the id of the heading above it.
    """
    columns = [
        TableColumn("Series", lambda row: row.trial.series, is_filter=True),
        TableColumn("Denoiser", lambda row: row.panel, is_filter=True),
        *(_axis_column(axis) for axis in AXES),
        TableColumn("Steps", lambda row: TableCell(evaluations(row.trial.steps), number=row.trial.steps), NUMBER),
        TableColumn("NFE", lambda row: TableCell(_nfe(row.trial), number=row.trial.nfe), NUMBER),
        TableColumn("Metric", lambda row: row.data.title, is_filter=len(every) > 1),
        TableColumn("Value", lambda row: TableCell(significant(row.trial.value), number=row.trial.value), NUMBER),
        TableColumn("95 % interval", _interval, NUMBER),
        TableColumn("3 % rule", _share, NUMBER, about="Share of draws over blocks of seeds in which the rule picks it"),
        TableColumn("Status", lambda row: row.trial.status, is_filter=True),
        TableColumn("Seconds", lambda row: TableCell(significant(row.trial.seconds), number=row.trial.seconds), NUMBER),
        TableColumn("Trial", lambda row: code(row.trial.fingerprint, 10)),
    ]
    rows = [row for data, own in zip(every, panels, strict=True) for row in _rows(data, own)]
    table = Table(columns, [RowGroup("", rows)], "", labelled_by=heading, id="trials")
    return table._replace(row_css=lambda row: row.trial.status, tall=0)


def _rows(data: GridData, panels: list[CurvePanel]) -> list[TrialRow]:
    titles = {panel.name: panel.title for panel in panels}
    shares: dict[tuple[str, str], Mapping[str, float]] = {
        (panel.name, curve.name): curve.lowest.shares for panel in panels for curve in panel.curves if curve.lowest
    }
    return [
        TrialRow(
            data,
            trial,
            titles.get(trial.panel, trial.panel),
            shares.get((trial.panel, trial.series), {}).get(trial.fingerprint, math.nan),
        )
        for trial in data.trials
    ]


def _axis_column(axis: str) -> TableColumn:
    def cell(row: TrialRow) -> TableCell:
        described = describe(row.trial.sampler.get(axis))
        return TableCell(described.kind, [described.details])

    return TableColumn(axis.capitalize(), cell)


def _interval(row: TrialRow) -> TableCell:
    text = (distance_span if row.data.is_distance else span)(row.trial.low, row.trial.high)
    return TableCell(text, number=row.trial.high - row.trial.low)


def _share(row: TrialRow) -> TableCell:
    return TableCell(NONE if math.isnan(row.share) else f"{100 * row.share:.0f} %", number=row.share)


def _nfe(trial: TrialResult) -> str:
    """NFE, and from least to most where samples differ; a guess of an adaptive solver's is marked."""
    text = evaluations(trial.nfe)
    if trial.nfe_min < trial.nfe_max:
        return f"{text} ({span(trial.nfe_min, trial.nfe_max, evaluations)})"
    return f"~{text}" if trial.adaptive and not trial.done else text


def failed_table(every: list[GridData], panels: list[list[CurvePanel]]) -> Table:
    """The trials that failed, on every range of seeds: under which metric, where, when and why."""
    x: dict[str, Any] = every[0].plan["x"]
    columns = [
        TableColumn("Failed trial", lambda row: code(row.trial.fingerprint, 10)),
        TableColumn("Metric", _metric),
        TableColumn("Denoiser", lambda row: row.panel),
        TableColumn("Series", lambda row: row.trial.series),
        TableColumn("NFE", lambda row: evaluations(row.trial.nfe), NUMBER),
        *([] if x["path"] == "nfe" else [TableColumn(x["title"], lambda row: significant(row.trial.x), NUMBER)]),
        TableColumn("at step", lambda row: evaluations(row.trial.step), NUMBER),
        TableColumn("Reason", lambda row: row.trial.reason, "reason"),
    ]
    rows = []
    for data, own in zip(every, panels, strict=True):
        titles = {panel.name: panel.title for panel in own}
        failed = (trial for trial in data.every_range if trial.status == "failed")
        rows += [TrialRow(data, trial, titles.get(trial.panel, trial.panel)) for trial in failed]
    return Table(columns, [RowGroup("", rows)], "failed-trials", label="Failed trials")


def _metric(row: TrialRow) -> str:
    is_one = len(row.data.first_seeds) == 1
    return row.data.title if is_one else f"{row.data.title}, seeds from {row.trial.first_seed}"


def missing(data: GridData, panels: list[CurvePanel]) -> list[str]:
    """What is still to be run, a sentence a curve, and one for each further range of seeds."""
    title = f"{data.title}: " if len(data.plan["metrics"]) > 1 or not data.is_distance else ""
    sentences = []
    for panel in panels:
        for curve in panel.curves:
            rest = [trial.nfe for trial in curve.trials if trial.status == "missing"]
            if rest:
                nfe = listing(list(dict.fromkeys(evaluations(value) for value in rest)))
                sentences.append(
                    f"{title}{panel.title}, {curve.name}: {len(rest)} of {len(curve.trials)}, at NFE {nfe}"
                )
    for first, trials in zip(data.first_seeds[1:], data.further, strict=True):
        count = sum(trial.status == "missing" for trial in trials)
        if count:
            sentences.append(f"{title}the range of seeds from {first}: {count} of {plural(len(trials), 'trial')}")
    return sentences


def missing_networks(training: Training, data: GridData) -> list[str]:
    """What is still to be run of a grid that trains: a sentence for each configuration on an architecture."""
    of_panel = {item["panel"]: item["denoiser"] for item in data.plan["items"]}
    trials: dict[str, list[TrialResult]] = {}
    for trial in data.every_range:
        trials.setdefault(of_panel[trial.panel], []).append(trial)
    sentences = []
    for column in training.columns:
        for row in training.rows:
            names = [each.panel for each in training.networks if (each.row, each.column) == (row.name, column.name)]
            own = [trial for name in names for trial in trials.get(name, ())]
            count = sum(trial.status == "missing" for trial in own)
            if count:
                sentences.append(f"{data.title}: {row.name} on {column.name}: {count} of {plural(len(own), 'trial')}")
    return sentences
