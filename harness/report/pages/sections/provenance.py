"""Where the numbers come from: what identifies each metric, the facts that the rows carry, the cards and the grid."""

from collections.abc import Iterable

from harness.report.pages.page import PageSection, fragment
from harness.report.pages.sections import GridReport
from harness.report.tables.table import RowGroup, Table, TableColumn, code, number_column, row_heading
from harness.report.text.provenance import Fact, card_facts, facts, identity


def section(report: GridReport) -> Iterable[PageSection]:
    """One table, facts, and a card a denoiser."""
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
        "provenance.html", table=_table(report), facts=[*known, *facts(rows)], cards=cards, source=report.plan["source"]
    )
    yield PageSection(html)


def _table(report: GridReport) -> Table:
    columns = [
        row_heading("Metric", lambda own: own.title),
        number_column("N", lambda own: own.n),
        TableColumn("Seeds", lambda own: own.seeds),
        TableColumn("Extractor", lambda own: code(own.extractor)),
        TableColumn("Reference", lambda own: code(own.reference)),
        TableColumn("Method", lambda own: own.method),
    ]
    rows = [identity(data) for data in report.every]
    return Table(columns, [RowGroup("", rows)], "identities", label="What identifies each metric")
