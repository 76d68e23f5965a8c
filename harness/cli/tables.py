"""Trial results and claims as terminal tables, for `harness show` and `harness claims`."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from harness.cli.console import plain
from harness.report.data import TrialResult
from harness.report.text.choices import describe
from harness.report.text.numbers import evaluations, significant

if TYPE_CHECKING:  # it loads every metric, which takes longer than a page
    from harness.report.claims import JudgedClaim

PAGE = 200
"""Trials or curves that a terminal table lists at most."""

VERDICTS = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
COLOURS = {"done": "green", "failed": "red", "missing": "yellow"}


def results_table(trials: list[TrialResult]) -> Table:
    """The columns that fit a terminal; `--csv` has all of them."""
    metrics = sorted({str(trial.made_with["metric"]) for trial in trials})
    columns: list[tuple[str, Callable[[TrialResult], str | Text]]] = [
        ("denoiser", lambda trial: plain(trial.panel)),
        ("series", lambda trial: plain(trial.series or str(describe(trial.sampler.get("solver"))))),
    ]
    if len(metrics) > 1:
        columns.append(("metric", lambda trial: plain(trial.made_with["metric"])))
    numbers: list[tuple[str, Callable[[TrialResult], str | Text]]] = [
        ("steps", lambda trial: evaluations(trial.steps)),
        ("nfe", lambda trial: evaluations(trial.nfe)),
        (metrics[0] if len(metrics) == 1 else "value", lambda trial: significant(trial.value)),
        ("± 95 %", lambda trial: significant((trial.high - trial.low) / 2, 2)),
        ("n", lambda trial: str(trial.made_with["n"])),
    ]
    if len({trial.first_seed for trial in trials}) > 1:
        numbers.insert(0, ("from seed", lambda trial: str(trial.first_seed)))
    if any(not math.isnan(trial.x) and trial.x != trial.nfe for trial in trials):
        numbers.insert(0, ("x", lambda trial: significant(trial.x)))
    last: list[tuple[str, Callable[[TrialResult], str | Text]]] = [
        ("status", lambda trial: Text(trial.status, COLOURS[trial.status])),
        ("trial", lambda trial: Text(trial.fingerprint[:8])),
    ]
    reason = [("reason", _reason)] if any(trial.status == "failed" for trial in trials) else []
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, _ in columns:
        table.add_column(name)
    for name, _ in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name, _ in last:
        table.add_column(name, no_wrap=True)
    for name, _ in reason:
        table.add_column(name, overflow="fold")
    for trial in trials:
        table.add_row(*(cell(trial) for _, cell in (*columns, *numbers, *last, *reason)))
    return table


def _reason(trial: TrialResult) -> Text:
    at = "" if math.isnan(trial.step) else f"step {trial.step:.0f}: "
    return plain(at + trial.reason) if trial.reason else Text()


def claims_table(judged: "list[JudgedClaim]") -> Table:
    """A line for each claim and network: the verdict and what was measured."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in ("claim", "network", "verdict", "measured"):
        table.add_column(name)
    for each in judged:
        for place, judgement in enumerate(each.judgements):
            told = [asked.finding.measured or asked.finding.why for asked in judgement.asked]
            colour = VERDICTS[judgement.verdict]
            statement = plain("" if place else each.claim.statement)
            verdict = Text(judgement.verdict, colour)
            table.add_row(statement, plain(judgement.panel), verdict, plain("; ".join(told)))
    return table
