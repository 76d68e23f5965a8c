"""The table of curves that the 3 % rule does not judge: where each is least, how sure that is, how fast it falls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from harness.metrics.uncertainty import compare, within_best
from harness.report.curves import Curve, Panel, points
from harness.report.data import GridData, records
from harness.report.numbers import NONE, evaluations, plural, ratio, significant, span
from harness.report.within import Point

LEAST_FOR_SLOPE = 3


class AlongRow(NamedTuple):
    """One curve of one panel, as text.

    Args:
        series: its name.
        least: the least value, and `least_range` its interval.
        spread: quantiles over samples of that trial, 5 to 95 %; "–" for a distance.
        at: where on the horizontal axis.
        plateau: from where to where no value is decidedly worse.
        left: the value at the left end of the axis, and in `left_note` where that is and what it is to the least.
        right: the same at the right end.
        power: p of a least-squares fit value ~ NFE^p over the curve.
        progress: what is not done yet.
    """

    series: str
    least: str
    least_range: str
    spread: str
    at: str
    plateau: str
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
    return [AlongGroup(panel.title, [_row(curve, data) for curve in panel.curves]) for panel in panels]


def _row(curve: Curve, data: GridData) -> AlongRow:
    lines = records(curve.done)
    end = data.metric["first_seed"] + data.metric["n"]
    done, total = len(lines), len(curve.trials)
    progress = f"{done} of {plural(total, 'trial')} done" if done < total else ""
    if not lines:
        empty = AlongRow(*[NONE] * len(AlongRow._fields))
        return empty._replace(series=curve.name, left_note="", right_note="", progress=progress)
    by_name = {point.fingerprint: point for point in points(curve.trials, end)}
    best = min(lines, key=lambda line: line["value"])
    place = evaluations if data.against_nfe else significant
    alone = curve.is_level or len(lines) == 1
    left, right = (_end(line, best, by_name, place, alone) for line in (lines[0], lines[-1]))
    return AlongRow(
        series=curve.name,
        least=significant(best["value"]),
        least_range=span(best["low"], best["high"]),
        spread=_spread(best),
        at=NONE if curve.is_level else place(best["x"]),
        plateau=NONE if alone else _plateau(lines, by_name, best["fingerprint"], place is evaluations),
        left=left[0],
        left_note=left[1],
        right=right[0],
        right_note=right[1],
        power=_power(lines) if data.against_nfe and not data.is_distance else NONE,
        progress=progress,
    )


def _end(
    line: dict[str, Any], best: dict[str, Any], by_name: dict[str, Point], place: Callable[..., str], alone: bool
) -> tuple[str, str]:
    """The value at one end of a curve, and what it is to the least: a factor with its interval, and a verdict."""
    if alone:
        return NONE, ""
    where = f"at {place(line['x'])}"
    point, least = by_name.get(line["fingerprint"]), by_name.get(best["fingerprint"])
    if point is None or least is None or line is best or not point.pairs_with(least):
        return significant(line["value"]), where
    found = compare(point.distances(), least.distances())
    if found.ratio is None:
        return significant(line["value"]), where
    verdict = {"a better": "better", "b better": "worse", "undecided": "undecided"}[found.verdict]
    factor = f"{ratio(found.ratio.estimate)}× ({span(found.ratio.low, found.ratio.high, ratio)})"
    return significant(line["value"]), f"{where}: {factor}, {verdict}"


def _spread(line: dict[str, object]) -> str:
    details = line["details"]
    quantiles = details.get("quantiles") if isinstance(details, dict) else None
    return span(quantiles["0.05"], quantiles["0.95"]) if quantiles else NONE


def _plateau(lines: list[dict[str, object]], by_name: dict[str, Point], best: str, is_nfe: bool) -> str:
    """The places of all trials that are not decidedly above the best on the same seeds."""
    chosen = by_name.get(best)
    if chosen is None:
        return NONE
    places = []
    for line in lines:
        point = by_name.get(str(line["fingerprint"]))
        if point is not None and point.pairs_with(chosen) and _not_worse(point, chosen):
            places.append(float(str(line["x"])))
    form = evaluations if is_nfe else significant
    return span(min(places), max(places), form) if places else NONE


def _not_worse(point: Point, best: Point) -> bool:
    if point.fingerprint == best.fingerprint:
        return True
    return within_best([best.distances(), point.distances()], 1.0)[1].verdict != "beyond"


def _power(lines: list[dict[str, object]]) -> str:
    """p of value ~ NFE^p; "–" with too few points."""
    pairs = [(float(str(line["nfe"])), float(str(line["value"]))) for line in lines]
    pairs = [(nfe, value) for nfe, value in pairs if nfe > 0 and value > 0 and math.isfinite(nfe)]
    if len({nfe for nfe, _ in pairs}) < LEAST_FOR_SLOPE:
        return NONE
    x, y = np.log(np.array(pairs)).T
    return significant(float(np.polyfit(x, y, 1)[0]), 2)
