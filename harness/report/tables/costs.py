"""The table of the 3 % rule: how good a series is, how soon, how much sooner than the baseline, and the paper's."""

from typing import NamedTuple

from markupsafe import Markup

from harness.core.published import Paper
from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import NONE, evaluations, plural, ratio, significant, span


class CostRow(NamedTuple):
    """A series on a denoiser."""

    panel: CurvePanel
    curve: SeriesCurve


def cost_table(data: GridData, panels: list[CurvePanel], paper: Paper | None = None, heading: str = "") -> Table:
    """The table.

    Args:
        data: the grid under a distance.
        panels: its panels.
        paper: whose points stand beside the measured ones; None for none.
        heading: the id of the heading above it.
    """
    best, rule, baseline, other = (
        f"Best {data.title}",
        "Lowest NFE within 3 %",
        "Against the baseline",
        "The paper, by FID",
    )
    columns = [
        TableColumn("Series", lambda row: series_cell(row.curve), heads_rows=True),
        TableColumn("value", _best, NUMBER, best),
        TableColumn(
            "at NFE", lambda row: evaluations(row.curve.lowest.best.nfe) if row.curve.lowest else NONE, NUMBER, best
        ),
        TableColumn("NFE", _lowest, NUMBER, rule),
        TableColumn("range", _range, NUMBER, rule),
        TableColumn("speed-up", _speed_up, NUMBER, baseline),
        TableColumn(f"best {data.title}", _quality, NUMBER, baseline),
    ]
    if paper:
        columns += [
            TableColumn("NFE", lambda row: _published(row, "nfe"), "n other", other),
            TableColumn("FID", lambda row: _published(row, "fid"), "n other", other),
            TableColumn("speed-up", _paper_speed_up, "n other", other),
        ]
    groups = [
        RowGroup(panel.title, [CostRow(panel, curve) for curve in panel.curves]) for panel in panels if panel.curves
    ]
    caption = (
        "Small print under a number is its 95 % interval or range. Speed-up is the baseline’s lowest NFE over the "
        f"series’; it is undecided where its range holds 1. A negative difference of the best {data.title} is better "
        "than the baseline’s."
    )
    if any(curve.lowest and curve.lowest.is_last for panel in panels for curve in panel.curves):
        caption += (
            " † The curve is best at its highest NFE and nowhere else within 3 % of that: still more steps "
            "might move this number up."
        )
    if paper:
        caption += (
            " The paper’s speed-up compares its original samplers with its own choices. Its figures: "
            f"{paper.status} ({paper.meaning})."
        )
    return Table(columns, groups, labelled_by=heading, caption=caption)


def series_cell(curve: SeriesCurve) -> TableCell:
    """A series with its sign in the legend, and what of it is not done yet."""
    done, total = len(curve.done), len(curve.trials)
    progress = f"{done} of {plural(total, 'trial')} done" if done < total else ""
    return TableCell(curve.name, [progress], series=curve.name)


def _best(row: CostRow) -> TableCell:
    lowest = row.curve.lowest
    if lowest is None:
        return TableCell(NONE, [NONE])
    best = next(trial for trial in row.curve.done if trial.fingerprint == lowest.best.fingerprint)
    return TableCell(significant(best.value), [span(best.low, best.high)])


def _lowest(row: CostRow) -> TableCell:
    lowest = row.curve.lowest
    if lowest is None:
        return TableCell(NONE, css="key")
    text = evaluations(lowest.point.nfe)
    return TableCell(Markup("{}<sup>†</sup>").format(text) if lowest.is_last else text, css="key")


def _range(row: CostRow) -> str:
    return span(row.curve.lowest.low, row.curve.lowest.high, evaluations) if row.curve.lowest else NONE


def _speed_up(row: CostRow) -> TableCell:
    speed_up = row.panel.speed_up(row.curve)
    if speed_up is None:
        return TableCell("baseline" if row.curve is row.panel.baseline else NONE, css="key none")
    return TableCell(
        f"{ratio(speed_up.ratio)}×", [f"{span(speed_up.low, speed_up.high, ratio)}, {speed_up.verdict}"], css="key"
    )


def _quality(row: CostRow) -> TableCell:
    speed_up = row.panel.speed_up(row.curve)
    if speed_up is None:
        return TableCell(NONE)
    if speed_up.quality is None:
        return TableCell(NONE, ["seeds not paired"])
    note = f"{span(speed_up.quality.low, speed_up.quality.high, _percent)} %, {speed_up.best_is}"
    return TableCell(f"{_percent(speed_up.quality.estimate)} %", [note])


def _percent(factor: float | None) -> str:
    """A factor as a difference in per cent, with its sign: 0.97 is −3.0."""
    if factor is None:
        return NONE
    return ("+" if factor > 1 else "") + significant(100 * (factor - 1), 2)


def _published(row: CostRow, name: str) -> str:
    point = row.curve.published
    return NONE if point is None else evaluations(point.nfe) if name == "nfe" else f"{point.fid:g}"


def _paper_speed_up(row: CostRow) -> str:
    factor = row.panel.paper.speedup if row.panel.paper and row.curve is row.panel.ours else None
    return f"{factor:g}×" if factor else NONE
