"""Runs and plans on a terminal: the progress of a run, a plan's curves, and what they cost."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from harness.cli.console import LiveBar
from harness.execution.cost import Cost
from harness.execution.run import Listener
from harness.experiments.plan import Plan, Planned
from harness.sampling.sampler import Sampler


class _Rate(ProgressColumn):
    """Evaluations per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} evaluations/s" if task.speed else "", style="progress.data.speed")


class RunProgress(LiveBar, Listener):
    """The progress of a run: trials done, evaluations per second, time left.

    Failures, and each note once, are printed everywhere.
    """

    def __init__(self, console: Console) -> None:
        percent = TextColumn("{task.percentage:>3.0f} %")
        super().__init__(
            console, TextColumn("{task.fields[trials]}"), BarColumn(), percent, _Rate(), TimeRemainingColumn()
        )
        self.total = self.done = 0
        self.notes: set[str] = set()
        self.bar = self.progress.add_task("", total=None, trials="planning")

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
            if note not in self.notes:
                self.progress.console.print(f"note on {row['metric']}: {note}", markup=False, highlight=False)
                self.notes.add(note)

    def note(self, text: str) -> None:
        self.progress.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def _text(self) -> str:
        return f"{self.done}/{self.total} trials"


def trial_table(plan: Plan) -> Table:
    """Every curve of a plan, with its sampler and its budgets."""
    asked = ", ".join(
        f"{metric.title}, N = {metric.default_samples(plan.grid.samples):,}" for metric in plan.grid.metrics
    )
    table = Table(title=f"{plan.grid.title} · {asked}", title_justify="left")
    for name in ("denoiser", "series", "sampler", "NFE"):
        table.add_column(name)
    curves: dict[tuple[str, str], list[str]] = {}
    samplers = {}
    for item in plan.items:
        guess = "~" if item.trial.sampler.solver.adaptive else ""
        curves.setdefault((item.panel, item.series), []).append(f"{guess}{item.nfe}")
        samplers[item.panel, item.series] = item.trial.sampler
    for (panel, series), budgets in curves.items():
        table.add_row(panel, series, _in_words(samplers[panel, series]), " ".join(budgets))
    return table


def cost_table(costs: list[Cost]) -> Table:
    """What is missing, and the time it will take."""
    table = Table(title="To be run", title_justify="left")
    for name in ("denoiser", "trials", "missing", "evaluations", "evaluations/s", "time"):
        table.add_column(name, justify="left" if name == "denoiser" else "right")
    for cost in costs:
        rate = f"{cost.rate:,.0f} ({cost.measured})" if cost.rate else cost.measured
        numbers = (f"{cost.trials}", f"{cost.missing}", f"{cost.evaluations:,}", rate, _time([cost]))
        table.add_row(cost.panel, *numbers)
    trials, lacking = sum(cost.trials for cost in costs), sum(cost.missing for cost in costs)
    table.add_section()
    table.add_row("all", f"{trials}", f"{lacking}", f"{sum(c.evaluations for c in costs):,}", "", _time(costs))
    return table


def _time(costs: list[Cost]) -> str:
    """The time of all together; at least that where some rate is not known."""
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    text = clock(sum(known))
    return text if len(known) == len(costs) else f"≥ {text}" if known and sum(known) else "–"


def clock(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _in_words(sampler: Sampler) -> str:
    words = [sampler.solver.kind, f"{sampler.discretization.kind} levels"]
    words += [f"σ(t) {sampler.schedule.kind}", f"s(t) {sampler.scaling.kind}", sampler.stochasticity.kind]
    return ", ".join(words)
