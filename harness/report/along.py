"""The table of curves that the 3 % rule does not judge: where each is least, how sure that is, how fast it falls."""

import math
from typing import NamedTuple

import numpy as np

from harness.metrics.uncertainty import Comparison, compare, within_best
from harness.report.curves import Curve, Panel, points
from harness.report.data import GridData, records
from harness.report.numbers import NONE, evaluations, plural, significant, span
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
        first: the value at the left end, and `first_at` where that is.
        gain: the least over the first, with its interval and verdict in `gain_note`.
        power: p of a least-squares fit value ~ NFE^p over the curve.
        progress: what is not done yet.
    """

    series: str
    least: str
    least_range: str
    spread: str
    at: str
    plateau: str
    first: str
    first_at: str
    gain: str
    gain_note: str
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
        return AlongRow(*[NONE] * len(AlongRow._fields))._replace(series=curve.name, gain_note="", progress=progress)
    by_name = {point.fingerprint: point for point in points(curve.trials, end)}
    best = min(lines, key=lambda line: line["value"])
    first = lines[0]
    place = evaluations if data.against_nfe else significant
    gain, note = _gain(by_name.get(best["fingerprint"]), by_name.get(first["fingerprint"]))
    alone = curve.is_level or len(lines) == 1
    return AlongRow(
        series=curve.name,
        least=significant(best["value"]),
        least_range=span(best["low"], best["high"]),
        spread=_spread(best),
        at=NONE if curve.is_level else place(best["x"]),
        plateau=NONE if alone else _plateau(lines, by_name, best["fingerprint"], place is evaluations),
        first=NONE if alone else significant(first["value"]),
        first_at=NONE if alone else place(first["x"]),
        gain=NONE if alone or best is first else gain,
        gain_note="" if alone or best is first else note,
        power=_power(lines) if data.against_nfe and not data.is_distance else NONE,
        progress=progress,
    )


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


def _gain(best: Point | None, first: Point | None) -> tuple[str, str]:
    """The best over the first as a factor, and how sure that is."""
    if best is None or first is None or not best.pairs_with(first):
        return NONE, "seeds not paired"
    found: Comparison = compare(best.distances(), first.distances())
    if found.ratio is None:
        return NONE, ""
    verdict = {"a better": "lower", "b better": "higher", "undecided": "undecided"}[found.verdict]
    return f"{significant(found.ratio.estimate)}×", f"{span(found.ratio.low, found.ratio.high)}, {verdict}"


def _power(lines: list[dict[str, object]]) -> str:
    """p of value ~ NFE^p; "–" with too few points."""
    pairs = [(float(str(line["nfe"])), float(str(line["value"]))) for line in lines]
    pairs = [(nfe, value) for nfe, value in pairs if nfe > 0 and value > 0 and math.isfinite(nfe)]
    if len({nfe for nfe, _ in pairs}) < LEAST_FOR_SLOPE:
        return NONE
    x, y = np.log(np.array(pairs)).T
    return significant(float(np.polyfit(x, y, 1)[0]), 2)
