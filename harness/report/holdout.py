"""The settings measured again on fresh seeds: side by side with their search-time values, and against the known ones.

What a search reports of its best is too good: of many noisy values the least was taken. On seeds that no choice
depended on, that part falls away. Differences are paired, seed block by seed block, and only between rows with the same
metric, extractor, reference, N, first seed and blocks.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.metrics.statistics.jackknife import Interval, Replicates, compare
from harness.report.comparability import key
from harness.report.study import Search, Value, as_value, sign
from harness.report.text.settings import setting_line

Verdict = Literal["better", "worse", "undecided"]

WORDS: dict[str, str] = {
    "better": "better",
    "worse": "worse",
    "undecided": "the seeds do not tell them apart",
}

FOUND, KNOWN = ("top", "spread"), ("baseline", "paper")
"""Roles of what the search chose, and of what it is held against."""


class Paired(NamedTuple):
    """A difference on the same seeds, this minus the other; None where the rows do not pair."""

    difference: Interval | None
    verdict: Verdict


class Final(NamedTuple):
    """A setting that was measured on fresh seeds, or is to be.

    Args:
        fingerprint: of its trial.
        labels: its names, each role's.
        roles: why it was measured.
        number: of its slot; None where the search never had it.
        place: its rank by the search-time value among all that the search measured fully; None where it is not one of
            the best of these.
        settings: in a line.
        nfe: denoiser evaluations per image.
        trial: the Trial's JSON.
        search: the objective at full N on the search seeds, of one along the ranking that was pruned its estimate;
            None where there is none.
        fresh: the metric on fresh seeds; None where that is missing or failed.
        row: the result row of `fresh`; also of a failed one.
        ranks: among the finals that have both values: by the search-time one, by the fresh one; None for others.
    """

    fingerprint: str
    labels: tuple[str, ...]
    roles: tuple[str, ...]
    number: int | None
    place: int | None
    settings: str
    nfe: int | None
    trial: dict[str, Any]
    search: Value | None
    fresh: Value | None
    row: dict[str, Any] | None
    ranks: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """All of its names, but for those that are part of another."""
        return " = ".join(one for one in self.labels if not any(one != other and one in other for other in self.labels))

    @property
    def is_found(self) -> bool:
        """Whether the search chose it."""
        return any(role in FOUND for role in self.roles)

    @property
    def is_known(self) -> bool:
        """Whether it is a baseline or the paper's."""
        return any(role in KNOWN for role in self.roles)


def finals(search: Search) -> list[Final]:
    """Every setting once, with ranks, the best on fresh seeds first and what has no fresh value last."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for entry in search.finals:
        entries.setdefault(entry["fingerprint"], []).append(entry)
    made = [_final(search, group) for group in entries.values()]
    both = [each for each in made if each.search and each.fresh]
    by_search = _ranks([sign(search.objective) * each.search.value for each in both if each.search])
    by_fresh = _ranks([sign(search.metric) * each.fresh.value for each in both if each.fresh])
    ranked = {each.fingerprint: pair for each, pair in zip(both, zip(by_search, by_fresh, strict=True), strict=True)}
    made = [each._replace(ranks=ranked.get(each.fingerprint)) for each in made]
    return sorted(made, key=lambda each: (each.fresh is None, order(search, each)))


def order(search: Search, final: Final) -> float:
    """What sorts finals: the fresh value, the better the less."""
    return sign(search.metric) * final.fresh.value if final.fresh else 0.0


def _final(search: Search, group: list[dict[str, Any]]) -> Final:
    first = group[0]
    row = search.rows.get(first["fingerprint"])
    paths = [str(each["path"]) for each in search.parameters]
    places = [entry["rank"] for entry in group if entry["role"] == "top" and entry.get("rank")]
    numbers = [entry["number"] for entry in group if entry.get("number") is not None]
    measured = [found for entry in group if (found := as_value(entry.get("search")))]
    return Final(
        fingerprint=first["fingerprint"],
        labels=tuple(dict.fromkeys(entry["label"] for entry in group)),
        roles=tuple(dict.fromkeys(entry["role"] for entry in group)),
        number=numbers[0] if numbers else None,
        place=places[0] if places else None,
        settings=setting_line(first.get("settings"), first["trial"], paths),
        nfe=first.get("nfe"),
        trial=first["trial"],
        search=measured[0] if measured else None,
        fresh=as_value(row) if row and row["status"] == "done" else None,
        row=row,
    )


def _ranks(values: list[float]) -> list[int]:
    """The place of each value, 1 for the least; of equals the first comes first."""
    ordered = sorted(range(len(values)), key=lambda index: (values[index], index))
    return [ordered.index(index) + 1 for index in range(len(values))]


def known(found: list[Final]) -> list[Final]:
    """The baselines, then the paper's settings, each once."""
    return sorted(
        (each for each in found if each.is_known), key=lambda each: ("baseline" not in each.roles, each.labels)
    )


def best(found: list[Final]) -> Final | None:
    """The best on fresh seeds, whoever named it."""
    return next((each for each in found if each.fresh), None)


def chosen(found: list[Final]) -> Final | None:
    """What the search would have reported without fresh seeds: the best by the search-time value, with a fresh one."""
    ranked = [each for each in found if each.ranks and each.is_found]
    return min(ranked, key=lambda each: each.ranks or (0, 0)) if ranked else None


def against(search: Search, one: Final, other: Final) -> Paired:
    """The difference of two finals on the fresh seeds, one minus other, and whether one is better."""
    a, b = one.row, other.row
    if not (one.fresh and other.fresh and a and b and key(a) == key(b)):
        return Paired(None, "undecided")
    count = len(a["blocks"] or [])
    if count < 2 or a["blocks"] != b["blocks"] or any(len(side["replicates"] or []) != count for side in (a, b)):
        return Paired(None, "undecided")
    found = compare(_replicates(a), _replicates(b))
    lower: Verdict = {"a better": "better", "b better": "worse"}.get(found.verdict, "undecided")  # type: ignore[assignment]
    flipped: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "undecided": "undecided"}
    return Paired(found.difference, lower if sign(search.metric) == 1 else flipped[lower])


def _replicates(row: Mapping[str, Any]) -> Replicates:
    sizes = np.diff([*row["blocks"], row["first_seed"] + row["n"]])
    return Replicates(row["value"], np.array(row["replicates"]), sizes)


class Moved(NamedTuple):
    """How far a setting's value went from the search seeds to the fresh ones.

    Args:
        final: which.
        by: fresh minus search-time value.
        reach: half-width of the 95 % interval, the two sets of seeds being independent; NaN where unknown.
    """

    final: Final
    by: float
    reach: float


def moved(search: Search, final: Final | None) -> Moved | None:
    """None where the two values are not of one metric at one N, or one is missing."""
    if not search.compares or final is None or not (final.search and final.fresh):
        return None
    halves = [(side.high - side.low) / 2 for side in (final.search, final.fresh)]
    return Moved(final, final.fresh.value - final.search.value, math.hypot(*halves))


def is_reordered(found: list[Final]) -> bool:
    """Whether the finals rank otherwise on fresh seeds than on the search's."""
    return any(each.ranks and each.ranks[0] != each.ranks[1] for each in found)
