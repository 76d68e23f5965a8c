"""A search on a terminal: one line that lives, and plain lines for what failed. Quiet where there is no terminal."""

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from harness.cli.progress import Terminal
from harness.experiments.plan import Planned
from harness.search.loop import Budget
from harness.search.pruner import best_of
from harness.search.study import StudyListener
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING


class SearchTerminal(StudyListener):
    """A listener of a study.

    Args:
        console: where to write.
        better: which way the objective is better.
    """

    def __init__(self, console: Console, better: str) -> None:
        self.console, self.better = console, better
        self.progress = Progress(
            TextColumn("{task.fields[words]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("", total=None, words="planning")
        self.budget = Budget(None)
        self.run: Terminal | None = None

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()
        if self.run is not None:
            self.run.__exit__(*error)

    def began(self, rows: Mapping[int, Mapping[str, Any]], budget: Budget) -> None:
        """The trials there are at the start."""
        self.budget = budget
        total = budget.trials if budget.trials is not None else budget.evaluations
        self.progress.update(self.bar, total=total)
        self._show(rows)

    def settled(self, rows: Mapping[int, Mapping[str, Any]], number: int) -> None:
        """A trial is done, pruned or failed."""
        row = rows[number]
        if row["status"] == FAILED:
            self.progress.console.print(f"failed: no. {number}: {row['reason']}", style="red", markup=False)
        self._show(rows)

    def finals(self, count: int) -> None:
        """So many settings are measured on fresh seeds now."""
        self.progress.stop()
        self.run = Terminal(self.console)
        self.run.__enter__()

    def started(self, trials: int, done: int, evaluations: int) -> None:
        """The run on fresh seeds begins."""
        if self.run is not None:
            self.run.started(trials, done, evaluations)

    def chunk(self, evaluations: int) -> None:
        """A chunk of it arrived."""
        if self.run is not None:
            self.run.chunk(evaluations)

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        """A trial of it is complete, or failed."""
        if self.run is not None:
            self.run.trial(planned, row)

    def _show(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        settled = sum(row["status"] != RUNNING for row in rows.values())
        cost = sum(int(row["evaluations"]) for row in rows.values())
        self.progress.update(
            self.bar,
            completed=settled if self.budget.trials is not None else cost,
            words=words(rows, self.budget, self.better),
        )


def words(rows: Mapping[int, Mapping[str, Any]], budget: Budget, better: str) -> str:
    """Where a study stands, in one line."""
    counts = Counter(row["status"] for row in rows.values())
    cost = sum(int(row["evaluations"]) for row in rows.values())
    twins = sum(row["twin"] is not None for row in rows.values())
    settled = len(rows) - counts[RUNNING]
    parts = [f"{settled}/{budget.trials} trials" if budget.trials is not None else f"{settled} trials"]
    parts.append(
        f"{cost:,}/{budget.evaluations:,} evaluations" if budget.evaluations is not None else f"{cost:,} evaluations"
    )
    parts += [f"{counts[status]} {status}" for status in (DONE, PRUNED, FAILED) if counts[status]]
    parts += [f"{twins} repeats"] if twins else []
    best = best_of(list(rows.values()), better)
    if best is not None:
        parts.append(f"best {rows[best]['value']:.4g} (no. {best})")
    return " · ".join(parts)
