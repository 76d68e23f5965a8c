"""The table of design choices, like the paper's Table 1, from what the plan keeps of the code."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from harness.report.tables.table import RowGroup, Table, TableColumn
from harness.report.text.formula import html, symbols

CAPTION = Markup(
    "After Table 1 of the paper, written by the code itself: formulas that its tests hold against it, the fields of "
    "each sampler, and the defaults of each kind of preconditioning and loss; t(σ) inverts the schedule. A recipe in "
    "<code>pretrained/recipes</code> says where an embedded network departs from the defaults."
)


def design_table(design: Mapping[str, Any] | None, heading: str) -> Table | None:
    """The table, a column for each series on a denoiser; None where the grid asks for none.

    Args:
        design: as the plan holds it: `columns`, and `groups` of rows with a cell a column.
        heading: the id of the heading above it.
    """
    if not design:
        return None
    columns = [
        TableColumn("", _name, heads_rows=True),
        *(_column(index, column) for index, column in enumerate(design["columns"])),
    ]
    groups = [RowGroup(group["title"], group["rows"]) for group in design["groups"]]
    return Table(columns, groups, "design", labelled_by=heading, caption=CAPTION)


def _name(row: Mapping[str, Any]) -> str:
    return html(row["name"]) if row["name"].startswith("c_") else row["name"]


def _column(index: int, column: Mapping[str, str]) -> TableColumn:
    heading = Markup("{}<small>{}</small>").format(column["series"], column["panel"])
    return TableColumn(heading, lambda row: _cell(row["cells"][index]))


def _cell(cell: Mapping[str, str]) -> Markup:
    """A choice's name, its formula and words, each on a line of its own."""
    lines = [Markup("<span>{}</span>").format(cell["name"])] if cell["name"] else []
    if cell["formula"]:
        lines.append(Markup('<span class="formula">{}</span>').format(html(cell["formula"])))
    if cell["words"]:
        lines.append(Markup("<small>{}</small>").format(symbols(cell["words"])))
    return Markup().join(lines) or Markup("–")
