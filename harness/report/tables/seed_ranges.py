"""Several ranges of seeds: the same trial with other noise, and how far apart the values are.

The ranges are disjoint and have the same number of seeds. Curves and intervals are those of the first; what the others
say is the least, the mean and the greatest of all that are done. The paper takes three and reports the least, which is
lower than what one range gives on average.
"""

from typing import Any, NamedTuple

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.text.numbers import NONE, evaluations, significant, whole


class RangeRow(NamedTuple):
    """One trial as text: its series, NFE, place on another axis, the values over ranges, and how many are done."""

    series: str
    nfe: str
    x: str
    least: str
    mean: str
    greatest: str
    done: str


class RangeGroup(NamedTuple):
    """A panel's part of the table."""

    title: str
    rows: list[RangeRow]


def table(data: GridData, panels: list[Panel]) -> list[RangeGroup]:
    """The table, panel by panel; empty where the metric has one range."""
    if len(data.first_seeds) < 2:
        return []
    groups = [
        RangeGroup(panel.title, [_row(curve, line) for curve in panel.curves for line in records(curve.trials)])
        for panel in panels
    ]
    return [group for group in groups if group.rows]


def words(data: GridData) -> str:
    """What the bars and the table are, e.g. `least and greatest of 3 ranges of 512 seeds`."""
    return f"least and greatest of {len(data.first_seeds)} ranges of {whole(data.metric['n'])} seeds"


def ends(line: dict[str, Any]) -> tuple[float, float] | None:
    """The least and the greatest value of a trial's ranges; None with fewer than two done."""
    values = done(line)
    return (min(values), max(values)) if len(values) > 1 else None


def done(line: dict[str, Any]) -> list[float]:
    """The values of the ranges that are done."""
    return [each.value for each in line["ranges"] if each.status == "done"]


def _row(curve: Curve, line: dict[str, Any]) -> RangeRow:
    values, count = done(line), len(line["ranges"])
    failed = sum(each.status == "failed" for each in line["ranges"])
    state = f"{len(values)} of {count}" + (f", {failed} failed" if failed else "")
    mean = sum(values) / len(values) if values else None
    least, greatest = (min(values), max(values)) if values else (None, None)
    return RangeRow(
        series=curve.name,
        nfe=evaluations(line["nfe"]),
        x=NONE if curve.is_level else significant(line["x"]),
        least=significant(least),
        mean=significant(mean),
        greatest=significant(greatest),
        done=state,
    )
