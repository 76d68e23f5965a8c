"""What the store holds of a grid, a table a metric: a line for every trial of the plan, done, failed or missing.

Results are used only if they were made with the plan's metric, extractor, reference, first seed, number of samples and
label policy; others are counted with the reason and left out, so that no curve joins numbers that cannot be compared. A
metric on several ranges of seeds is one metric: curves and intervals are those of the first range.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from harness.core.errors import InputError
from harness.report.comparability import SAME, WORDS, apart_by_labels, difference, key
from harness.report.text.choices import AXES, describe
from harness.report.text.numbers import plural
from harness.store.database import Store

COLUMNS = [
    *("panel", "series", *AXES, "steps", "nfe", "nfe_min", "nfe_max", "x", "value", "low", "high", "status", "reason"),
    *(
        "step",
        "seconds",
        "evaluations",
        "n",
        "first_seed",
        "metric",
        "extractor",
        "reference",
        "labels",
        "noise_device",
    ),
    *("finished_at", "fingerprint"),
]
"""The columns of a tidy table, for the terminal and for CSV."""


class Floor(NamedTuple):
    """The metric of real data against the reference, at the report's number of samples: nothing can be much lower.

    Args:
        mean: over the draws.
        low, high: the ends of the band.
        n: real images a set; fewer than the report's where the data set is too small.
        band: what low to high means.
    """

    mean: float
    low: float
    high: float
    n: int
    band: str


class Range(NamedTuple):
    """A trial on one range of seeds: `done`, `failed` or `missing`, and the value, NaN if it is not done."""

    status: str
    value: float


class GridData(NamedTuple):
    """A grid and its results under one metric.

    Args:
        plan: as the store holds it, with a panel for each label policy.
        metric: its entry of the plan's metrics; `first_seed` is that of the first range.
        trials: one line an item of the plan, on the first range of seeds: `COLUMNS` and `EXTRA`.
        rows: the result rows in use, each once, whatever number of series shares it, those of further ranges as well.
        left_out: reasons in words, with counts, for results that are not used.
        floor: None where the store has none for this extractor, reference and number of samples.
        further: the same lines as `trials` on each further range of seeds.
    """

    plan: dict[str, Any]
    metric: dict[str, Any]
    trials: pd.DataFrame
    rows: list[dict[str, Any]]
    left_out: list[str]
    floor: Floor | None
    further: tuple[pd.DataFrame, ...] = ()

    @property
    def every_range(self) -> pd.DataFrame:
        """The lines of all ranges of seeds."""
        return pd.concat([self.trials, *self.further], ignore_index=True) if self.further else self.trials

    def count(self, status: str) -> int:
        """How many trials of the plan are `done`, `failed` or `missing`, each range of seeds counted."""
        return int((self.every_range["status"] == status).sum())

    def distinct(self, status: str | None = None) -> int:
        """How many trials there are, or have a status, those that series share counted once, each range by itself."""
        unique = self.every_range.drop_duplicates(["fingerprint", "first_seed"])
        return len(unique) if status is None else int((unique["status"] == status).sum())

    @property
    def title(self) -> str:
        """The metric's name for people."""
        return str(self.metric["title"])

    @property
    def is_distance(self) -> bool:
        """Whether it is a Frechet distance of finite sets, and so has a floor and the 3 % rule."""
        return bool(self.metric["is_distance"])

    @property
    def is_measure(self) -> bool:
        """Whether it is a laboratory measure, a mean over samples, and not a metric of features."""
        return bool(self.metric.get("is_measure", not self.is_distance))

    @property
    def by_factors(self) -> bool:
        """Whether values compare by factors, as distances and errors do; shares and scores by differences."""
        return self.is_distance or self.is_measure

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return bool(self.metric.get("is_share"))

    @property
    def first_seeds(self) -> list[int]:
        """The first seed of each range."""
        return list(self.metric["first_seeds"])

    @property
    def lower_is_better(self) -> bool:
        """Which way is better."""
        return self.metric["better"] == "lower"

    def best(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        """The best of some finished trials; of equals the first."""
        sign = 1 if self.lower_is_better else -1
        return min(lines, key=lambda line: sign * line["value"])

    @property
    def against_nfe(self) -> bool:
        """Whether the horizontal axis is NFE."""
        return self.plan["x"]["path"] == "nfe"


EXTRA = ("replicates", "blocks", "details", "adaptive", "ranges")
"""Columns beside `COLUMNS` that only the report needs."""


def load(store: Store, grid: str) -> list[GridData]:
    """Collect a grid's plan and the results that belong to it, one by one for its metrics.

    Raises:
        InputError: the store has no such grid, or has it from a version that wrote another kind of plan.
    """
    plan = store.grid(grid)
    if plan is None:
        known = ", ".join(store.grid_names()) or "none yet"
        raise InputError(f"{store.name}: no grid '{grid}' was run into this store; it has: {known}")
    if "metrics" not in plan:
        raise InputError(
            f"{store.name}: grid '{grid}' was run by an earlier version; `harness run {grid}` brings it up"
        )
    plan = apart_by_labels(plan)
    metrics = [_with_seeds(metric, plan) for metric in plan["metrics"]]
    metrics = [metric for index, metric in enumerate(metrics) if metric not in metrics[:index]]
    wanted = {key(each) for metric in metrics for each in _ranges(metric)}
    return [_under(store, plan, metric, wanted) for metric in metrics]


def _with_seeds(metric: dict[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """A metric of a plan with the first seeds of its ranges; earlier plans have one range."""
    seeds = metric.get("first_seeds") or [plan["first_seed"]]
    return metric | {"first_seeds": seeds, "first_seed": seeds[0]}


def _ranges(metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The metric on each of its ranges of seeds."""
    return [metric | {"first_seed": first} for first in metric["first_seeds"]]


def _under(store: Store, plan: dict[str, Any], metric: dict[str, Any], wanted: set[tuple[Any, ...]]) -> GridData:
    """The grid's results under one metric; `wanted` are the keys of all metrics, whose rows are not left out."""
    items = [item for item in plan["items"] if _is_asked(item, metric)]
    by_name = {item["fingerprint"]: item for item in items}
    ranges = _ranges(metric)
    used: list[dict[str, dict[str, Any]]] = [{} for _ in ranges]
    apart: Counter[str] = Counter()
    for row in store.results(list(by_name)):
        whys = [difference(row, each, by_name[row["fingerprint"]]) for each in ranges]
        if "" in whys:
            used[whys.index("")][row["fingerprint"]] = row
            continue
        why = min(whys, key=lambda words: words.count(" and "))
        if row["metric"] == metric["metric"] and (key(row) not in wanted or why.startswith(WORDS["labels"])):
            apart[why] += 1
    tables = [_table(plan, items, rows, each) for rows, each in zip(used, ranges, strict=True)]
    seen = [[Range(*pair) for pair in zip(table["status"], table["value"], strict=True)] for table in tables]
    tables[0]["ranges"] = list(map(list, zip(*seen, strict=True)))
    left_out = [f"{plural(count, 'row')} with {why}" for why, count in apart.items()]
    rows = [found[name] for found in used for name in by_name if name in found]
    return GridData(plan, metric, tables[0], rows, left_out, _floor(store, metric), tuple(tables[1:]))


def _table(
    plan: Mapping[str, Any], items: list[dict[str, Any]], rows: dict[str, dict[str, Any]], metric: Mapping[str, Any]
) -> pd.DataFrame:
    """The lines of one range of seeds."""
    lines = [_line(item, rows.get(item["fingerprint"]), metric) for item in items]
    if plan["x"]["path"] == "nfe":
        lines = [line | {"x": line["nfe"]} for line in lines]
    return pd.DataFrame(lines, columns=[*COLUMNS, *EXTRA])


def _is_asked(item: Mapping[str, Any], metric: Mapping[str, Any]) -> bool:
    """Whether a metric is asked of an item of the plan."""
    parts = (("series", "base"), ("denoisers", "denoiser"))
    return all(metric[names] is None or item[name] in metric[names] for names, name in parts)


def rows_table(store: Store, grid: str | None = None) -> pd.DataFrame:
    """The results as one tidy table with the columns `COLUMNS`.

    Args:
        store: where they are.
        grid: the trials of this grid, missing ones included; None for every result in the store, where the panel is the
            denoiser and there is no series.

    Raises:
        InputError: the store has no such grid.
    """
    if grid is not None:
        return pd.concat([data.every_range[COLUMNS] for data in load(store, grid)], ignore_index=True)
    lines = []
    for row in store.results():
        trial = row["trial"]
        name = trial.get("denoiser")
        item = {
            "panel": describe(name).kind,
            "series": "",
            "fingerprint": row["fingerprint"],
            "sampler": trial.get("sampler", {}),
            "labels": trial.get("labels"),
        }
        lines.append(_line(item, row, row))
    return pd.DataFrame(lines, columns=COLUMNS)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines of a table as dictionaries."""
    return [{str(key): value for key, value in line.items()} for line in table.to_dict("records")]


def _line(item: Mapping[str, Any], row: Mapping[str, Any] | None, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the table: an item of a plan, and its result if there is one."""
    sampler = item.get("sampler") or {}
    steps = item.get("steps", sampler.get("steps"))
    line = {
        "panel": item["panel"],
        "series": item["series"],
        "steps": math.nan if steps is None else float(steps),
        "nfe": _number(item.get("nfe")),
        "x": _number(item.get("x")),
        "adaptive": bool(item.get("adaptive")),
        "details": {},
        "status": "missing",
        "reason": "",
        "labels": str(item.get("labels")),
        "noise_device": str(sampler.get("noise_device", "")),
        "finished_at": "",
        "fingerprint": item["fingerprint"],
        "replicates": [],
        "blocks": [],
        "ranges": [],
    }
    line |= {axis: str(describe(sampler.get(axis))) for axis in AXES}
    line |= {key: made_with[key] for key in SAME}
    line |= dict.fromkeys(("value", "low", "high", "step", "seconds", "evaluations"), math.nan)
    line |= dict.fromkeys(("nfe_min", "nfe_max"), math.nan)
    return line if row is None else line | _measured(row, line["nfe"])


def _measured(row: Mapping[str, Any], planned: float) -> dict[str, Any]:
    """What a result row adds to its line. A value that is not finite counts as failed."""
    value = _number(row["value"])
    done = row["status"] == "done" and math.isfinite(value)
    nfe = _number(row["nfe"])
    reason = row["reason"] or ("" if done else "the value is not finite" if row["status"] == "done" else "no reason")
    return {
        "nfe": nfe if nfe > 0 else math.nan if nfe == 0 else planned,
        "nfe_min": _number(row["nfe_min"]),
        "nfe_max": _number(row["nfe_max"]),
        "details": row.get("details") or {},
        "value": value if done else math.nan,
        "low": _number(row["low"]) if done else math.nan,
        "high": _number(row["high"]) if done else math.nan,
        "status": "done" if done else "failed",
        "reason": reason,
        "step": _number(row["step"]),
        "seconds": _number(row["seconds"]),
        "evaluations": _number(row["evaluations"]),
        "finished_at": row["finished_at"] or "",
        "replicates": list(row["replicates"] or []),
        "blocks": list(row["blocks"] or []),
    }


def _floor(store: Store, metric: Mapping[str, Any]) -> Floor | None:
    if not metric["is_distance"]:
        return None
    fact = store.fact(f"floor:{metric['extractor']}:{metric['reference']}:{metric['n']}")
    if fact is None:
        return None
    return Floor(fact["mean"], fact["low"], fact["high"], fact.get("n", metric["n"]), str(fact.get("band", "")))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
