"""Searches on a terminal: the progress of a study, and what one came to."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from harness.cli.console import LiveBar
from harness.cli.run_terminal import RunProgress
from harness.cli.study_status import fresh_rows, study_line
from harness.execution.run import Prediction
from harness.experiments.plan import Planned
from harness.metrics.statistics.jackknife import Interval, Replicates, compare, corrected
from harness.search.plan import SearchPlan
from harness.search.progress import Budget, Rows, spent
from harness.search.study import StudyListener, StudyOutcome
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, RUNNING, Studies

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

    def predicted(self, prediction: Prediction) -> None:
        self.run.predicted(prediction)

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


def failure_line(outcome: StudyOutcome) -> str:
    """Why a study came to nothing, or not to all that it should, with what to do; "" if it did."""
    rows = outcome.rows.values()
    again = "mend that, and give the same command with --retry-failed"
    if not any(row["status"] == DONE for row in rows):
        first = next((row for row in rows if row["status"] == FAILED), None)
        why = "" if first is None else f"; no. {first['number']} failed: {first['reason']}"
        return f"none of {len(rows)} trials was done{why}; {again}"
    if outcome.holdout is not None and outcome.holdout.failed:
        return f"{outcome.holdout.failed} settings failed on fresh seeds; {again}"
    return ""


def _best_lines(store: Store, row: Mapping[str, Any]) -> list[str]:
    """The best setting on fresh seeds, with its paired differences from the baseline and the paper's."""
    rows = fresh_rows(store, row)
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
