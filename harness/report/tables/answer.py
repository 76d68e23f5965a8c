"""The answer of a grid with a baseline, a line a network: how few evaluations, how many times fewer, and how sure."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.metrics.statistics.decisions import MAY_BE_ZERO
from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import NONE, evaluations, open_span, ratio, ratio_span
from harness.report.three_percent import SpeedUp


class Answer(NamedTuple):
    """A network on which a series stands against the baseline."""

    panel: CurvePanel
    ours: SeriesCurve
    speed_up: SpeedUp


def answers(panels: Sequence[CurvePanel]) -> list[Answer]:
    """The panels that have a baseline and a series of ours."""
    return [
        Answer(panel, panel.ours, speed_up)
        for panel in panels
        if panel.ours and (speed_up := panel.speed_up(panel.ours))
    ]


def answer_table(by_metric: Mapping[str, Sequence[CurvePanel]]) -> Table | None:
    """The table; None where no panel has a baseline and a series of ours.

    Args:
        by_metric: panels by the title of the distance that they are judged by.
    """
    groups = [RowGroup(title, found) for title, panels in by_metric.items() if (found := answers(panels))]
    rows = [row for group in groups for row in group.rows]
    if not rows:
        return None
    columns = [
        TableColumn("Network", lambda row: row.panel.title, heads_rows=True),
        TableColumn("Baseline", lambda row: _cost(row.panel.baseline), NUMBER, "Evaluations to within 3 % of its best"),
        TableColumn("Ours", lambda row: _cost(row.ours), NUMBER, "Evaluations to within 3 % of its best"),
        TableColumn("Speed-up", _speed_up, NUMBER),
        TableColumn("Verdict", lambda row: TableCell(row.speed_up.verdict, [row.speed_up.why], css="key")),
    ]
    baselines = dict.fromkeys(row.panel.baseline.name for row in rows if row.panel.baseline)
    ours = dict.fromkeys(row.ours.name for row in rows)
    caption = (
        f"Baseline: {' or '.join(baselines)}. Ours: {' or '.join(ours)}. Small print is the range that the seeds leave "
        "open, with 90 % probability; “≥” stands where a curve ends too soon for more."
    )
    if len(groups) == 1:
        groups = [RowGroup("", rows)]
    label = "Evaluations and speed-up by network"
    return Table(columns, groups, css="costs answer", label=label, caption=caption)


def _cost(curve: SeriesCurve | None) -> TableCell:
    rule = curve.lowest.rule if curve and curve.lowest else None
    if rule is None or rule.cost is None:
        return TableCell(NONE)
    return TableCell(evaluations(rule.cost), [open_span(rule.low, rule.high, rule.is_least, evaluations)])


def _speed_up(row: Answer) -> TableCell:
    found = row.speed_up
    if found.ratio is None or MAY_BE_ZERO in found.why:
        return TableCell(NONE)
    if found.verdict == "faster" and found.high is not None and math.isinf(found.high):
        return TableCell(f"≥ {ratio(found.low)}×", css="key")
    css = "" if found.verdict == "undecided" else "key"
    return TableCell(f"{ratio(found.ratio)}×", [ratio_span(found.low, found.high)], css=css)
