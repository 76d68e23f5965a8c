"""The table of the 3 % rule: how good a series is, how soon, how much sooner than the baseline, and the paper's."""

import math
from typing import NamedTuple

from harness.core.published import Paper
from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import (
    NONE,
    distance_span,
    evaluations,
    listing,
    open_span,
    plural,
    ratio,
    ratio_span,
    significant,
    span,
)

ENOUGH = 2
"""Power below which a curve's seeds can hardly decide: see `harness.metrics.statistics.decisions.Power`."""


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
        TableColumn(f"at N = {data.n:,}", _best, NUMBER, best),
        TableColumn("at infinite N", _corrected, NUMBER, best),
        TableColumn(
            "at NFE", lambda row: evaluations(row.curve.lowest.best.nfe) if row.curve.lowest else NONE, NUMBER, best
        ),
        TableColumn("NFE", _lowest, NUMBER, rule),
        TableColumn("range", _range, NUMBER, rule),
        TableColumn("within 3 % of its end", _end, NUMBER),
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
        f"Small print under each {data.title} is its 95 % interval. The best is the lowest at infinite N, free of the "
        "bias of 1/N, and the rule is applied there. Its range holds the outcome with 90 % probability, and that "
        "of the NFE at which the curve comes within 3 % of its end with 95 %. “≥” stands where the curve’s last "
        "point may be the outcome, so that more steps might move it up. Speed-up is the baseline’s lowest NFE "
        "over the series’, on the same seeds; it is undecided where its range holds 1. A negative difference of "
        f"the best {data.title}, at infinite N, is better than the baseline’s. A value “may be 0” whose interval "
        "reaches it; 3 % of that says nothing."
    )
    if powerless := weak_power(panels):
        caption += f" {powerless}"
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
    return TableCell(significant(best.value), [distance_span(best.low, best.high)])


def _corrected(row: CostRow) -> TableCell:
    at = row.curve.lowest.best.corrected if row.curve.lowest else None
    if at is None:
        return TableCell(NONE)
    return TableCell(significant(max(at.estimate, 0.0)), [distance_span(at.low, at.high)])


def _lowest(row: CostRow) -> TableCell:
    lowest = row.curve.lowest
    if lowest is None:
        return TableCell(NONE, css="key")
    why = lowest.rule.undecided
    return TableCell(evaluations(lowest.rule.cost), [f"undecided: {why}" if why else "decided"], css="key")


def _range(row: CostRow) -> str:
    rule = row.curve.lowest.rule if row.curve.lowest else None
    return open_span(rule.low, rule.high, rule.is_least, evaluations) if rule else NONE


def _end(row: CostRow) -> TableCell:
    end = row.curve.lowest.end if row.curve.lowest else None
    if end is None or end.cost is None:
        return TableCell(NONE)
    if end.undecided:
        return TableCell(NONE, ["undecided"])
    rounded = lambda nfe: significant(nfe, 2)  # noqa: E731
    return TableCell(rounded(end.cost), [open_span(end.low, end.high, end.is_least, rounded)])


def weak_power(panels: list[CurvePanel]) -> str:
    """A sentence on the curves whose seeds cannot tell 3 % apart, and the N that could; "" where all can."""
    weak = [
        (panel.title, curve.lowest.power)
        for panel in panels
        for curve in panel.curves
        if curve.lowest and curve.lowest.power and curve.lowest.power.ratio < ENOUGH
    ]
    if not weak:
        return ""
    titles = listing(list(dict.fromkeys(title for title, _ in weak)))
    finite = [power.samples for _, power in weak if math.isfinite(power.samples)]
    needed = "how many images could is not known while the best may be 0"
    if finite:
        needed = f"about {significant(max(finite), 2)} images would be needed where the best is above 0"
    return (
        f"Of {plural(len(weak), 'curve')} (on {titles}) 3 % of the best is less than {ENOUGH} times the scatter of "
        f"paired differences, so these seeds can hardly tell such points apart; {needed}."
    )


def _speed_up(row: CostRow) -> TableCell:
    speed_up = row.panel.speed_up(row.curve)
    if speed_up is None:
        return TableCell("baseline" if row.curve is row.panel.baseline else NONE, css="key none")
    if speed_up.ratio is None:
        return TableCell(NONE, [f"undecided: {speed_up.why}"], css="key")
    allowed = ratio_span(speed_up.low, speed_up.high)
    note = f"{allowed}, {speed_up.verdict}" if allowed != NONE else f"undecided: {speed_up.why}"
    return TableCell(f"{ratio(speed_up.ratio)}×", [note], css="key")


def _quality(row: CostRow) -> TableCell:
    speed_up = row.panel.speed_up(row.curve)
    if speed_up is None:
        return TableCell(NONE)
    if speed_up.quality is None:
        return TableCell(NONE, ["not known"])
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
