"""The page's tables, cell by cell as text: costs and speed-ups, every trial, what failed and what is missing."""

import math
from typing import Any, NamedTuple

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.text.choices import AXES, Choice, describe
from harness.report.text.numbers import NONE, evaluations, listing, plural, ratio, significant, span
from harness.report.three_percent import SpeedUp

Cell = tuple[float | None, str]
"""A number to sort by, and its text."""


class CostRow(NamedTuple):
    """One series of one panel: how good, how soon, how much sooner than the baseline, and what the paper has."""

    series: str
    best: str
    best_range: str
    best_nfe: str
    lowest: str
    lowest_range: str
    is_open: bool
    speedup: str
    speedup_note: str
    quality: str
    quality_note: str
    paper_nfe: str
    paper_fid: str
    paper_speedup: str
    progress: str


class Group(NamedTuple):
    """A panel's part of a table."""

    title: str
    rows: list[CostRow]


class TrialRow(NamedTuple):
    """One trial under one metric; numbers come with their text, so that the page can sort by them."""

    metric: str
    panel: str
    series: str
    axes: list[Choice]
    steps: Cell
    nfe: Cell
    value: Cell
    interval: Cell
    verdict: str
    status: str
    seconds: Cell
    fingerprint: str


class Failure(NamedTuple):
    """A trial that failed: under which metric, where, when and why."""

    metric: str
    panel: str
    series: str
    nfe: str
    x: str
    step: str
    reason: str
    fingerprint: str


def costs(panels: list[Panel]) -> list[Group]:
    """The table of costs and speed-ups."""
    return [Group(panel.title, [_cost(panel, curve) for curve in panel.curves]) for panel in panels if panel.curves]


def _cost(panel: Panel, curve: Curve) -> CostRow:
    lowest, published, found = curve.lowest, curve.published, panel.speed_up(curve)
    paper_speedup = panel.paper.speedup if panel.paper and curve is panel.ours else None
    done, total = len(curve.done), len(curve.trials)
    return CostRow(
        series=curve.name,
        best=significant(lowest.best.value) if lowest else NONE,
        best_range=span(*curve.best_interval),
        best_nfe=evaluations(lowest.best.nfe) if lowest else NONE,
        lowest=evaluations(lowest.point.nfe) if lowest else NONE,
        lowest_range=span(lowest.low, lowest.high, evaluations) if lowest else NONE,
        is_open=lowest is not None and lowest.is_last,
        **_compared(panel, curve, found),
        paper_nfe=evaluations(published.nfe) if published else NONE,
        paper_fid=f"{published.fid:g}" if published else NONE,
        paper_speedup=f"{paper_speedup:g}×" if paper_speedup else NONE,
        progress=f"{done} of {plural(total, 'trial')} done" if done < total else "",
    )


def _compared(panel: Panel, curve: Curve, found: SpeedUp | None) -> dict[str, str]:
    """The cells that compare with the baseline."""
    if found is None:
        name = "baseline" if curve is panel.baseline else NONE
        return {"speedup": name, "speedup_note": "", "quality": NONE, "quality_note": ""}
    cells = {"speedup": f"{ratio(found.ratio)}×", "quality": NONE, "quality_note": "seeds not paired"}
    cells["speedup_note"] = f"{span(found.low, found.high, ratio)}, {found.verdict}"
    if found.quality:
        cells["quality"] = f"{_percent(found.quality.estimate)} %"
        cells["quality_note"] = f"{span(found.quality.low, found.quality.high, _percent)} %, {found.best_is}"
    return cells


def _percent(factor: float | None) -> str:
    """A factor as a difference in per cent, with its sign: 0.97 is −3.0."""
    if factor is None:
        return NONE
    return ("+" if factor > 1 else "") + significant(100 * (factor - 1), 2)


def trials(data: GridData, panels: list[Panel]) -> list[TrialRow]:
    """Every trial of the plan, in its order."""
    titles = {panel.name: panel.title for panel in panels}
    lowest = {(panel.name, curve.name): curve.lowest for panel in panels for curve in panel.curves}
    samplers = {item["fingerprint"]: item.get("sampler") or {} for item in data.plan["items"]}
    found = []
    for line in records(data.trials):
        rule = lowest.get((line["panel"], line["series"]))
        found.append(
            TrialRow(
                metric=data.title,
                panel=titles.get(line["panel"], line["panel"]),
                series=line["series"],
                axes=[describe(samplers[line["fingerprint"]].get(axis)) for axis in AXES],
                steps=_cell(line["steps"], evaluations(line["steps"])),
                nfe=_cell(line["nfe"], _nfe(line)),
                value=_cell(line["value"], significant(line["value"])),
                interval=_cell(line["high"] - line["low"], span(line["low"], line["high"])),
                verdict=rule.verdicts.get(line["fingerprint"], NONE) if rule else NONE,
                status=line["status"],
                seconds=_cell(line["seconds"], significant(line["seconds"])),
                fingerprint=line["fingerprint"],
            )
        )
    return found


def _nfe(line: dict[str, Any]) -> str:
    """NFE, and from least to most where samples differ; a guess of an adaptive solver's is marked."""
    text = evaluations(line["nfe"])
    if line["nfe_min"] < line["nfe_max"]:
        return f"{text} ({span(line['nfe_min'], line['nfe_max'], evaluations)})"
    return f"~{text}" if line["adaptive"] and line["status"] != "done" else text


def _cell(value: float, text: str) -> Cell:
    """A number to sort by, with its text; None where there is none."""
    return (value if math.isfinite(value) else None, text)


def failures(data: GridData, panels: list[Panel]) -> list[Failure]:
    """The trials that failed."""
    titles = {panel.name: panel.title for panel in panels}
    return [
        Failure(
            metric=data.title if len(data.first_seeds) == 1 else f"{data.title}, seeds from {line['first_seed']}",
            panel=titles.get(line["panel"], line["panel"]),
            series=line["series"],
            nfe=evaluations(line["nfe"]),
            x="" if data.against_nfe else significant(line["x"]),
            step=evaluations(line["step"]),
            reason=line["reason"],
            fingerprint=line["fingerprint"],
        )
        for line in records(data.every_range[data.every_range["status"] == "failed"])
    ]


def missing(data: GridData, panels: list[Panel]) -> list[str]:
    """What is still to be run, a sentence a curve, and one for each further range of seeds."""
    sentences = []
    title = f"{data.title}: " if len(data.plan["metrics"]) > 1 or not data.is_distance else ""
    for panel in panels:
        for curve in panel.curves:
            rest = curve.trials[curve.trials["status"] == "missing"]["nfe"]
            if len(rest):
                nfe = listing([evaluations(value) for value in dict.fromkeys(rest)])
                what = f"{panel.title}, {curve.name}: {len(rest)} of {len(curve.trials)}, at NFE {nfe}"
                sentences.append(f"{title}{what}")
    for first, lines in zip(data.first_seeds[1:], data.further, strict=True):
        count = int((lines["status"] == "missing").sum())
        if count:
            sentences.append(f"{title}the range of seeds from {first}: {count} of {plural(len(lines), 'trial')}")
    return sentences
