"""A table of values, series by NFE, as solvers are usually compared; with published FIDs where there are any."""

from typing import NamedTuple

from scipy.stats import spearmanr

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.text.numbers import NONE, evaluations, significant

MOST_COLUMNS = 12
LEAST_PAIRS = 3


class Entry(NamedTuple):
    """One value as text, whether it is the best of its column, and the published FID or ""."""

    value: str
    is_best: bool
    published: str


class MatrixRow(NamedTuple):
    """One series: a value a column."""

    series: str
    entries: list[Entry]


class Matrix(NamedTuple):
    """One panel: heading, the NFE of each column, the rows, and what has been published beside them.

    `agreement` is Spearman's rank correlation with the published order in each column, where three or more series have
    both; `source` says whose they are. Both are empty where nothing is published.
    """

    title: str
    columns: list[str]
    rows: list[MatrixRow]
    agreement: list[str]
    source: str


def matrices(data: GridData, panels: list[Panel]) -> list[Matrix]:
    """A table a panel, where its budgets are few enough to stand side by side; series without budgets are left out."""
    found = []
    for panel in panels:
        curves = [curve for curve in panel.curves if not curve.trials["adaptive"].any()]
        budgets = sorted({nfe for curve in curves for nfe in curve.done["nfe"].dropna()})
        if data.against_nfe and len(curves) > 1 and 1 < len(budgets) <= MOST_COLUMNS:
            found.append(_matrix(panel, curves, budgets, data))
    return found


def _matrix(panel: Panel, curves: list[Curve], budgets: list[float], data: GridData) -> Matrix:
    values = [{line["nfe"]: line["value"] for line in records(curve.done)} for curve in curves]
    choose = min if data.lower_is_better else max
    best = {nfe: choose(own[nfe] for own in values if nfe in own) for nfe in budgets}
    fids = [_published(panel, curve) if data.is_distance else {} for curve in curves]
    rows = [
        MatrixRow(curve.name, [_entry(own.get(nfe), best[nfe], fid.get(nfe)) for nfe in budgets])
        for curve, own, fid in zip(curves, values, fids, strict=True)
    ]
    agreement = [_agreement(values, fids, nfe) for nfe in budgets] if any(fids) else []
    source = panel.paper.source if panel.paper and any(fids) else ""
    return Matrix(panel.title, [evaluations(nfe) for nfe in budgets], rows, agreement, source)


def _entry(value: float | None, best: float, fid: float | None) -> Entry:
    published = "" if fid is None or value is None else f"{fid:.2f}"
    return Entry(NONE if value is None else significant(value), value == best, published)


def _published(panel: Panel, curve: Curve) -> dict[float, float]:
    return panel.paper.tables.get(curve.paper, {}) if panel.paper else {}


def _agreement(values: list[dict[float, float]], fids: list[dict[float, float]], nfe: float) -> str:
    pairs = [(own[nfe], fid[nfe]) for own, fid in zip(values, fids, strict=True) if nfe in own and nfe in fid]
    if len(pairs) < LEAST_PAIRS:
        return NONE
    return f"{spearmanr(*zip(*pairs, strict=True)).statistic:.2f}".replace("-", "\N{MINUS SIGN}")
