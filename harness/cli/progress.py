"""Progress on a terminal: trials done, evaluations per second, time left. Plain lines where there is no terminal."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from harness.execution.run import Listener
from harness.experiments.plan import Planned


class _Rate(ProgressColumn):
    """Evaluations per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} evaluations/s" if task.speed else "", style="progress.data.speed")


class Terminal(Listener):
    """A listener that draws a bar on a terminal, and is quiet elsewhere but for failures and notes, each note once.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.fields[trials]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.total = self.done = 0
        self.told: set[str] = set()
        self.bar = self.progress.add_task("", total=None, trials="planning")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def started(self, trials: int, done: int, evaluations: int) -> None:
        self.total, self.done = trials, done
        self.progress.update(self.bar, total=evaluations or 1, completed=0 if evaluations else 1, trials=self._text())

    def chunk(self, evaluations: int) -> None:
        self.progress.advance(self.bar, evaluations)

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        self.done = min(self.done + 1, self.total)
        self.progress.update(self.bar, trials=self._text())
        if row["status"] == "failed":
            step = "" if row.get("step") is None else f" at step {row['step']}"
            name = f"{planned.panel} · {planned.series} · NFE {planned.nfe}"
            self.progress.console.print(f"failed: {name}{step}: {row['reason']}", style="red", markup=False)

        for note in (row.get("details") or {}).get("cautions", []):
            if note not in self.told:
                self.progress.console.print(f"note on {row['metric']}: {note}", markup=False, highlight=False)
                self.told.add(note)

    def _text(self) -> str:
        return f"{self.done}/{self.total} trials"
