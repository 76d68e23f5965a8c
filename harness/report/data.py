"""What the store holds of a grid: for each metric, every trial of the plan, done, failed or missing.

Results are used only if they were made with the plan's metric, extractor, reference, first seed, number of samples and
label policy. Others are counted with the reason and left out, so that no curve joins numbers that do not compare.
A metric on several ranges of seeds is one metric: curves and intervals are those of the first range.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from harness.core.errors import InputError
from harness.core.text import spreadsheet_text
from harness.report.comparability import SAME, WORDS, apart_by_labels, difference, key
from harness.report.old_plans import current_plan
from harness.report.text.choices import AXES, describe
from harness.report.text.numbers import as_float, plural
from harness.store.database import Store
from harness.store.names import find_in_store
from harness.store.results import stream_results

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("panel", "series", *AXES, "steps", "nfe", "nfe_min", "nfe_max", "x", "value", "low", "high", "status", "reason"),
    *("step", "seconds", "evaluations", "n", "first_seed", "metric", "extractor", "reference", "labels"),
    *("noise_device", "finished_at", "fingerprint"),
)
"""The columns of the table of results, in the terminal, as CSV and as a DataFrame."""

NUMBERS = ("value", "low", "high", "nfe", "nfe_min", "nfe_max", "step", "seconds", "evaluations")
"""Those that a result row stores."""


LISTED = ("fingerprint", *SAME, "status", "reason", *NUMBERS, "finished_at", "trial")
"""The columns of a result row that the table of results is made of."""


class TrialResult:
    """A trial under one metric on one range of seeds, with its result where there is one.

    Args:
        item: the plan's, with `panel`, `series`, `fingerprint` and `sampler`.
        row: the store's; None for a missing result.
        metric: what the row was made with, or is to be: the names in `SAME`.
        against_nfe: whether the place on the horizontal axis, `x`, is the NFE.

    `levels` has the sampler's noise levels, `sigmas`, and whether the denoiser `rounds` such; rows of earlier runs, and
    of long trials, have none.

    Numbers that are not known are NaN. A value that is not finite makes the trial a failed one. `ranges` holds the same
    trial on every range of seeds, itself first.
    """

    def __init__(
        self,
        item: Mapping[str, Any],
        row: Mapping[str, Any] | None,
        metric: Mapping[str, Any],
        against_nfe: bool = False,
    ) -> None:
        own = row or {}
        self.panel: str = item["panel"]
        self.series: str = item["series"]
        self.fingerprint: str = item["fingerprint"]
        self.sampler: Mapping[str, Any] = item.get("sampler") or {}
        self.adaptive = bool(item.get("adaptive"))
        self.labels = str(item.get("labels"))
        self.steps = as_float(item.get("steps", self.sampler.get("steps")))
        self.made_with = {name: metric[name] for name in SAME}
        self.first_seed: int = metric["first_seed"]
        self.end: int = metric["first_seed"] + metric["n"]
        number = {name: as_float(own.get(name)) for name in NUMBERS}
        self.done = own.get("status") == "done" and math.isfinite(number["value"])
        self.status = "missing" if row is None else "done" if self.done else "failed"
        unsaid = "the value is not finite" if own.get("status") == "done" else "no reason"
        self.reason: str = own.get("reason") or ("" if self.done or row is None else unsaid)
        self.value, self.low, self.high = (number[name] if self.done else math.nan for name in ("value", "low", "high"))
        planned = as_float(item.get("nfe")) if math.isnan(number["nfe"]) else math.nan
        self.nfe = number["nfe"] if number["nfe"] > 0 else planned
        self.nfe_min, self.nfe_max = number["nfe_min"], number["nfe_max"]
        self.x = self.nfe if against_nfe else as_float(item.get("x"))
        self.step = number["step"] + 1  # rows count from 0, people from 1
        self.seconds, self.evaluations = number["seconds"], number["evaluations"]
        self.finished_at: str = own.get("finished_at") or ""
        self.details: Mapping[str, Any] = own.get("details") or {}
        self.replicates: tuple[float, ...] = tuple(own.get("replicates") or ())
        self.blocks: tuple[int, ...] = tuple(own.get("blocks") or ())
        self.levels: Mapping[str, Any] = (own.get("provenance") or {}).get("levels") or {}
        self.ranges = [self]

    @property
    def range_values(self) -> list[float]:
        """The values of the ranges of seeds that are done."""
        return [each.value for each in self.ranges if each.done]

    @property
    def range_ends(self) -> tuple[float, float] | None:
        """The least and the greatest value of the ranges; None with fewer than two done."""
        values = self.range_values
        return (min(values), max(values)) if len(values) > 1 else None

    def record(self) -> dict[str, Any]:
        """The trial under the names of `COLUMNS`."""
        words = {axis: str(describe(self.sampler.get(axis))) for axis in AXES}
        words |= {"noise_device": str(self.sampler.get("noise_device", ""))} | self.made_with
        return {name: words[name] if name in words else getattr(self, name) for name in COLUMNS}


class FloorBand(NamedTuple):
    """What a perfect sampler gets: the metric of draws from the reference's own data, see `harness.metrics.floor`.

    Args:
        mean: over the draws.
        low, high: the ends of the band.
        draws: how many.
        source: what was drawn from.
        approximate: that is a Gaussian of the reference's moments.
    """

    mean: float
    low: float
    high: float
    draws: int
    source: str
    approximate: bool


class GridData:
    """A grid and its results under one metric.

    Args:
        plan: as the store holds it, with a panel for each label policy.
        metric: its entry of the plan's metrics; `first_seed` is that of the first range.
        ranges: a trial for every item of the plan, on each range of seeds.
        rows: the result rows in use, each once, whatever number of series shares it.
        left_out: reasons in words, with counts, for results that are not used.
        floor: None where the metric has none against this reference at this number of samples.
        no_floor: why not.

    `trials` are those of the first range, `every_range` those of all.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        metric: dict[str, Any],
        ranges: list[list[TrialResult]],
        rows: list[dict[str, Any]],
        left_out: list[str],
        floor: FloorBand | None,
        no_floor: str = "",
    ) -> None:
        self.plan, self.metric, self.rows, self.left_out = plan, metric, rows, left_out
        self.floor, self.no_floor = floor, no_floor
        self.trials, *self.further = ranges
        self.every_range = [trial for own in ranges for trial in own]
        self.title = str(metric["title"])
        self.n: int = metric["n"]
        self.first_seeds: list[int] = list(metric["first_seeds"])
        self.lower_is_better: bool = metric["better"] == "lower"
        self.against_nfe: bool = plan["x"]["path"] == "nfe"
        self.is_distance = bool(metric["is_distance"])
        """Whether it is a Frechet distance of finite sets, to which the 3 % rule applies."""
        self.is_measure = bool(metric.get("is_measure", not self.is_distance))
        """Whether it is a diagnostic, a mean over samples, and not a metric of features."""
        self.is_share = bool(metric.get("is_share"))
        """Whether it lies between 0 and 1."""
        self.by_factors = compares_by_factors(metric)
        self.counts = Counter(trial.status for trial in self.every_range)
        """How many trials of the plan are `done`, `failed` or `missing`, each range of seeds counted."""
        unique = {(trial.fingerprint, trial.first_seed): trial.status for trial in reversed(self.every_range)}
        self.distinct = Counter(unique.values())
        """The same, where trials that series share count once, each range by itself."""

    def best(self, trials: Iterable[TrialResult]) -> TrialResult:
        """The best of some finished trials; of equals the first."""
        sign = 1 if self.lower_is_better else -1
        return min(trials, key=lambda trial: sign * trial.value)


def compares_by_factors(metric: Mapping[str, Any]) -> bool:
    """Whether a metric's values compare by factors, as distances and errors do; shares and scores by differences."""
    if "by_factors" in metric:
        return bool(metric["by_factors"])
    return bool(metric.get("is_distance") or metric.get("is_measure", "is_distance" in metric))


def load(store: Store, grid: str) -> list[GridData]:
    """Collect a grid's plan and the results that belong to it, one by one for its metrics.

    Raises:
        InputError: the store has no such grid.
    """
    plan = store.grid(grid)
    if plan is None:
        known = ", ".join(store.grid_names()) or "none yet"
        raise InputError(f"{store.name}: no grid '{grid}' was run into this store; it has: {known}")
    plan = apart_by_labels(current_plan(plan))
    metrics: list[dict[str, Any]] = []
    for metric in plan["metrics"]:
        seeds = metric.get("first_seeds") or [plan["first_seed"]]  # earlier plans have one range
        metric = metric | {"first_seeds": seeds, "first_seed": seeds[0]}
        if metric not in metrics:
            metrics.append(metric)
    wanted = {key(each) for metric in metrics for each in _ranges(metric)}
    rows: dict[str, list[dict[str, Any]]] = {}  # read once for all metrics
    for row in store.results(list(dict.fromkeys(item["fingerprint"] for item in plan["items"]))):
        rows.setdefault(row["fingerprint"], []).append(row)
    return [_under(store, plan, metric, wanted, rows) for metric in metrics]


def _ranges(metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The metric on each of its ranges of seeds."""
    return [metric | {"first_seed": first} for first in metric["first_seeds"]]


def _under(
    store: Store,
    plan: dict[str, Any],
    metric: dict[str, Any],
    wanted: set[tuple[Any, ...]],
    stored: Mapping[str, list[dict[str, Any]]],
) -> GridData:
    """The grid's results under one metric.

    Args:
        store, plan, metric: of the grid.
        wanted: keys of all its metrics, whose rows are not left out.
        stored: the result rows of its trials, by fingerprint.
    """
    asked = (("series", "base"), ("denoisers", "denoiser"))
    items = [
        item for item in plan["items"] if all(metric[many] is None or item[one] in metric[many] for many, one in asked)
    ]
    by_name = {item["fingerprint"]: item for item in items}
    ranges = _ranges(metric)
    used: list[dict[str, dict[str, Any]]] = [{} for _ in ranges]
    unused: Counter[str] = Counter()
    for row in sorted((row for name in by_name for row in stored.get(name, ())), key=itemgetter("id")):
        whys = [difference(row, each, by_name[row["fingerprint"]]) for each in ranges]
        if "" in whys:
            used[whys.index("")][row["fingerprint"]] = row
            continue
        why = min(whys, key=lambda words: words.count(" and "))
        if row["metric"] == metric["metric"] and (key(row) not in wanted or why.startswith(WORDS["labels"])):
            unused[why] += 1
    against_nfe = plan["x"]["path"] == "nfe"
    trials = [
        [TrialResult(item, rows.get(item["fingerprint"]), each, against_nfe) for item in items]
        for rows, each in zip(used, ranges, strict=True)
    ]
    for same in zip(*trials, strict=True):
        same[0].ranges = list(same)
    rows = [own[name] for own in used for name in by_name if name in own]
    left_out = [f"{plural(count, 'row')} with {why}" for why, count in unused.items()]
    return GridData(plan, metric, trials, rows, left_out, *_floor(store, metric))


def _floor(store: Store, metric: Mapping[str, Any]) -> tuple[FloorBand | None, str]:
    """The floor, or None and why there is none."""
    from harness.metrics.floor import floor_key  # loads every metric, which a list of results needs not

    fact = store.fact(floor_key(metric["metric"], metric["extractor"], metric["reference"], metric["n"]))
    if fact is None:
        return None, "the store holds none; `harness run` of the grid adds it"
    if "why" in fact:
        return None, str(fact["why"])
    return FloorBand(*(fact[name] for name in FloorBand._fields)), ""


def trial_results(store: Store, grid: str | None = None) -> list[TrialResult]:
    """The trials of a grid under each metric and range of seeds, missing ones included.

    Without a grid, every result in the store: the panel is then the denoiser, and there is no series.

    Raises:
        InputError: the store has no such grid.
    """
    if grid is not None:
        return [trial for data in load(store, grid) for trial in data.every_range]
    return list(stored_results(store))


def stored_results(store: Store, latest: int | None = None) -> Iterator[TrialResult]:
    """Every result in the store, a portion in memory at a time: without replicates, blocks, details and levels.

    Args:
        store: where they are.
        latest: only so many, those that were made last; None for all.
    """
    for row in stream_results(store, LISTED, latest):
        trial = row["trial"]
        item = {name: trial.get(name) for name in ("sampler", "labels")}
        item |= {"panel": describe(trial.get("denoiser")).kind, "series": "", "fingerprint": row["fingerprint"]}
        yield TrialResult(item, row, row)


def results(store: Store | Path | str | None = None, grid: str | None = None) -> "pd.DataFrame":
    """The results in a store as a pandas DataFrame, a line a trial, metric and range of seeds.

    Args:
        store: an open one, the path of an SQLite file, or an SQLite URL; None for `results/harness.sqlite`.
        grid: the trials of this grid, with their panel and series and the missing ones; None for every result. Where
            two grids have one name, `folder/name`.

    Returns:
        The columns of `harness show --csv`. Numbers that are not known are NaN.

    Raises:
        InputError: there is no such store, or no such grid in it.
    """
    import pandas as pd

    if not isinstance(store, Store):
        with Store(None if store is None else str(store), read_only=True) as opened:
            return results(opened, grid)
    trials = trial_results(store, None if grid is None else find_in_store(store, grid))
    return pd.DataFrame([trial.record() for trial in trials], columns=list(COLUMNS))


def write_csv(trials: Iterable[TrialResult], file: TextIO) -> None:
    """Write trials as CSV with the columns `COLUMNS`; NaN is an empty cell, and no spreadsheet runs one."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for trial in trials:
        values = ("" if value != value else value for value in trial.record().values())
        writer.writerow(spreadsheet_text(value) if isinstance(value, str) else value for value in values)
