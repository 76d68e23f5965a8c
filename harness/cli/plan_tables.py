"""A plan as tables for the terminal."""

from rich.table import Table

from harness.execution.cost import Cost
from harness.experiments.metric import samples_of
from harness.experiments.plan import Plan
from harness.sampling.sampler import Sampler


def trial_table(plan: Plan) -> Table:
    """Every curve of a plan, with its sampler and its budgets."""
    asked = ", ".join(f"{metric.title}, N = {samples_of(metric, plan.grid.samples):,}" for metric in plan.grid.metrics)
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
        rate = f"{cost.rate:,.0f} ({cost.measured})"
        numbers = (f"{cost.trials}", f"{cost.missing}", f"{cost.evaluations:,}", rate, clock(cost.seconds))
        table.add_row(cost.panel, *numbers)
    total = sum(cost.seconds for cost in costs)
    trials, lacking = sum(cost.trials for cost in costs), sum(cost.missing for cost in costs)
    table.add_section()
    table.add_row("all", f"{trials}", f"{lacking}", f"{sum(c.evaluations for c in costs):,}", "", clock(total))
    return table


def clock(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _in_words(sampler: Sampler) -> str:
    """The choice on every axis, by kind."""
    words = [sampler.solver.kind, f"{sampler.discretization.kind} levels"]
    words += [f"σ(t) {sampler.schedule.kind}", f"s(t) {sampler.scaling.kind}", sampler.stochasticity.kind]
    return ", ".join(words)
