"""Runs and plans on a terminal: the progress of a run, a plan's curves, and what they cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Task, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from harness.cli.console import LiveBar, plain
from harness.core.text import clock, printable
from harness.execution.cost import Cost
from harness.execution.run import Listener, Prediction, Summary
from harness.experiments.plan import Plan, Planned
from harness.sampling.sampler import Sampler


class _Rate(TransferSpeedColumn):
    """Evaluations per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} evaluations/s" if task.speed else "", style="progress.data.speed")


class RunProgress(LiveBar, Listener):
    """The progress of a run: trials done, evaluations per second, time left.

    Failures, and each note once, are printed everywhere. Without a terminal so is what the run begins with.

    Args:
        console: where to draw.
        name: of the grid.
    """

    def __init__(self, console: Console, name: str = "") -> None:
        percent = TextColumn("{task.percentage:>3.0f} %")
        trials = TextColumn("{task.fields[trials]}", markup=False)
        super().__init__(console, trials, BarColumn(), percent, _Rate(), TimeRemainingColumn(), name=name)
        self.total = self.done = 0
        self.notes: set[str] = set()
        self.expected: float | None = None
        self.bar = self.progress.add_task("", total=None, trials="planning")

    def predicted(self, prediction: Prediction) -> None:
        self.expected = prediction.seconds

    def started(self, trials: int, done: int, evaluations: int) -> None:
        self.total, self.done = trials, done
        self.progress.update(self.bar, total=evaluations or 1, completed=0 if evaluations else 1, trials=self._text())
        if evaluations and not self.console.is_terminal:
            name = f"{self.name} · " if self.name else ""
            about = "" if self.expected is None else f", about {clock(self.expected)}"
            self.say(
                f"{name}{trials} trials, {done} of them done; {evaluations:,} network evaluations to compute{about}"
            )

    def chunk(self, evaluations: int) -> None:
        self.progress.advance(self.bar, evaluations)

    def trial(self, planned: Planned, row: dict[str, Any]) -> None:
        self.done = min(self.done + 1, self.total)
        self.progress.update(self.bar, trials=self._text())
        if row["status"] == "failed":
            step = "" if row.get("step") is None else f" at step {row['step'] + 1}"
            name = f"{planned.panel} · {planned.series} · NFE {planned.nfe}"
            self.say(f"failed: {name}{step}: {row['reason']}", "red")
        for note in (row.get("details") or {}).get("cautions", []):
            if note not in self.notes:
                self.say(f"note on {row['metric']}: {note}")
                self.notes.add(note)

    def note(self, text: str) -> None:
        self.say(text, "yellow")

    def _text(self) -> str:
        return f"{self.done}/{self.total} trials"


REASONS = 5
"""Reasons that are told one by one at the end of a run."""


def failure_lines(summary: Summary) -> list[str]:
    """Why trials of a run failed, the most frequent reason first, and how to go on."""
    lines = []
    for reason, is_transient, trials in summary.failures[:REASONS]:
        remedy = "the same command tries again" if is_transient else "--retry-failed computes it again"
        lines.append(f"{trials} failed: {printable(reason)}; {remedy}")
    rest = summary.failures[REASONS:]
    if rest:
        lines.append(f"{sum(each.trials for each in rest)} failed for other reasons; `harness show` lists them")
    return lines


def prediction_line(summary: Summary) -> str:
    """What a run was predicted to take beside what it took; "" for one that had nothing to compute, or was stopped."""
    evaluations, seconds = summary.predicted
    if not evaluations or summary.left is not None:
        return ""
    time = "a time not known before" if seconds is None else clock(seconds)
    took = f"took {summary.evaluations:,} in {clock(summary.seconds)}"
    return f"predicted {evaluations:,} network evaluations in {time}; {took}"


def left_line(summary: Summary, others: Sequence[Plan]) -> str:
    """What a limit kept a run from doing, and how to go on; "" for a run that came to none.

    Args:
        summary: of the run.
        others: plans that the command has not begun.
    """
    left = summary.left
    if left is None:
        return ""
    unbegun = f", and all of {', '.join(plan.name for plan in others)}" if others else ""
    remedy = "raise that limit to go on" if left.is_too_low else "the same command goes on"
    rest = f"{left.trials} of {summary.trials} trials, {left.chunks} chunks and {left.evaluations:,} evaluations"
    return f"stopped at the limit of {left.limit}; left are {rest}{unbegun}; {remedy}"


class PlannedCurve(NamedTuple):
    """A curve of a plan: its denoiser and series, its sampler, and the NFE of its points in words."""

    panel: str
    series: str
    sampler: Sampler
    budgets: list[str]


def curves_of(plan: Plan) -> list[PlannedCurve]:
    """The curves of a plan in its order; the sampler is that of the last point."""
    curves: dict[tuple[str, str], PlannedCurve] = {}
    for item in plan.items:
        sampler, key = item.trial.sampler, (item.panel, item.series)
        budgets = curves[key].budgets if key in curves else []
        budgets.append(f"{'~' if sampler.solver.adaptive else ''}{item.nfe}")
        curves[key] = PlannedCurve(*key, sampler, budgets)
    return list(curves.values())


def trial_table(plan: Plan, curves: Sequence[PlannedCurve]) -> Table:
    """Curves of a plan, each with its sampler and its budgets."""
    asked = ", ".join(
        f"{metric.title}, N = {metric.default_samples(plan.grid.samples):,}" for metric in plan.grid.metrics
    )
    table = Table(title=plain(f"{plan.grid.title} · {asked}"), title_justify="left")
    for name in ("denoiser", "series", "sampler", "NFE"):
        table.add_column(name)
    for curve in curves:
        table.add_row(plain(curve.panel), plain(curve.series), _in_words(curve.sampler), " ".join(curve.budgets))
    return table


def cost_table(costs: list[Cost], start: float = 0.0) -> Table:
    """What is missing, and the time it will take; `start` is that of the workers' start, in seconds."""
    table = Table(title="To be run", title_justify="left")
    names = ["denoiser", "trials", "missing", "evaluations", "evaluations/s", "time"]
    on_gpus = any(cost.gpus for cost in costs)
    for name in names + ["GPU-hours"] * on_gpus:
        table.add_column(name, justify="left" if name == "denoiser" else "right")
    for cost in costs:
        rate = f"{cost.rate:,.0f} ({cost.measured})" if cost.rate else cost.measured
        numbers = [f"{cost.trials}", f"{cost.missing}", f"{cost.evaluations:,}", rate, _time([cost])]
        table.add_row(plain(cost.panel), *numbers, *[_gpu_hours([cost])] * on_gpus)
    trials, lacking = sum(cost.trials for cost in costs), sum(cost.missing for cost in costs)
    rows = sum(cost.evaluations for cost in costs)
    table.add_section()
    table.add_row(
        "all",
        f"{trials}",
        f"{lacking}",
        f"{rows:,}",
        "",
        _time(costs, start if lacking else 0.0),
        *[_gpu_hours(costs)] * on_gpus,
    )
    return table


def speed_lines(costs: Sequence[Cost]) -> list[str]:
    """Where the speed of each denoiser is from, a line for each origin."""
    panels: dict[str, list[str]] = {}
    for cost in costs:
        panels.setdefault(cost.origin, []).append(cost.panel)
    return [printable(f"speed of {', '.join(names)}: {origin}") for origin, names in panels.items() if origin]


def _gpu_hours(costs: Sequence[Cost]) -> str:
    """GPU-hours of all together; at least those where some are not known."""
    known = [cost.gpu_hours for cost in costs if cost.gpu_hours is not None]
    text = f"{sum(known):.2g}" if sum(known) < 10 else f"{sum(known):,.0f}"
    unknown = any(cost.seconds is None for cost in costs)
    return "–" if not known else f"≥ {text}" if unknown else text


def _time(costs: list[Cost], start: float = 0.0) -> str:
    """The time of all together; at least that where some rate is not known."""
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    text = clock(sum(known) + start)
    return text if len(known) == len(costs) else f"≥ {text}" if known and sum(known) else "–"


def _in_words(sampler: Sampler) -> str:
    words = [sampler.solver.kind, f"{sampler.discretization.kind} levels"]
    words += [f"σ(t) {sampler.schedule.kind}", f"s(t) {sampler.scaling.kind}", sampler.stochasticity.kind]
    return ", ".join(words)
