"""A table of values, series by NFE, as solvers are usually compared; with published FIDs where there are any."""

from typing import NamedTuple

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.numbers import NONE, evaluations, significant

MOST_COLUMNS = 12


class Entry(NamedTuple):
    """One value as text, whether it is the least of its column, and the published FID or ""."""

    value: str
    is_least: bool
    published: str


class MatrixRow(NamedTuple):
    """One series: a value a column."""

    series: str
    entries: list[Entry]


class Matrix(NamedTuple):
    """One panel: heading, the NFE of each column, and the rows."""

    title: str
    columns: list[str]
    rows: list[MatrixRow]
    has_published: bool


def matrices(data: GridData, panels: list[Panel]) -> list[Matrix]:
    """A table a panel, where its budgets are few enough to stand side by side; series without budgets are left out."""
    found = []
    for panel in panels:
        curves = [curve for curve in panel.curves if not curve.done["adaptive"].any()]
        budgets = sorted({nfe for curve in curves for nfe in curve.done["nfe"]})
        if data.against_nfe and len(curves) > 1 and 1 < len(budgets) <= MOST_COLUMNS:
            found.append(_matrix(panel, curves, budgets))
    return found


def _matrix(panel: Panel, curves: list[Curve], budgets: list[float]) -> Matrix:
    values = [{line["nfe"]: line["value"] for line in records(curve.done)} for curve in curves]
    least = {nfe: min(own[nfe] for own in values if nfe in own) for nfe in budgets}
    rows = [
        MatrixRow(curve.name, [_entry(own.get(nfe), least[nfe], _published(panel, curve, nfe)) for nfe in budgets])
        for curve, own in zip(curves, values, strict=True)
    ]
    has_published = any(entry.published for row in rows for entry in row.entries)
    return Matrix(panel.title, [evaluations(nfe) for nfe in budgets], rows, has_published)


def _entry(value: float | None, least: float, published: str) -> Entry:
    return Entry(NONE if value is None else significant(value), value == least, published)


def _published(panel: Panel, curve: Curve, nfe: float) -> str:
    if panel.paper is None or curve.paper not in panel.paper.tables:
        return ""
    fid = panel.paper.tables[curve.paper].get(nfe)
    return "" if fid is None else f"{fid:.2f}"
