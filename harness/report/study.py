"""What the store holds of a search: its spec, its slots in order, and what was measured again on fresh seeds.

Values compare at one number of images only, so a slot offers two: `first`, at the first rung, which every slot that ran
has, and `full`, at the last, which the done ones have.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.report.comparability import SAME
from harness.report.text.numbers import listing, plural, whole
from harness.store.database import Store
from harness.store.studies import DONE as DONE
from harness.store.studies import FAILED as FAILED
from harness.store.studies import PRUNED as PRUNED
from harness.store.studies import RUNNING as RUNNING
from harness.store.studies import SUGGESTED as SUGGESTED
from harness.store.studies import Studies


class Value(NamedTuple):
    """A number with the ends of its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float


class Slot(NamedTuple):
    """A trial of the budget, as the store has it; see `harness/tables.py`.

    Args:
        rungs: what was measured, from the fewest seeds to the most.
        first: at the study's first rung; None where that was not measured.
        full: at all seeds, of a done slot; None otherwise.
    """

    number: int
    status: str
    origin: str
    settings: dict[str, Any]
    trial: dict[str, Any]
    fingerprint: str
    nfe: int | None
    twin: int | None
    rival: int | None
    rungs: list[dict[str, Any]]
    value: float | None
    reason: str
    step: int | None
    evaluations: int
    first: Value | None
    full: Value | None

    @property
    def reached(self) -> int:
        """Images that it was measured by; 0 for none."""
        return int(self.rungs[-1]["n"]) if self.rungs else 0

    @property
    def difference(self) -> Value | None:
        """From its rival at the last rung, paired by seeds, at the pruner's own confidence."""
        found = self.rungs[-1].get("difference") if self.rungs else None
        return Value(*(_number(found[name]) for name in ("estimate", "low", "high"))) if found else None


class Search:
    """A study and its results, read once.

    Args:
        row: the study's row.
        slots: its slots, in order.
        rows: the results of its finals on fresh seeds, by fingerprint, done or failed.
    """

    def __init__(self, row: Mapping[str, Any], slots: list[Slot], rows: dict[str, dict[str, Any]]) -> None:
        self.name: str = row["name"]
        self.spec: dict[str, Any] = row["spec"]
        self.record: dict[str, Any] = row["record"]
        self.budget: dict[str, Any] = row["budget"] or {}
        self.finals: list[dict[str, Any]] = row["finals"] or []
        self.is_over = row["finals"] is not None
        self.slots = slots
        self.rows = rows

    @property
    def objective(self) -> dict[str, Any]:
        """The record of what the search compares by."""
        return dict(self.record["objective"])

    @property
    def metric(self) -> dict[str, Any]:
        """The record of what the finals are measured by."""
        return dict(self.record["metric"])

    @property
    def is_proxy(self) -> bool:
        """Whether the search compares by something else than the finals are measured by."""
        names = ("metric", "fields", "extractor", "reference")
        return any(self.objective.get(name) != self.metric.get(name) for name in names)

    @property
    def samples(self) -> int:
        """Images of a trial at full N, in the search."""
        return int(self.spec["samples"])

    @property
    def fresh_samples(self) -> int:
        """Images of a final on fresh seeds."""
        return int(self.metric["n"])

    @property
    def compares(self) -> bool:
        """Whether a search-time value and a fresh one are of one metric at one N."""
        return not self.is_proxy and self.samples == self.fresh_samples

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """What is searched over."""
        return list(self.record["parameters"])

    @cached_property
    def by_number(self) -> dict[int, Slot]:
        """Slots by their number."""
        return {slot.number: slot for slot in self.slots}

    @property
    def own(self) -> list[Slot]:
        """Slots that are not repeats of earlier ones."""
        return [slot for slot in self.slots if slot.twin is None]

    def count(self, status: str) -> int:
        """How many slots have a status, repeats included."""
        return sum(slot.status == status for slot in self.slots)

    @property
    def provisional(self) -> list[str]:
        """Why the numbers may still change, a clause each; empty for a search that is over."""
        wanted, begun, running = self.budget.get("trials"), len(self.slots), self.count(RUNNING)
        why = []
        if wanted and begun < wanted and not (self.is_over and self._ended_early):
            why.append(f"{whole(begun)} of {plural(wanted, 'trial')} were begun")
        if running:
            why.append(f"{plural(running, 'trial is', 'trials are')} not settled")
        if not self.is_over:
            return [*why, "nothing was chosen for fresh seeds yet"]
        names = {final["fingerprint"] for final in self.finals}
        missing = len(names - self.rows.keys())
        if missing:
            why.append(f"{whole(missing)} of {plural(len(names), 'setting')} to be measured on fresh seeds are missing")
        return why

    @property
    def _ended_early(self) -> bool:
        """Whether something other than the number of trials ends the search: evaluations, or the grid's points."""
        limit, points = self.budget.get("evaluations"), self.record.get("points")
        used = sum(slot.evaluations for slot in self.slots)
        is_spent = limit is not None and used + int(self.record.get("full") or 0) > limit
        return is_spent or (points is not None and sum(slot.origin == SUGGESTED for slot in self.slots) >= points)

    def fresh_seeds(self) -> str:
        """The fresh seeds, from first to last."""
        first = int(self.spec["fresh_seed"])
        return f"{first} to {first + self.fresh_samples - 1}"

    def search_seeds(self) -> str:
        """The seeds that the search chose by."""
        first = int(self.spec["first_seed"])
        return f"{first} to {first + self.samples - 1}"


def sign(metric: Mapping[str, Any]) -> int:
    """1 where lower is better, −1 where higher is: times this, less is better."""
    return -1 if metric.get("better") == "higher" else 1


def by_factors(metric: Mapping[str, Any]) -> bool:
    """Whether values compare by factors, as distances and errors do; shares and scores by differences."""
    return bool(metric.get("is_distance") or metric.get("is_measure"))


def load_search(store: Store, name: str) -> Search:
    """Read a study.

    Raises:
        InputError: the store has no such study, or one without what a report needs.
    """
    studies = Studies(store)
    row = studies.find(name)
    if row is None:
        known = listing([f"'{each}'" for each in sorted(studies.names())]) or "none yet"
        raise InputError(f"{store.name}: there is no study '{name}'; it has: {known}")
    lacking = [key for key in ("metric", "objective", "parameters", "denoiser") if key not in row["record"]]
    if lacking:
        raise InputError(
            f"{store.name}: study '{name}' has no {listing(lacking)} in its record; search again with a new --study"
        )
    slots = [_slot(each, row["spec"]) for each in studies.slots(name)]
    wanted = {key: row["record"]["metric"].get(key) for key in SAME} | {"first_seed": row["spec"]["fresh_seed"]}
    names = sorted({final["fingerprint"] for final in row["finals"] or []})
    found = store.results(names) if names else []
    fits = [each for each in found if all(each[key] == value for key, value in wanted.items())]
    return Search(row, slots, {each["fingerprint"]: each for each in fits})


def _slot(row: Mapping[str, Any], spec: Mapping[str, Any]) -> Slot:
    rungs = [rung for rung in row["rungs"] or [] if math.isfinite(_number(rung.get("value")))]
    first = next((_value(rung) for rung in rungs if rung["n"] == spec["rungs"][0]), None)
    is_full = bool(rungs) and row["status"] == DONE and rungs[-1]["n"] == spec["rungs"][-1]
    return Slot(
        number=row["number"],
        status=row["status"],
        origin=row["origin"],
        settings=row["settings"] or {},
        trial=row["trial"] or {},
        fingerprint=row["fingerprint"] or "",
        nfe=row["nfe"],
        twin=row["twin"],
        rival=row["rival"],
        rungs=rungs,
        value=row["value"],
        reason=row["reason"] or "",
        step=row["step"],
        evaluations=row["evaluations"] or 0,
        first=first,
        full=_value(rungs[-1]) if is_full else None,
    )


def _value(rung: Mapping[str, Any]) -> Value:
    return Value(*(_number(rung.get(name)) for name in ("value", "low", "high")))


def as_value(found: Mapping[str, Any] | None) -> Value | None:
    """A number with its interval from `value, low, high`; None where there is no finite value."""
    value = _value(found) if found else None
    return value if value and math.isfinite(value.value) else None


def _number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan
