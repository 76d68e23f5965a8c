"""A table of values, series by NFE, as solvers are usually compared; with published FIDs where there are any."""

import math
from typing import NamedTuple

from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import NONE, evaluations, significant

MOST_COLUMNS = 12
LEAST_PAIRS = 3
"""Series below which no rank correlation is told."""


class MatrixRow(NamedTuple):
    """A series with a cell for each NFE; the last row of a table may be the rank correlations."""

    series: TableCell
    cells: dict[float, TableCell]


def matrices(data: GridData, panels: list[CurvePanel]) -> list[Table]:
    """A table a panel, where its budgets are few enough to stand side by side; series without budgets are left out.

    The caption stands under the last.
    """
    tables: list[Table] = []
    for panel in panels:
        curves = [curve for curve in panel.curves if not any(trial.adaptive for trial in curve.trials)]
        budgets = sorted({trial.nfe for curve in curves for trial in curve.done if not math.isnan(trial.nfe)})
        if data.against_nfe and len(curves) > 1 and 1 < len(budgets) <= MOST_COLUMNS:
            tables.append(_matrix(panel, curves, budgets, data))
    return [table._replace(caption="") for table in tables[:-1]] + tables[-1:]


def _matrix(panel: CurvePanel, curves: list[SeriesCurve], budgets: list[float], data: GridData) -> Table:
    values = [{trial.nfe: trial.value for trial in curve.done} for curve in curves]
    choose = min if data.lower_is_better else max
    best = {nfe: choose(own[nfe] for own in values if nfe in own) for nfe in budgets}
    tables = panel.paper.tables if panel.paper and data.is_distance else {}
    published = [tables.get(curve.paper, {}) for curve in curves]
    rows = []
    for curve, own, fids in zip(curves, values, published, strict=True):
        cells = {
            nfe: TableCell(
                significant(own[nfe]),
                [f"{fids[nfe]:.2f}"] if nfe in fids else [],
                css="key" if own[nfe] == best[nfe] else "",
            )
            for nfe in budgets
            if nfe in own
        }
        rows.append(MatrixRow(TableCell(curve.name, series=curve.name), cells))
    caption = (
        f"The {'least' if data.lower_is_better else 'highest'} of each column is set off; "
        f"{'near a perfect sampler, and ' if data.floor else ''}where intervals overlap, that decides nothing."
    )
    if any(published) and panel.paper:
        used = {curve.paper for curve in curves}
        for name, fids in tables.items():
            cells = {nfe: TableCell(NONE, [f"{fids[nfe]:.2f}"]) for nfe in budgets if nfe in fids}
            if name not in used and cells:
                rows.append(MatrixRow(TableCell(name, ["published only"]), cells))
        correlations = {nfe: TableCell(_rank_correlation(values, published, nfe)) for nfe in budgets}
        rows.append(MatrixRow(TableCell("rank correlation"), correlations))
        caption += (
            f" Small print: {panel.paper.source}; another scale, to compare orders only. The last line is Spearman’s "
            "rank correlation of the two orders."
        )
    columns = [
        TableColumn(panel.title, lambda row: row.series, heads_rows=True),
        *(_budget_column(nfe) for nfe in budgets),
    ]
    return Table(columns, [RowGroup("", rows)], "costs matrix", f"{data.title} by NFE, {panel.title}", caption=caption)


def _budget_column(nfe: float) -> TableColumn:
    return TableColumn(evaluations(nfe), lambda row: row.cells.get(nfe, NONE), NUMBER)


def _rank_correlation(values: list[dict[float, float]], published: list[dict[float, float]], nfe: float) -> str:
    """Spearman's, of our values and the published ones at one NFE."""
    from scipy.stats import spearmanr

    pairs = [(own[nfe], fid[nfe]) for own, fid in zip(values, published, strict=True) if nfe in own and nfe in fid]
    if len(pairs) < LEAST_PAIRS:
        return NONE
    return f"{spearmanr(*zip(*pairs, strict=True)).statistic:.2f}".replace("-", "\N{MINUS SIGN}")
