"""The table of design choices, like the paper's Table 1, from what the plan keeps of the code."""

from typing import Any, NamedTuple

from markupsafe import Markup

from harness.report.text.formula import html, symbols


class Cell(NamedTuple):
    """A choice's name, its formula as HTML, and words."""

    name: str
    formula: Markup
    words: str


class Row(NamedTuple):
    """One choice of every column."""

    name: Markup
    cells: list[Cell]


class Group(NamedTuple):
    """Rows under a heading."""

    title: str
    rows: list[Row]


class Design(NamedTuple):
    """The table: a series and a denoiser for each column, and the rows in groups."""

    columns: list[dict[str, str]]
    groups: list[Group]


def table(design: dict[str, Any] | None) -> Design | None:
    """The table for the page; None where the grid asks for none."""
    if not design:
        return None
    groups = [Group(group["title"], [_row(row) for row in group["rows"]]) for group in design["groups"]]
    return Design(design["columns"], groups)


def _row(row: dict[str, Any]) -> Row:
    name = row["name"]
    cells = [
        Cell(cell["name"], html(cell["formula"]) if cell["formula"] else Markup(), symbols(cell["words"]))
        for cell in row["cells"]
    ]
    return Row(html(name) if name.startswith("c_") else Markup("{}").format(name), cells)
