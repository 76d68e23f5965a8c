"""The table of curves that the 3 % rule does not judge: where each is least, how sure that is, how fast it falls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from harness.metrics.statistics.jackknife import compare
from harness.report.curves import Curve, Panel, points
from harness.report.data import GridData, records
from harness.report.tables.detail_columns import columns
from harness.report.text.numbers import NONE, evaluations, plural, ratio, signed, significant, span
from harness.report.three_percent import Point

LEAST_FOR_SLOPE = 3


class AlongRow(NamedTuple):
    """One curve of one panel, as text.

    Args:
        series: its name.
        least: the best value, and `least_range` its interval.
        spread: quantiles over samples of that trial, 5 to 95 %; "–" where the metric is no mean over samples.
        beside: cells of `harness.report.tables.detail_columns` for that trial.
        at: where on the horizontal axis.
        plateau: from where to where no value is decidedly worse.
        flattest: where the values by noise level are most even, with the largest of them over their mean.
        left: the value at the left end of the axis, and in `left_note` where that is and what it is to the best.
        right: the same at the right end.
        power: p of a least-squares fit value ~ NFE^p over the curve.
        progress: what is not done yet.
    """

    series: str
    least: str
    least_range: str
    spread: str
    beside: list[str]
    at: str
    plateau: str
    flattest: str
    left: str
    left_note: str
    right: str
    right_note: str
    power: str
    progress: str


class AlongGroup(NamedTuple):
    """A panel's part of the table."""

    title: str
    rows: list[AlongRow]


def along(data: GridData, panels: list[Panel]) -> list[AlongGroup]:
    """The table, panel by panel."""
    return [AlongGroup(panel.title, [_row(curve, data) for curve in panel.curves]) for panel in panels if panel.curves]


def _row(curve: Curve, data: GridData) -> AlongRow:
    lines = records(curve.done)
    end = data.metric["first_seed"] + data.metric["n"]
    done, total = len(lines), len(curve.trials)
    progress = f"{done} of {plural(total, 'trial')} done" if done < total else ""
    if not lines:
        texts: dict[str, Any] = dict.fromkeys(AlongRow._fields, NONE) | {
            "series": curve.name,
            "left_note": "",
            "right_note": "",
        }
        return AlongRow(**(texts | {"progress": progress, "beside": [NONE] * len(columns(data))}))
    by_name = {point.fingerprint: point for point in points(curve.trials, end)}
    best = data.best(lines)
    place = evaluations if data.against_nfe else significant
    alone = curve.is_level or len(lines) == 1
    left, right = (("–", "") if alone else _end(line, best, by_name, data) for line in (lines[0], lines[-1]))
    return AlongRow(
        series=curve.name,
        least=significant(best["value"]),
        least_range=span(best["low"], best["high"]),
        spread=_spread(best),
        beside=[column.cell(best["details"]) for column in columns(data)],
        at=NONE if curve.is_level else place(best["x"]),
        plateau=NONE if alone else _plateau(lines, by_name, best, data),
        flattest=NONE if alone else _flattest(lines, place),
        left=left[0],
        left_note=left[1],
        right=right[0],
        right_note=right[1],
        power=_power(lines) if data.against_nfe and data.is_measure else NONE,
        progress=progress,
    )


def _end(line: dict[str, Any], best: dict[str, Any], by_name: dict[str, Point], data: GridData) -> tuple[str, str]:
    """The value at one end of a curve, and what it is to the best: a factor or difference, its interval, a verdict."""
    place = evaluations if data.against_nfe else significant
    value, where = significant(line["value"]), f"at {place(line['x'])}"
    point, top = by_name.get(line["fingerprint"]), by_name.get(best["fingerprint"])
    if point is None or top is None or line is best or not point.pairs_with(top):
        return value, where
    found = compare(point.distances(), top.distances())
    if found.ratio is None or not data.by_factors:
        verdict = {"a better": "lower", "b better": "higher", "undecided": "undecided"}[found.verdict]
        if found.difference is None:
            return value, f"{where}: {verdict}"
        by = f"{signed(found.difference.estimate)} ({span(found.difference.low, found.difference.high, signed)})"
        return value, f"{where}: {by}, {verdict}"
    verdict = "higher" if found.ratio.low > 1 else "lower" if found.ratio.high < 1 else "undecided"
    factor = f"{ratio(found.ratio.estimate)}× ({span(found.ratio.low, found.ratio.high, ratio)})"
    return value, f"{where}: {factor}, {verdict}"


def _spread(line: dict[str, Any]) -> str:
    quantiles = line["details"].get("quantiles")
    return span(quantiles["0.05"], quantiles["0.95"]) if quantiles else NONE


def _plateau(lines: list[dict[str, Any]], by_name: dict[str, Point], best: dict[str, Any], data: GridData) -> str:
    """The run of places around the best where no value, on the same seeds, is decidedly worse."""
    top = by_name.get(best["fingerprint"])
    if top is None:
        return NONE
    middle = next(index for index, line in enumerate(lines) if line is best)
    low = high = middle
    while low > 0 and _not_worse(by_name.get(lines[low - 1]["fingerprint"]), top, data):
        low -= 1
    while high + 1 < len(lines) and _not_worse(by_name.get(lines[high + 1]["fingerprint"]), top, data):
        high += 1
    return span(lines[low]["x"], lines[high]["x"], evaluations if data.against_nfe else significant)


def _not_worse(point: Point | None, best: Point, data: GridData) -> bool:
    if point is None or not point.pairs_with(best):
        return False
    verdict = compare(point.distances(), best.distances()).verdict
    return verdict != ("b better" if data.lower_is_better else "a better")


def _flattest(lines: list[dict[str, Any]], place: Callable[..., str]) -> str:
    """Where the values by noise level are most even: the least ratio of the largest to their mean, and that ratio."""
    found = []
    for line in lines:
        means = line["details"].get("profile", {}).get("mean") or []
        if means and sum(means) > 0:
            found.append((max(means) * len(means) / sum(means), line["x"]))
    if not found:
        return NONE
    evenness, at = min(found)
    return f"{place(at)} ({ratio(evenness)})"


def _power(lines: list[dict[str, Any]]) -> str:
    """p of value ~ NFE^p; "–" with too few points."""
    pairs = [(line["nfe"], line["value"]) for line in lines]
    pairs = [(nfe, value) for nfe, value in pairs if nfe > 0 and value > 0 and math.isfinite(nfe)]
    if len({nfe for nfe, _ in pairs}) < LEAST_FOR_SLOPE:
        return NONE
    x, y = np.log(np.array(pairs)).T
    return significant(float(np.polyfit(x, y, 1)[0]), 2)
