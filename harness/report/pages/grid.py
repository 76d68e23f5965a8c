"""The page of a grid: what was found, in words, and then its sections."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from harness.report.pages.metrics import GridReport, MetricReport
from harness.report.pages.page import PageSection, fragment, render_page, write_page
from harness.report.tables.answer import answer_table
from harness.report.tables.design import design_table
from harness.report.tables.table import NUMBER, RowGroup, Table, TableColumn, code
from harness.report.tables.trials import failed_table, missing, missing_networks, trial_table
from harness.report.text.numbers import listing, significant, span
from harness.report.text.provenance import Fact, Identity, card_facts, facts, identity, setting_notes
from harness.report.text.summary import summarize
from harness.store.database import Store
from harness.store.names import shortened

TEMPLATE = "grid.html"
PAGES = ("index", "claims")
"""Pages of a folder of reports that are no grid's."""
SECTIONS = ("design", "training", "metrics", "exports", "trials", "unfinished", "method", "provenance")
"""From top to bottom. Each is a function of a `GridReport` to its sections: here, or in a module of this folder with
the same name."""


def write_report(store: Store, grid: str, out: Path) -> Path:
    """Render a grid's rows, finished or not, to one HTML file.

    Args:
        store: where the rows are; nothing is written to it.
        grid: name of a grid that was run.
        out: the file to write; its folder is made. A report that is there is replaced at once, never half.

    Returns:
        The file's path.

    Raises:
        InputError: the store has no such grid, or the file cannot be written.
    """
    return write_page(render(store, grid), out)


def file_name(grid: str) -> str:
    """The report's file; a grid called index or claims does not take that page's place.

    A name that is too long, or has a folder in it, gets a hash for what is left out.
    """
    if grid in PAGES:
        return f"{grid}-grid.html"
    plain = shortened(grid.replace("/", "-"))
    is_free = "/" not in grid and grid not in [f"{page}-grid" for page in PAGES]
    return f"{plain}.html" if is_free else f"{plain}-{hashlib.sha256(grid.encode()).hexdigest()[:8]}.html"


def render(store: Store, grid: str) -> str:
    """The page as text; the same rows give the same text.

    Raises:
        InputError: the store has no such grid.
    """
    report = GridReport(store, grid)
    plan = report.plan
    title = plan["title"] or plan["name"]
    summary = summarize(report.every, report.panels)
    ruled = [] if report.training else [metric for metric in report.metrics if metric.is_ruled]
    answer = answer_table({metric.data.title: metric.panels for metric in ruled})
    header = fragment(TEMPLATE, "header", title=title, answer=answer, description=plan["description"], summary=summary)
    sections = [section for name in SECTIONS for section in _made(name, report)]
    return render_page(title, header, sections, ["report.js", "copy.js"], legend=report.legend)


def _made(name: str, report: GridReport) -> Iterable[PageSection]:
    """The section of a name: a function of this module, or of the module of that name beside it."""
    here = globals().get(name)
    is_here = getattr(here, "__module__", None) == __name__
    make = here if is_here else getattr(import_module(f"harness.report.pages.{name}"), name)
    made: Iterable[PageSection] = make(report)  # type: ignore[misc]
    return made


def design(report: GridReport) -> Iterable[PageSection]:
    """The design choices of the samplers, as in the paper's Table 1, where the grid asks for them."""
    table = design_table(report.plan.get("design"), "h-design")
    if table:
        words = {"name": "h-design", "heading": "Design choices"}
        yield PageSection(fragment(TEMPLATE, "table_section", table=table, notes=[], **words))


def trials(report: GridReport) -> Iterable[PageSection]:
    """Every trial under every metric, in a table that sorts and filters."""
    table = trial_table(report.every, report.panels, "h-trials")
    words = {"name": "h-trials", "heading": "Every trial"}
    yield PageSection(fragment(TEMPLATE, "table_section", table=table, notes=setting_notes(report.plan), **words))


def unfinished(report: GridReport) -> Iterable[PageSection]:
    """What failed, what is missing and what was left out, and in one sentence which of these lists are empty."""
    every = report.every
    left_out = [f"{data.title}: {line}" if len(every) > 1 else line for data in every for line in data.left_out]
    counts = sum((data.counts for data in every), Counter())
    lists = {"no trial failed": counts["failed"], "no trial is missing": counts["missing"]}
    nothing = listing([words for words, own in (lists | {"no result was left out": len(left_out)}).items() if not own])
    yield PageSection(
        fragment(
            TEMPLATE,
            "unfinished_section",
            failed=failed_table(every, report.panels),
            missing=_missing(report),
            missing_count=counts["missing"],
            trial_count=sum(len(data.every_range) for data in every),
            left_out=left_out,
            nothing=f"{nothing[:1].upper()}{nothing[1:]}." if nothing else "",
        )
    )


def _missing(report: GridReport) -> list[str]:
    """What is still to be run: a sentence a curve, or a configuration of a grid that trains."""
    every = report.every
    if report.training:
        return [line for data in every for line in missing_networks(report.training, data)]
    return [line for data, own in zip(every, report.panels, strict=True) for line in missing(data, own)]


class MeasuredMetric(NamedTuple):
    """A metric with what identifies it, its blocks and a perfect sampler's numbers in words."""

    metric: MetricReport
    identity: Identity
    blocks: str
    floor: tuple[str, str]


def method(report: GridReport) -> Iterable[PageSection]:
    """How it was measured: metrics, seeds, intervals, rules and costs in words."""
    yield PageSection(
        fragment(
            TEMPLATE, "method_section", metrics=[_measured(metric) for metric in report.metrics], paper=report.paper
        )
    )


def _measured(metric: MetricReport) -> MeasuredMetric:
    floor = metric.data.floor
    ends = (significant(floor.mean), span(floor.low, floor.high)) if floor else ("", "")
    counts = sorted({len(trial.blocks) for trial in metric.data.trials if trial.blocks})
    return MeasuredMetric(metric, identity(metric.data), " or ".join(map(str, counts)), ends)


def provenance(report: GridReport) -> Iterable[PageSection]:
    """Where the numbers come from: what identifies each metric, facts of the rows, the cards and the grid."""
    rows = [row for data in report.every for row in data.rows]
    finished = sorted(row["finished_at"] for row in rows if row["finished_at"])
    known = [Fact("grid", [report.plan["name"]])]
    if finished:
        first, last = finished[0], finished[-1]
        known.append(Fact("finished", [first if first == last else f"{first} to {last}"]))
    cards = [
        (panel.title, [Fact("denoiser", [panel.name]), Fact("weights", [panel.weights]), *card_facts(panel.card)])
        for panel in report.panels[0]
    ]
    html = fragment(
        TEMPLATE,
        "provenance_section",
        table=_identities(report),
        facts=[*known, *facts(rows)],
        cards=cards,
        networks=len(cards) if report.training else 0,
        source=report.plan["source"],
    )
    yield PageSection(html)


def _identities(report: GridReport) -> Table:
    columns = [
        TableColumn("Metric", lambda own: own.title, heads_rows=True),
        TableColumn("N", lambda own: own.n, NUMBER),
        TableColumn("Seeds", lambda own: own.seeds),
        TableColumn("Extractor", lambda own: code(own.extractor)),
        TableColumn("Reference", lambda own: code(own.reference)),
        TableColumn("Method", lambda own: own.method),
    ]
    rows = [identity(data) for data in report.every]
    return Table(columns, [RowGroup("", rows)], "identities", label="What identifies each metric")
