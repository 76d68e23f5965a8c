"""Several ranges of seeds: the same trial with other noise, and how far apart the values are.

The ranges are disjoint and have the same number of seeds. Curves and intervals are those of the first. The table gives
the least, the mean and the greatest value of all ranges that are done. The paper takes three and reports the least,
which is lower than what one range gives on average.
"""

from typing import NamedTuple

from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData, TrialResult
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import NONE, evaluations, significant, whole
from harness.report.text.provenance import seeds


class RangeRow(NamedTuple):
    """A trial of a curve."""

    curve: SeriesCurve
    trial: TrialResult


def seed_range_table(data: GridData, panels: list[CurvePanel], axis: str, heading: str) -> Table | None:
    """The table, panel by panel; None where the metric has one range.

    Args:
        data: the grid under one metric.
        panels: its panels.
        axis: title of the horizontal axis.
        heading: the id of the heading above it.
    """
    groups = [
        RowGroup(panel.title, [RangeRow(curve, trial) for curve in panel.curves for trial in curve.trials])
        for panel in panels
        if panel.curves
    ]
    if len(data.first_seeds) < 2 or not groups:
        return None
    columns = [
        TableColumn("Series", lambda row: TableCell(row.curve.name, series=row.curve.name), heads_rows=True),
        TableColumn("NFE", lambda row: evaluations(row.trial.nfe), NUMBER),
        *([] if data.against_nfe else [TableColumn(axis, _place, NUMBER)]),
        TableColumn("least", lambda row: significant(min(row.trial.range_values, default=None)), NUMBER),
        TableColumn("mean", lambda row: significant(_mean(row.trial.range_values)), NUMBER),
        TableColumn("greatest", lambda row: significant(max(row.trial.range_values, default=None)), NUMBER),
        TableColumn("ranges done", _done, NUMBER),
    ]
    paper = " The paper reports the least of three." if data.is_distance else ""
    caption = (
        f"{data.title}: {ranges_in_words(data)}, seeds {seeds(data)}, with their mean.{paper} All other numbers of "
        "this section are of the first range."
    )
    return Table(columns, groups, labelled_by=heading, caption=caption, tall=14)


def ranges_in_words(data: GridData) -> str:
    """What the bars and the table are, e.g. `least and greatest of 3 ranges of 512 seeds`."""
    return f"least and greatest of {len(data.first_seeds)} ranges of {whole(data.n)} seeds"


def _place(row: RangeRow) -> str:
    return NONE if row.curve.is_level else significant(row.trial.x)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _done(row: RangeRow) -> str:
    failed = sum(each.status == "failed" for each in row.trial.ranges)
    done = f"{len(row.trial.range_values)} of {len(row.trial.ranges)}"
    return f"{done}, {failed} failed" if failed else done
