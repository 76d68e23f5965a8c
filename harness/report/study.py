"""What the store holds of a search: its record, its trials in order, and what was measured again on fresh seeds.

Values compare at one number of images only, so a trial offers two: `first`, at the first rung, which every trial that
    ran has, and `full`, at the last, which the done ones have.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.report.comparability import SAME
from harness.report.data import TrialResult, compares_by_factors
from harness.report.text.choices import setting_text
from harness.report.text.numbers import as_float, listing, plural, whole
from harness.store.database import Store
from harness.store.studies import DONE as DONE
from harness.store.studies import FAILED as FAILED
from harness.store.studies import PRUNED as PRUNED
from harness.store.studies import RUNNING as RUNNING
from harness.store.studies import SUGGESTED as SUGGESTED
from harness.store.studies import Studies


class ValueInterval(NamedTuple):
    """A number with the ends of its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, entry: Mapping[str, Any] | None) -> "ValueInterval | None":
        """From a mapping with `value`, `low` and `high`; None where there is no finite value."""
        value, low, high = (as_float((entry or {}).get(name)) for name in ("value", "low", "high"))
        return cls(value, low, high) if math.isfinite(value) else None


class SearchTrial:
    """A trial of a search.

    Args:
        row: the store's; see `harness/store/tables.py`. `twin` there is the trial that it repeats, `rival` the
            incumbent that the pruner compared it with.
        rungs: numbers of images at which trials are compared.

    `rungs` are those that were measured, from the fewest images to the most; `difference` is from the incumbent at the
    last of them, paired by seeds, at the pruner's own confidence.
    """

    def __init__(self, row: Mapping[str, Any], rungs: list[int]) -> None:
        self.number: int = row["number"]
        self.status: str = row["status"]
        self.origin: str = row["origin"]
        self.settings: dict[str, Any] = row["settings"] or {}
        self.trial: dict[str, Any] = row["trial"] or {}
        self.fingerprint: str = row["fingerprint"] or ""
        self.nfe: int | None = row["nfe"]
        self.duplicate_of: int | None = row["twin"]
        self.incumbent: int | None = row["rival"]
        self.reason: str = row["reason"] or ""
        self.step: int | None = None if row["step"] is None else row["step"] + 1  # rows count from 0
        self.evaluations: int = row["evaluations"] or 0
        self.rungs = [rung for rung in row["rungs"] or [] if math.isfinite(as_float(rung.get("value")))]
        last: dict[str, Any] = self.rungs[-1] if self.rungs else {}
        self.images: int = last.get("n", 0)
        self.last = ValueInterval.of(last)
        self.first = next((ValueInterval.of(rung) for rung in self.rungs if rung["n"] == rungs[0]), None)
        self.full = self.last if self.status == DONE and self.images == rungs[-1] else None
        gap = last.get("difference")
        ends = ("estimate", "low", "high")
        self.difference = ValueInterval(*(as_float(gap[name]) for name in ends)) if gap else None


class SearchData:
    """A study and its results, read once.

    Args:
        row: the study's row.
        trials: in order.
        rows: the results on fresh seeds, by fingerprint, done or failed.

    `objective` is the record of what the search compares by, `metric` of what its best settings are measured by on
    fresh seeds, `own` the trials that repeat no earlier one, and `compares` whether a search-time value and a fresh one
    are of one metric at one N.
    """

    def __init__(self, row: Mapping[str, Any], trials: list[SearchTrial], rows: dict[str, dict[str, Any]]) -> None:
        self.name: str = row["name"]
        self.spec: dict[str, Any] = row["spec"]
        self.record: dict[str, Any] = row["record"]
        self.budget: dict[str, Any] = row["budget"] or {}
        self.finals: list[dict[str, Any]] = row["finals"] or []
        self.is_over = row["finals"] is not None
        self.trials, self.rows = trials, rows
        self.own = [trial for trial in trials if trial.duplicate_of is None]
        self.by_number = {trial.number: trial for trial in trials}
        self.measured = {trial: trial.first.value for trial in self.own if trial.first}
        """Every trial that ran, with its value at the first rung, which is of the same seeds for all."""
        self.objective: dict[str, Any] = self.record["objective"]
        self.metric: dict[str, Any] = self.record["metric"]
        names = ("metric", "fields", "extractor", "reference")
        self.is_proxy = any(self.objective.get(name) != self.metric.get(name) for name in names)
        self.samples = int(self.spec["samples"])
        self.fresh_samples = int(self.metric["n"])
        self.compares = not self.is_proxy and self.samples == self.fresh_samples
        self.search_seeds = _range(self.spec["first_seed"], self.samples)
        self.fresh_seeds = _range(self.spec["fresh_seed"], self.fresh_samples)
        self.first_images = whole(self.spec["rungs"][0])
        self.paths = [str(each["path"]) for each in self.record["parameters"]]
        self.sign = sign(self.objective)
        self.by_factors = compares_by_factors(self.objective)

    @property
    def best(self) -> SearchTrial | None:
        """The best at full N; None while none is done."""
        done = [(trial.full.value, trial) for trial in self.own if trial.full]
        return min(done, key=lambda pair: self.sign * pair[0])[1] if done else None

    def count(self, status: str) -> int:
        """How many trials have a status, repeats included."""
        return sum(trial.status == status for trial in self.trials)

    @property
    def provisional(self) -> list[str]:
        """Why the numbers may still change, a clause each; empty for a search that is over."""
        wanted, begun, running = self.budget.get("trials"), len(self.trials), self.count(RUNNING)
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
        used = sum(trial.evaluations for trial in self.trials)
        is_spent = limit is not None and used + int(self.record.get("full") or 0) > limit
        return is_spent or (points is not None and sum(trial.origin == SUGGESTED for trial in self.trials) >= points)


def _range(first: int, count: int) -> str:
    return f"{first} to {first + count - 1}"


def sign(metric: Mapping[str, Any]) -> int:
    """1 where lower is better, −1 where higher is: times this, less is better."""
    return -1 if metric.get("better") == "higher" else 1


def load_search(store: Store, name: str) -> SearchData:
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
    trials = [SearchTrial(each, row["spec"]["rungs"]) for each in studies.slots(name)]
    wanted = {key: row["record"]["metric"].get(key) for key in SAME} | {"first_seed": row["spec"]["fresh_seed"]}
    names = sorted({final["fingerprint"] for final in row["finals"] or []})
    rows = store.results(names) if names else []
    fits = [each for each in rows if all(each[key] == value for key, value in wanted.items())]
    return SearchData(row, trials, {each["fingerprint"]: each for each in fits})


def search_results(store: Store, name: str) -> list[TrialResult]:
    """The trials of a search as results: each at the last rung that it was measured at, and the finals on fresh seeds.

    Raises:
        InputError: the store has no such study.
    """
    search = load_search(store, name)
    results = [_result(search, trial) for trial in search.own]
    fresh = search.metric | {"first_seed": search.spec["fresh_seed"]}
    for one in {final["fingerprint"]: final for final in search.finals}.values():
        item = _item(search, f"{one['label']}, fresh seeds", one["trial"], one["fingerprint"], one["nfe"])
        results.append(TrialResult(item, search.rows.get(one["fingerprint"]), fresh))
    return results


def _result(search: SearchData, trial: SearchTrial) -> TrialResult:
    name = "" if trial.origin == SUGGESTED else f" ({trial.origin})"
    item = _item(search, f"No. {trial.number}{name}", trial.trial, trial.fingerprint, trial.nfe)
    metric = search.objective | {"first_seed": search.spec["first_seed"], "n": trial.images or search.samples}
    own: dict[str, Any] = {"nfe": trial.nfe, "evaluations": trial.evaluations}
    if trial.status == FAILED:
        return TrialResult(item, own | {"status": "failed", "reason": trial.reason, "step": trial.step}, metric)
    return TrialResult(item, own | {"status": "done", **trial.last._asdict()} if trial.last else None, metric)


def _item(
    search: SearchData, label: str, trial: Mapping[str, Any], fingerprint: str, nfe: int | None
) -> dict[str, Any]:
    return {
        "panel": search.record["denoiser"],
        "series": label,
        "fingerprint": fingerprint,
        "sampler": trial.get("sampler"),
        "labels": search.spec.get("labels"),
        "nfe": nfe,
    }


class ParameterAxis(NamedTuple):
    """A parameter of the space.

    Args:
        name, path: for people, and in the sampler.
        is_choice: whether it takes words.
        log: whether it is searched on a logarithmic scale.
        low, high: its ends; NaN for a choice.
        choices: what it may be, in words.
    """

    name: str
    path: str
    is_choice: bool
    log: bool
    low: float
    high: float
    choices: tuple[str, ...]

    def of(self, trial: SearchTrial) -> float | str | None:
        """Its value in a trial; None where it is not active, or no number although it should be one."""
        value = trial.settings.get(self.name)
        if value is None:
            return None
        if self.is_choice:
            return setting_text(value)
        number = as_float(value)
        return number if math.isfinite(number) and not (self.log and number <= 0) else None


def parameters(search: SearchData) -> list[ParameterAxis]:
    """The space, with the ends that were declared, or those of what was tried."""
    return [_parameter(search, entry) for entry in search.record["parameters"]]


def _parameter(search: SearchData, entry: Mapping[str, Any]) -> ParameterAxis:
    name, is_choice = str(entry["name"]), entry["kind"] == "choice"
    tried = [trial.settings[name] for trial in search.own if trial.settings.get(name) is not None]
    axis = ParameterAxis(name, str(entry["path"]), is_choice, False, math.nan, math.nan, ())
    if is_choice:
        words = [setting_text(each) for each in [*(entry.get("choices") or entry.get("values") or []), *tried]]
        return axis._replace(choices=tuple(dict.fromkeys(words)))
    declared = map(as_float, (entry.get("low"), entry.get("high"), *(entry.get("values") or [])))
    ends = [end for end in declared if math.isfinite(end)]
    ends = ends or [value for value in map(as_float, tried) if math.isfinite(value)] or [0.0]
    low, high = min(ends), max(ends)
    return axis._replace(low=low, high=high, log=bool(entry.get("log")) and low > 0)
