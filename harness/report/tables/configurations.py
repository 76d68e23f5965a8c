"""Training configurations as the paper's Table 2 has them, and each against the one before it."""

import math
from collections.abc import Sequence

from harness.core.published import load_paper
from harness.metrics.statistics.welch import deviation, mean
from harness.report.data import GridData
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn
from harness.report.text.formula import symbols
from harness.report.text.numbers import NONE, listing, plural, signed, significant, span
from harness.report.training import AxisCurve, AxisPanel, Column, Row, ScoreBoard, Standing, Step, Training, steps

BY_SEEDS = "the jackknife over images does not know that spread and decides nothing here"

CSS = {"better": "holds", "worse": "fails", "open": "none"}


class ConfigurationRow:
    """A configuration under one board."""

    def __init__(self, row: Row, board: ScoreBoard) -> None:
        self.row, self.board = row, board

    def on(self, column: Column) -> Standing:
        """What its networks got on an architecture."""
        return self.board.standings[self.row.name, column.name]


def configuration_table(training: Training, boards: Sequence[ScoreBoard], heading: str) -> Table:
    """Rows A to F, architectures side by side: mean over training seeds, the best snapshots, and the paper's FID.

    Args:
        training: the plan's.
        boards: of one metric, at least one.
        heading: the id of the heading above it.
    """
    columns = [
        TableColumn(
            "Configuration", lambda own: TableCell(own.row.name, [own.row.about], series=own.row.name), heads_rows=True
        )
    ]
    for column in training.columns:
        columns += _columns_of(column, training)
    groups = [
        RowGroup(group_title(board, boards), [ConfigurationRow(row, board) for row in training.rows])
        for board in boards
    ]
    return Table(columns, groups, "costs answer", labelled_by=heading, caption=_caption(training, boards[0]))


def group_title(board: ScoreBoard, boards: Sequence[ScoreBoard]) -> str:
    """By what the networks of a board are judged, where that is not plain: the series, and its place on the axis."""
    place = "" if math.isnan(board.x) else f"{symbols(board.data.plan['x']['title'])} {board.x:g}"
    parts = [board.series if len(boards) > 1 or place else "", place]
    return " at ".join(part for part in parts if part)


def _columns_of(column: Column, training: Training) -> list[TableColumn]:
    over = column.name
    columns = [TableColumn("mean", lambda own: _mean(own.on(column)), NUMBER, over, "of the last snapshots")]
    if training.snapshots:
        about = "the mean of each seed’s best snapshot, chosen by this same number, so too good"
        columns.append(TableColumn("best snapshot", lambda own: _best(own.on(column)), "n other", over, about))
    if column.published:
        columns.append(TableColumn("paper, FID", lambda own: _published(own.row, column), "n other", over))
    return columns


def _mean(standing: Standing) -> TableCell:
    done, planned = len(standing.values), len(standing.last)
    if not done:
        return TableCell(NONE, [standing.missing])
    low, high = min(standing.values), max(standing.values)
    spread = f"sd {significant(standing.deviation, 2)}, " if done > 1 else ""
    count = plural(done, "seed") if done == planned else f"{done} of {plural(planned, 'seed')}"
    return TableCell(significant(standing.mean), [f"{spread}{count}", span(low, high) if done > 1 else ""], css="key")


def _best(standing: Standing) -> str:
    best = standing.best
    return significant(sum(best) / len(best)) if best else NONE


def _published(row: Row, column: Column) -> str:
    return f"{column.published[row.name]:.2f}" if row.name in column.published else NONE


def _caption(training: Training, board: ScoreBoard) -> str:
    data, better = board.data, "Lower" if board.data.lower_is_better else "Higher"
    which = "at infinite N, free of the bias of 1/N" if board.at_infinity else f"at N = {data.n:,}"
    parts = [
        f"{data.title} {which}, of the last snapshot of each training: the mean over training seeds, and in small "
        f"print their standard deviation (sd), how many seeds, and the least and the greatest. {better} is better. "
        f"Whether a configuration is better is asked of the spread over training seeds; {BY_SEEDS}.",
    ]
    if training.snapshots:
        parts.append(
            "“Best snapshot” takes of each seed the best of all its snapshots. It is chosen by the number that it "
            "reports, so it is optimistic."
        )
    shown = [column for column in training.columns if column.published]
    if shown:
        paper = load_paper().configurations
        titles = dict.fromkeys(f"{paper.titles[column.paper]} (beside {column.name})" for column in shown)
        parts.append(
            f"The paper’s FIDs (its Table 2; {paper.status}: {paper.meaning}) are of {listing(list(titles))}: other "
            "networks, and the least of three runs. With other data or another metric, only their order compares."
        )
    return " ".join(parts)


def step_table(training: Training, boards: Sequence[ScoreBoard], heading: str) -> Table:
    """Each configuration against the one before it, a group an architecture: change, interval, verdict, the paper's.

    Args:
        training: the plan's.
        boards: of one metric, at least one.
        heading: the id of the heading above it.
    """
    groups = []
    for board in boards:
        for column in training.columns:
            title = ", ".join(part for part in (column.name, group_title(board, boards)) if part)
            groups.append(RowGroup(title, steps(training, board, column)))
    data = boards[0].data
    worse = "positive" if data.lower_is_better else "negative"
    columns = [
        TableColumn("Step", lambda one: TableCell(_name(one), [one.after.row.about]), heads_rows=True),
        TableColumn("verdict", _verdict, "", data.title),
        TableColumn("change", _change, NUMBER, data.title),
    ]
    if any(column.published for column in training.columns):
        columns += [
            TableColumn("FID", _published_change, "n other", "The paper"),
            TableColumn("and ours", _agreement, "other", "The paper"),
        ]
    caption = (
        f"Change of the mean over training seeds; small print is the difference of the means in {data.title}, {worse} "
        f"where it is worse, with Welch’s 95 % interval over training seeds. A step is better or worse where that "
        f"interval lies on one side of 0, and open where it holds 0; {BY_SEEDS}. Each interval holds by itself: of "
        "twenty steps that change nothing, one is called better or worse on average."
    )
    if len(columns) > 3:
        spread = load_paper().configurations.spread
        caption += (
            f" The paper gives no intervals; a change of its FID by less than {100 * spread:g} %, which is what such "
            "an FID typically moves from run to run, is called open."
        )
    return Table(columns, groups, "costs answer", labelled_by=heading, caption=caption)


def _name(one: Step) -> str:
    return f"{one.before.row.name} → {one.after.row.name}"


def percent(share: float) -> str:
    """A change as a share: +3.1 %, −12 %."""
    return NONE if math.isnan(share) else f"{signed(100 * share)} %"


def _change(one: Step) -> TableCell:
    if math.isnan(one.after.mean - one.before.mean):
        return TableCell(NONE)
    gap = one.gap
    told = signed(one.after.mean - one.before.mean)
    return TableCell(
        percent(one.change), [f"{told} ({span(gap.low, gap.high, signed)})" if gap else f"{told}, no interval"]
    )


def _verdict(one: Step) -> TableCell:
    ends = (one.before, one.after)
    lacking = [
        f"{each.row.name} has {len(each.values)} of {plural(len(each.last), 'seed')}" for each in ends if each.missing
    ]
    if one.gap is None:
        why = " and ".join(lacking) or f"one of {one.before.row.name} and {one.after.row.name} has too few seeds"
        return TableCell("open", [f"no interval: {why}"], css=CSS["open"])
    return TableCell(
        one.direction, [f"provisional: {' and '.join(lacking)}" if lacking else ""], css=CSS[one.direction]
    )


def _published_change(one: Step) -> TableCell:
    if math.isnan(one.published):
        return TableCell(NONE)
    fids = one.after.column.published
    ends = f"{fids[one.before.row.name]:.2f} to {fids[one.after.row.name]:.2f}"
    return TableCell(
        f"{one.said}, {percent(one.published)}" if one.said != "open" else f"open, {percent(one.published)}", [ends]
    )


def _agreement(one: Step) -> str:
    if math.isnan(one.published):
        return NONE
    if "open" in (one.said, one.direction):
        return "open"
    return "agree" if one.said == one.direction else "disagree"


def axis_table(data: GridData, axis: str, panels: Sequence[AxisPanel]) -> Table:
    """Quality along another axis: configurations by places, the mean over training seeds and their deviation.

    Args:
        data: the grid under the metric.
        axis: title of the horizontal axis.
        panels: of one series.
    """
    places = sorted({place.x for panel in panels for curve in panel.curves for place in curve.places})
    columns = [
        TableColumn("Configuration", lambda curve: TableCell(curve.row.name, series=curve.row.name), heads_rows=True)
    ]
    columns += [_place_column(x, axis) for x in places]
    groups = [RowGroup(panel.column.name, panel.curves) for panel in panels]
    caption = "The mean over training seeds; small print is their standard deviation, and what is not done yet."
    return Table(columns, groups, "costs matrix", f"{data.title} against {axis}, {panels[0].series}", caption=caption)


def _place_column(x: float, axis: str) -> TableColumn:
    def cell(curve: AxisCurve) -> TableCell:
        place = next((place for place in curve.places if place.x == x), None)
        if place is None:
            return TableCell(NONE)
        done = len(place.values)
        spread = f"sd {significant(deviation(place.values), 2)}" if done > 1 else ""
        return TableCell(
            significant(mean(place.values)), [spread, f"{done} of {place.planned}" if done < place.planned else ""]
        )

    return TableColumn(f"{x:g}", cell, NUMBER, axis)
