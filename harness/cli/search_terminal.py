"""Searches on a terminal: the progress of a study, where studies stand, and what one came to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.cli.console import LiveBar, plain
from harness.cli.run_terminal import RunProgress
from harness.core.errors import InputError
from harness.experiments.plan import Planned
from harness.metrics.statistics.jackknife import Interval, Replicates, compare, corrected
from harness.search.loop import Budget
from harness.search.plan import Rows, SearchPlan
from harness.search.pruner import best_of
from harness.search.study import StudyListener, StudyOutcome, spent
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING, Studies

COMPARED = ("baseline", "paper")
"""Roles of the settings that the best one is compared with."""


class SearchProgress(LiveBar, StudyListener):
    """The progress of a study, and then of the run on fresh seeds. Failures are printed everywhere.

    Args:
        console: where to draw.
        better: the direction in which the objective is better.
    """

    def __init__(self, console: Console, better: str) -> None:
        percent = TextColumn("{task.percentage:>3.0f} %")
        words = TextColumn("{task.fields[words]}", markup=False)
        super().__init__(console, words, BarColumn(bar_width=24), percent, TimeRemainingColumn())
        self.better = better
        self.bar = self.progress.add_task("", total=None, words="planning")
        self.budget = Budget(None)
        self.run = RunProgress(console)

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        super().__exit__(*error)
        self.run.__exit__(*error)

    def began(self, rows: Rows, budget: Budget) -> None:
        self.budget = budget
        total = budget.trials if budget.trials is not None else budget.evaluations
        self.progress.update(self.bar, total=total)
        self._show(rows)

    def settled(self, rows: Rows, number: int) -> None:
        row = rows[number]
        if row["status"] == FAILED:
            self.say(f"failed: no. {number}: {row['reason']}", "red")
        self._show(rows)

    def note(self, text: str) -> None:
        self.say(text, "yellow")

    def finals(self, count: int) -> None:
        super().__exit__()
        self.run.__enter__()

    def started(self, trials: int, done: int, evaluations: int) -> None:
        self.run.started(trials, done, evaluations)

    def chunk(self, evaluations: int) -> None:
        self.run.chunk(evaluations)

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        self.run.trial(planned, row)

    def _show(self, rows: Rows) -> None:
        finished = sum(row["status"] != RUNNING for row in rows.values())
        self.progress.update(
            self.bar,
            completed=finished if self.budget.trials is not None else spent(rows),
            words=study_line(rows, self.budget, self.better),
        )


def study_line(rows: Rows, budget: Budget, better: str) -> str:
    """Where a study stands, in one line."""
    counts = Counter(row["status"] for row in rows.values())
    cost = spent(rows)
    repeats = sum(row["twin"] is not None for row in rows.values())
    finished = len(rows) - counts[RUNNING]
    parts = [f"{finished}/{budget.trials} trials" if budget.trials is not None else f"{finished} trials"]
    parts.append(
        f"{cost:,}/{budget.evaluations:,} evaluations" if budget.evaluations is not None else f"{cost:,} evaluations"
    )
    parts += [f"{counts[status]} {status}" for status in (DONE, PRUNED, FAILED) if counts[status]]
    parts += [f"{repeats} repeats"] if repeats else []
    best = best_of(list(rows.values()), better)
    if best is not None:
        parts.append(f"best {rows[best]['value']:.4g} (no. {best})")
    return " · ".join(parts)


def status_table(store: Store, name: str | None = None) -> Table:
    """A line for each study of a store, or for one.

    Raises:
        InputError: there is none, or none of that name.
    """
    studies = Studies(store)
    every = studies.names()
    if not every:
        raise InputError(f"{store.name}: no search has been run into this store; `harness search` begins one")
    if name is not None and name not in every:
        raise InputError(f"no study '{name}' in this store; it has: {', '.join(every)}")
    table = Table("study", "target", "denoiser", "metric", "NFE", "where it stands", "fresh seeds", "updated")
    for one in [name] if name else every:
        row = studies.find(one)
        assert row is not None
        spec, record = row["spec"], row["record"]
        rows = {slot["number"]: slot for slot in studies.slots(one)}
        stands = study_line(rows, Budget(**(row["budget"] or {"trials": None})), record["objective"]["better"])
        finals = row["finals"]
        measured = len(_fresh(store, row)) if finals else 0
        wanted = len({final["fingerprint"] for final in finals or []})
        fresh = f"{measured} of {wanted}" if finals else "not yet"
        names = (one, spec["target"], record["denoiser"], record["metric"]["title"])
        table.add_row(*map(plain, names), str(spec["nfe"]), stands, fresh, row["updated_at"])
    return table


def result_lines(search: SearchPlan, outcome: StudyOutcome, store: Store) -> list[str]:
    """What a study came to: trials, cost, and the best setting on fresh seeds with its paired differences."""
    studies = Studies(store)
    row = studies.find(search.name)
    assert row is not None
    budget = Budget(**(row["budget"] or {"trials": None}))
    lines = [f"{search.name}: {study_line(outcome.rows, budget, search.objective.better)}"]
    if outcome.note:
        lines.append(f"note: {outcome.note}")
    if outcome.holdout is not None:
        fresh = outcome.holdout
        lines.append(
            f"fresh seeds, outside the budget: {fresh.done} settings measured, {fresh.failed} failed; "
            f"{fresh.evaluations:,} network evaluations in {fresh.seconds:.0f} s"
        )
    return lines + _best_lines(store, row)


def _best_lines(store: Store, row: Mapping[str, Any]) -> list[str]:
    """The best setting on fresh seeds, with its paired differences from the baseline and the paper's."""
    rows = _fresh(store, row)
    metric, finals = row["record"]["metric"], row["finals"] or []
    sign = 1.0 if metric["better"] == "lower" else -1.0
    measured = [final for final in finals if final["fingerprint"] in rows]
    if not measured or row["spec"]["pareto"]:
        return []

    def value(final: Mapping[str, Any]) -> float:
        row = rows[final["fingerprint"]]
        at = corrected(_replicates(row)) if metric.get("is_distance") and row["replicates"] else None
        return sign * (at.estimate if at else float(row["value"]))

    best = min(measured, key=value)
    lines = [f"best on fresh seeds: {_named(best, rows, metric)}", *_against(best, finals, rows, metric)]
    named = {final["fingerprint"] for final in finals if final["role"] in COMPARED}
    others = [final for final in measured if final["fingerprint"] not in named]
    if others and best["fingerprint"] in named:
        best = min(others, key=value)
        lines += [f"best that the search found: {_named(best, rows, metric)}", *_against(best, finals, rows, metric)]
    return lines


def _named(final: Mapping[str, Any], rows: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    return f"{final['label']}, {metric['title']} {_number(rows[final['fingerprint']])}{_settings(final)}"


def _against(
    best: Mapping[str, Any], finals: Sequence[Mapping[str, Any]], rows: Mapping[str, Any], metric: Mapping[str, Any]
) -> list[str]:
    """The differences of a setting from the baseline and the paper's."""
    mine = rows[best["fingerprint"]]
    others = [(final, rows.get(final["fingerprint"])) for final in finals if final["role"] in COMPARED]
    return [
        f"  against {final['label']}, {_number(other)}: {_difference(mine, other, metric)}"
        for final, other in others
        if other is not None and other is not mine
    ]


def _fresh(store: Store, row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Finished results on the fresh seeds, by trial."""
    metric = row["record"]["metric"]
    same = (metric["extractor"], metric["reference"], metric["n"], row["spec"]["fresh_seed"])
    names = list({final["fingerprint"] for final in row["finals"] or []})
    return {
        result["fingerprint"]: result
        for result in store.results(names)
        if (result["extractor"], result["reference"], result["n"], result["first_seed"]) == same
        and result["status"] == "done"
    }


def _number(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.4g}"
    return f"{row['value']:.4g} ({row['low']:.4g} to {row['high']:.4g})"


def _settings(final: Mapping[str, Any]) -> str:
    settings = final["settings"] or {}
    return "".join(
        f", {key} {value:g}" if isinstance(value, float) else f", {key} {value}" for key, value in settings.items()
    )


def _difference(a: Mapping[str, Any], b: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The paired difference of two results on the same seeds, in words; that of distances is the one at infinite N."""
    is_distance, sign = bool(metric.get("is_distance")), 1.0 if metric["better"] == "lower" else -1.0
    interval = paired(a, b, is_distance)
    if interval is None:
        return f"difference {a['value'] - b['value']:+.4g}"
    better = sign * interval.low < 0 and sign * interval.high < 0
    worse = sign * interval.low > 0 and sign * interval.high > 0
    verdict = "better" if better else "worse" if worse else "the seeds do not tell them apart"
    where = " at infinite N" if is_distance else ""
    return f"difference{where} {interval.estimate:+.4g} ({interval.low:+.4g} to {interval.high:+.4g}), {verdict}"


def paired(a: Mapping[str, Any], b: Mapping[str, Any], at_infinity: bool = False) -> Interval | None:
    """The difference of two results on the same blocks of seeds with its interval; None with others, or too few.

    `at_infinity` frees that of distances of the bias of 1/N.
    """
    if a["blocks"] != b["blocks"] or len(a["blocks"] or []) < 2 or a["fingerprint"] == b["fingerprint"]:
        return None
    return compare(_replicates(a), _replicates(b), at_infinity=at_infinity).difference


def _replicates(row: Mapping[str, Any]) -> Replicates:
    return Replicates.stored(row["value"], row["replicates"], row["blocks"], row["first_seed"] + row["n"])
