"""The tidy table as a rich table, for `harness show`."""

import math
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from harness.report.data import records
from harness.report.text.numbers import evaluations, significant

COLOURS = {"done": "green", "failed": "red", "missing": "yellow"}


def frame_table(frame: pd.DataFrame) -> Table:
    """The columns that fit a terminal; `--csv` has all of them.

    Args:
        frame: from `harness.report.data.rows_table`.
    """
    metrics = sorted(set(frame["metric"]))
    has_failed = (frame["status"] == "failed").any()
    table = Table(header_style="bold", box=None, pad_edge=False)
    table.add_column("denoiser")
    table.add_column("series")
    if len(metrics) > 1:
        table.add_column("metric")
    has_x = bool((frame["x"].notna() & (frame["x"] != frame["nfe"])).any())
    if has_x:
        table.add_column("x", justify="right", no_wrap=True)
    has_ranges = frame["first_seed"].nunique() > 1
    if has_ranges:
        table.add_column("from seed", justify="right", no_wrap=True)
    for name in ("steps", "nfe", metrics[0] if len(metrics) == 1 else "value", "± 95 %", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("status", "trial"):
        table.add_column(name, no_wrap=True)
    if has_failed:
        table.add_column("reason")
    for line in records(frame):
        cells = _cells(line, len(metrics) > 1, has_x, has_ranges)
        table.add_row(*cells, _reason(line)) if has_failed else table.add_row(*cells)
    return table


def _cells(line: dict[str, Any], with_metric: bool, with_x: bool, with_seed: bool) -> list[str]:
    return [
        escape(line["panel"]),
        escape(line["series"] or line["solver"]),
        *([line["metric"]] if with_metric else []),
        *([significant(line["x"])] if with_x else []),
        *([str(line["first_seed"])] if with_seed else []),
        evaluations(line["steps"]),
        evaluations(line["nfe"]),
        significant(line["value"]),
        significant((line["high"] - line["low"]) / 2, 2),
        str(line["n"]),
        f"[{COLOURS[line['status']]}]{line['status']}[/]",
        line["fingerprint"][:8],
    ]


def _reason(line: dict[str, Any]) -> str:
    at = "" if math.isnan(line["step"]) else f"step {line['step']:.0f}: "
    return escape(at + line["reason"]) if line["reason"] else ""
