"""The settings measured again on fresh seeds: beside their search-time values, and against the known ones.

What a search reports of its best is too good: of many noisy values the least was taken. On seeds that no choice
depended on, that part falls away. Differences are paired, seed block by seed block, and only between rows with the same
metric, extractor, reference, N, first seed and blocks.
"""

import math
from typing import Any, Literal, NamedTuple

from harness.metrics.statistics.jackknife import Interval, compare
from harness.report.comparability import key
from harness.report.study import SearchData, ValueInterval, sign
from harness.report.text.choices import setting_line
from harness.report.three_percent import CurvePoint

Judgement = Literal["better", "worse", "undecided"]

JUDGEMENTS: dict[str, str] = {
    "better": "better",
    "worse": "worse",
    "undecided": "the seeds do not tell them apart",
}

CHOSEN_ROLES, KNOWN_ROLES = ("top", "spread"), ("baseline", "paper")
"""Roles of what the search chose, and of what it is held against."""


class PairedDifference(NamedTuple):
    """A difference on the same seeds, this minus the other; None where the rows do not pair."""

    difference: Interval | None
    verdict: Judgement


class HoldoutResult(NamedTuple):
    """A setting that was measured on fresh seeds, or is to be.

    Args:
        fingerprint: of its trial.
        labels: its names, each role's.
        roles: why it was measured.
        number: of its trial in the search; None where the search never had it.
        place: its rank by the search-time value among all that the search measured fully; None where it is not one of
            the best of these.
        settings: in a line.
        nfe: denoiser evaluations per image.
        trial: the Trial's JSON.
        search: the objective at full N on the search seeds, of one along the ranking that was pruned its estimate;
            None where there is none.
        fresh: the metric on fresh seeds; None where that is missing or failed.
        row: the result row of `fresh`; also of a failed one.
        settled: what the setting is ranked by on fresh seeds: of a distance the estimate at infinite N, where there are
            blocks for one; else the value of `fresh`.
        ranks: among the results that have both values: by the search-time one, by the fresh one; None for others.
    """

    fingerprint: str
    labels: tuple[str, ...]
    roles: tuple[str, ...]
    number: int | None
    place: int | None
    settings: str
    nfe: int | None
    trial: dict[str, Any]
    search: ValueInterval | None
    fresh: ValueInterval | None
    row: dict[str, Any] | None
    settled: ValueInterval | None
    ranks: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """All of its names, but for those that are part of another."""
        return " = ".join(one for one in self.labels if not any(one != other and one in other for other in self.labels))

    @property
    def is_chosen(self) -> bool:
        """Whether the search chose it."""
        return any(role in CHOSEN_ROLES for role in self.roles)

    @property
    def is_known(self) -> bool:
        """Whether it is a baseline or the paper's."""
        return any(role in KNOWN_ROLES for role in self.roles)

    @property
    def is_reordered(self) -> bool:
        """Whether it ranks otherwise on fresh seeds than on the search's."""
        return bool(self.ranks and self.ranks[0] != self.ranks[1])


def holdout_results(search: SearchData) -> list[HoldoutResult]:
    """Every setting once, with ranks, the best on fresh seeds first and what has no fresh value last."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for entry in search.finals:
        entries.setdefault(entry["fingerprint"], []).append(entry)
    made = [_result(search, group) for group in entries.values()]
    both = [each for each in made if each.search and each.fresh]
    by_search = _ranks([search.sign * each.search.value for each in both if each.search])
    by_fresh = _ranks([sign(search.metric) * each.settled.value for each in both if each.settled])
    ranked = {each.fingerprint: pair for each, pair in zip(both, zip(by_search, by_fresh, strict=True), strict=True)}
    made = [each._replace(ranks=ranked.get(each.fingerprint)) for each in made]
    better = sign(search.metric)
    return sorted(made, key=lambda each: (each.settled is None, better * each.settled.value if each.settled else 0.0))


def _result(search: SearchData, group: list[dict[str, Any]]) -> HoldoutResult:
    first = group[0]
    row = search.rows.get(first["fingerprint"])
    places = [entry["rank"] for entry in group if entry["role"] == "top" and entry.get("rank")]
    numbers = [entry["number"] for entry in group if entry.get("number") is not None]
    measured = [value for entry in group if (value := ValueInterval.of(entry.get("search")))]
    return HoldoutResult(
        fingerprint=first["fingerprint"],
        labels=tuple(dict.fromkeys(entry["label"] for entry in group)),
        roles=tuple(dict.fromkeys(entry["role"] for entry in group)),
        number=numbers[0] if numbers else None,
        place=places[0] if places else None,
        settings=setting_line(first.get("settings"), first["trial"], search.paths),
        nfe=first.get("nfe"),
        trial=first["trial"],
        search=measured[0] if measured else None,
        fresh=ValueInterval.of(row) if row and row["status"] == "done" else None,
        row=row,
        settled=_settled(search, row) if row and row["status"] == "done" else None,
    )


def _settled(search: SearchData, row: dict[str, Any]) -> ValueInterval | None:
    at = _point(row).corrected if search.metric.get("is_distance") else None
    return ValueInterval(at.estimate, at.low, at.high) if at else ValueInterval.of(row)


def _point(row: dict[str, Any]) -> CurvePoint:
    replicates, blocks = tuple(row["replicates"] or ()), tuple(row["blocks"] or ())
    return CurvePoint("", 0, row["value"], replicates, blocks, row["first_seed"] + row["n"])


def _ranks(values: list[float]) -> list[int]:
    """The place of each value, 1 for the least; of equals the first comes first."""
    ordered = sorted(range(len(values)), key=lambda index: (values[index], index))
    return [ordered.index(index) + 1 for index in range(len(values))]


def known(results: list[HoldoutResult]) -> list[HoldoutResult]:
    """The baselines, then the paper's settings, each once."""
    own = (each for each in results if each.is_known)
    return sorted(own, key=lambda each: ("baseline" not in each.roles, each.labels))


def best(results: list[HoldoutResult]) -> HoldoutResult | None:
    """The best on fresh seeds, whoever named it."""
    return next((each for each in results if each.fresh), None)


def search_best(results: list[HoldoutResult]) -> HoldoutResult | None:
    """What the search would have reported without fresh seeds: the best by the search-time value, with a fresh one."""
    ranked = [each for each in results if each.ranks and each.is_chosen]
    return min(ranked, key=lambda each: each.ranks or (0, 0)) if ranked else None


def against(search: SearchData, one: HoldoutResult, other: HoldoutResult) -> PairedDifference:
    """The difference of two results on the fresh seeds, one minus other, and whether one is better.

    That of distances is the one at infinite N.
    """
    a, b = one.row, other.row
    if not (one.fresh and other.fresh and a and b and key(a) == key(b)):
        return PairedDifference(None, "undecided")
    left, right = _point(a), _point(b)
    if not left.pairs_with(right):
        return PairedDifference(None, "undecided")
    at_infinity = bool(search.metric.get("is_distance"))
    comparison = compare(left.as_replicates(), right.as_replicates(), at_infinity=at_infinity)
    lower: Judgement = "better" if comparison.verdict == "a better" else "worse"
    higher: Judgement = "worse" if comparison.verdict == "a better" else "better"
    verdict = "undecided" if comparison.verdict == "undecided" else lower if sign(search.metric) == 1 else higher
    return PairedDifference(comparison.difference, verdict)


class SeedShift(NamedTuple):
    """How far a setting's value went from the search seeds to the fresh ones.

    Args:
        by: fresh minus search-time value.
        reach: half-width of the 95 % interval, the two sets of seeds being independent; NaN where unknown.
    """

    by: float
    reach: float


def seed_shift(search: SearchData, result: HoldoutResult) -> SeedShift | None:
    """None where the two values are not of one metric at one N, or one is missing."""
    if not (search.compares and result.search and result.fresh):
        return None
    halves = [(side.high - side.low) / 2 for side in (result.search, result.fresh)]
    return SeedShift(result.fresh.value - result.search.value, math.hypot(*halves))
