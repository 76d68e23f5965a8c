"""The table of curves that the 3 % rule does not judge: where each is best, how sure that is, and how fast it falls."""

import math

import numpy as np

from harness.metrics.statistics.jackknife import compare
from harness.report.curves import CurvePanel, SeriesCurve, points
from harness.report.data import GridData, TrialResult
from harness.report.tables.costs import series_cell
from harness.report.tables.detail_columns import detail_columns
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn, joined
from harness.report.text.numbers import NONE, evaluations, ratio, signed, significant, span
from harness.report.three_percent import CurvePoint

LEAST_FOR_SLOPE = 3
"""Places below which no power is fitted."""


class CurveRow:
    """A curve with its best trial; None while none is done."""

    def __init__(self, curve: SeriesCurve, data: GridData) -> None:
        self.curve, self.data = curve, data
        self.best = data.best(curve.done) if curve.done else None
        self.has_ends = not curve.is_level and len(curve.done) > 1
        self.points = {point.fingerprint: point for point in points(curve.trials)}

    def place(self, x: float | None) -> str:
        """A place on the horizontal axis."""
        return evaluations(x) if self.data.against_nfe else significant(x)

    def point(self, trial: TrialResult) -> CurvePoint | None:
        """A trial for comparisons; None where it does not pair with the best."""
        point = self.points.get(trial.fingerprint)
        top = self.points.get(self.best.fingerprint) if self.best else None
        return point if point and top and point.pairs_with(top) else None


def curve_summary(data: GridData, panels: list[CurvePanel], axis: str, has_levels: bool, heading: str) -> Table:
    """The table.

    Args:
        data: the grid under one metric.
        panels: its panels.
        axis: title of the horizontal axis.
        has_levels: whether the metric has values by noise level.
        heading: the id of the heading above it.
    """
    groups = [
        RowGroup(panel.title, [CurveRow(curve, data) for curve in panel.curves]) for panel in panels if panel.curves
    ]
    is_flat = not has_curves(panels)
    has_spread = any("quantiles" in trial.details for trial in data.trials)
    has_power = data.is_measure and data.by_factors and data.against_nfe and not is_flat
    details = detail_columns(data)
    best = "" if is_flat else f"{'Least' if data.lower_is_better else 'Highest'} {data.title}"
    columns = [TableColumn("Series", lambda row: series_cell(row.curve), heads_rows=True)]
    columns += [TableColumn(data.title if is_flat else "value", _best, NUMBER, best)]
    if has_spread:
        columns.append(TableColumn("5 to 95 % of samples" if is_flat else "5 to 95 %", _spread, NUMBER, best))
    columns += [_of_best(column, best) for column in details]
    notes = ["Small print is a 95 % interval.", *(column.about for column in details)]
    if is_flat and data.against_nfe and any(not math.isnan(trial.nfe) for trial in data.trials):
        columns.append(TableColumn("NFE", _at, NUMBER))
    if not is_flat:
        ends = "At the ends, against that"
        columns += [TableColumn(f"at {axis}", _at, NUMBER, best), TableColumn("not worse", _plateau, NUMBER, best)]
        columns += [TableColumn("flattest at", _flattest, NUMBER, best)] if has_levels else []
        columns += [TableColumn("left", lambda row: _end(row, 0), NUMBER, ends)]
        columns += [TableColumn("right", lambda row: _end(row, -1), NUMBER, ends)]
        notes += ["“5 to 95 %” is over samples."] if has_spread else []
        notes += ["“Not worse” spans the places whose value, on the same seeds, is not decidedly worse."]
        if has_levels:
            notes += ["“Flattest” is where the largest value by noise level, over their mean (in brackets), is least."]
    if has_power:
        columns.append(TableColumn("power of NFE", _power, NUMBER))
        notes.append(
            "The power is the slope of a least-squares line through the curve on log axes, the last step included."
        )
    return Table(columns, groups, labelled_by=heading, caption=joined(notes))


def has_curves(panels: list[CurvePanel]) -> bool:
    """Whether anything runs along the horizontal axis."""
    places = [
        {trial.x for trial in curve.done if not math.isnan(trial.x)} for panel in panels for curve in panel.curves
    ]
    return any(len(own) > 1 for own in places)


def _of_best(column: TableColumn, over: str) -> TableColumn:
    """A column of details, for the best trial of a curve."""
    return column._replace(cell=lambda row: column.cell(row.best.details) if row.best else NONE, over=over)


def _best(row: CurveRow) -> TableCell:
    if row.best is None:
        return TableCell(NONE, [NONE], css="key")
    return TableCell(significant(row.best.value), [span(row.best.low, row.best.high)], css="key")


def _spread(row: CurveRow) -> str:
    """Quantiles over the samples of the best trial."""
    quantiles = row.best.details.get("quantiles") if row.best else None
    return span(quantiles["0.05"], quantiles["0.95"]) if quantiles else NONE


def _at(row: CurveRow) -> str:
    return NONE if row.best is None or row.curve.is_level else row.place(row.best.x)


def _plateau(row: CurveRow) -> str:
    """The run of places around the best where no value, on the same seeds, is decidedly worse."""
    done, best = row.curve.done, row.best
    top = row.points.get(best.fingerprint) if best else None
    if best is None or top is None or not row.has_ends:
        return NONE
    worse = "b better" if row.data.lower_is_better else "a better"

    def holds(index: int) -> bool:
        point = row.point(done[index])
        return point is not None and compare(point.as_replicates(), top.as_replicates()).verdict != worse

    low = high = done.index(best)
    while low > 0 and holds(low - 1):
        low -= 1
    while high + 1 < len(done) and holds(high + 1):
        high += 1
    return span(done[low].x, done[high].x, row.place)


def _flattest(row: CurveRow) -> str:
    """Where the values by noise level are most even: the least ratio of the largest to their mean, and that ratio."""
    flattest = []
    for trial in row.curve.done if row.has_ends else []:
        means = trial.details.get("profile", {}).get("mean") or []
        if means and sum(means) > 0:
            flattest.append((max(means) * len(means) / sum(means), trial.x))
    if not flattest:
        return NONE
    evenness, at = min(flattest)
    return f"{row.place(at)} ({ratio(evenness)})"


def _end(row: CurveRow, index: int) -> TableCell:
    """The value at one end of a curve, and what it is to the best: a factor or difference, its interval, a verdict."""
    best = row.best
    if best is None or not row.has_ends:
        return TableCell(NONE)
    trial = row.curve.done[index]
    value, where = significant(trial.value), f"at {row.place(trial.x)}"
    point = row.point(trial)
    if trial is best or point is None:
        return TableCell(value, [where])
    comparison = compare(point.as_replicates(), row.points[best.fingerprint].as_replicates())
    if comparison.ratio is not None and row.data.by_factors:
        verdict = "higher" if comparison.ratio.low > 1 else "lower" if comparison.ratio.high < 1 else "undecided"
        factor = f"{ratio(comparison.ratio.estimate)}× ({span(comparison.ratio.low, comparison.ratio.high, ratio)})"
        return TableCell(value, [f"{where}: {factor}, {verdict}"])
    verdict = {"a better": "lower", "b better": "higher", "undecided": "undecided"}[comparison.verdict]
    if comparison.difference is None:
        return TableCell(value, [f"{where}: {verdict}"])
    gap = comparison.difference
    return TableCell(value, [f"{where}: {signed(gap.estimate)} ({span(gap.low, gap.high, signed)}), {verdict}"])


def _power(row: CurveRow) -> str:
    """p of a least-squares fit value ~ NFE^p; "–" with too few places."""
    pairs = [(trial.nfe, trial.value) for trial in row.curve.done if trial.nfe > 0 and trial.value > 0]
    if len({nfe for nfe, _ in pairs}) < LEAST_FOR_SLOPE:
        return NONE
    x, y = np.log(np.array(pairs)).T
    return significant(float(np.polyfit(x, y, 1)[0]), 2)
