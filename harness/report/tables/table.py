"""A table as it is declared: columns with heading and cell, and rows in groups; `templates/macros.html` draws it.

The rows are whatever the columns read; a cell's text is made when the table is drawn. `records`, `csv` and `frame` give
the same table to take away.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from harness.core.text import spreadsheet_text

if TYPE_CHECKING:
    import pandas as pd


NUMBER = "n"
"""Class of a column of numbers, which stand right."""


class TableCell(NamedTuple):
    """A cell.

    Args:
        text: what stands in it.
        small: lines of small print under it; empty ones are left out.
        number: what it sorts by in a table that sorts; None or NaN comes last.
        css: classes of this cell beside those of its column.
        series: whose sign in the legend stands before the text; "" for none.
    """

    text: str
    small: Sequence[str] = ()
    number: float | None = None
    css: str = ""
    series: str = ""


class TableColumn(NamedTuple):
    """A column.

    Args:
        heading: its name.
        cell: of a row; a bare text stands for a cell of that text.
        css: classes of heading and cells.
        over: a heading that it shares with its neighbours.
        about: a tooltip of the heading.
        is_filter: whether a sortable table can be filtered by its values.
        heads_rows: whether its cells are the headings of their rows.
    """

    heading: str
    cell: Callable[[Any], TableCell | str]
    css: str = ""
    over: str = ""
    about: str = ""
    is_filter: bool = False
    heads_rows: bool = False


class RowGroup(NamedTuple):
    """Rows under a heading; "" for none."""

    title: str
    rows: Sequence[Any]


class Table(NamedTuple):
    """A table.

    Args:
        columns: from left to right.
        groups: of rows.
        css: classes of the table.
        label: what it shows, for readers who do not see it; "" where `labelled_by` is the id of a heading.
        labelled_by: that id.
        caption: sentences below it.
        id: of a table that the page's script sorts and filters; "" for others.
        row_css: class of a row.
        tall: from how many rows on it scrolls in a box of its own.
    """

    columns: Sequence[TableColumn]
    groups: Sequence[RowGroup]
    css: str = "costs"
    label: str = ""
    labelled_by: str = ""
    caption: str = ""
    id: str = ""
    row_css: Callable[[Any], str] = lambda row: ""
    tall: float = math.inf

    @property
    def rows(self) -> list[Any]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def spans(self) -> list[tuple[str, int, str]]:
        """Headings over columns: text, how many columns wide, and classes; empty where no column has one."""
        if not any(column.over for column in self.columns):
            return []
        runs = [(over, list(own)) for over, own in groupby(self.columns, key=lambda column: column.over)]
        return [(over, len(own), own[0].css.removeprefix("n").strip()) for over, own in runs]

    @property
    def body(self) -> list[list[tuple[str, list[TableCell]]]]:
        """For every group its rows: the class of each, and its cells."""
        made = [
            [(self.row_css(row), [column.cell(row) for column in self.columns]) for row in own]
            for _, own in self.groups
        ]
        return [
            [(css, [cell if isinstance(cell, TableCell) else TableCell(cell) for cell in cells]) for css, cells in rows]
            for rows in made
        ]

    @property
    def filters(self) -> list[tuple[int, list[str]]]:
        """The places of the columns to filter by, with their different values in the order in which they come."""
        filters = [(place, column) for place, column in enumerate(self.columns) if column.is_filter]
        options: dict[int, dict[str, None]] = {place: {} for place, _ in filters}
        for place, cell in [(place, column.cell(row)) for place, column in filters for row in self.rows]:
            options[place][cell.text if isinstance(cell, TableCell) else cell] = None
        return [(place, list(texts)) for place, texts in options.items()]

    def records(self) -> list[dict[str, str]]:
        """The rows as plain text, by the columns' headings, with small print in brackets and the group first."""
        names = [", ".join(_plain(part) for part in (column.over, column.heading) if part) for column in self.columns]
        records = []
        for group, rows in zip(self.groups, self.body, strict=True):
            for _, cells in rows:
                texts = {"group": group.title} if group.title else {}
                for name, cell in zip(names, cells, strict=True):
                    small = "; ".join(_plain(line) for line in cell.small if line)
                    texts[name] = f"{_plain(cell.text)} ({small})" if small else _plain(cell.text)
                records.append(texts)
        return records

    def csv(self) -> str:
        """The table as CSV, whose cells no spreadsheet runs."""
        lines = self.records()
        out = io.StringIO()
        writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: spreadsheet_text(cell) for name, cell in line.items()} for line in lines)
        return out.getvalue()

    def frame(self) -> "pd.DataFrame":
        """The table as a pandas DataFrame of texts."""
        import pandas as pd

        return pd.DataFrame(self.records())


def code(text: str, short: int | None = None) -> Markup:
    """A hash or an id; cut to its first letters, with all of them as a tooltip."""
    if short is None:
        return Markup("<code>{}</code>").format(text)
    return Markup('<code title="{}">{}</code>').format(text, text[:short])


def joined(parts: Iterable[str]) -> Markup:
    """Sentences with blanks between them."""
    return Markup(" ").join(escape(part) for part in parts if part)


def _plain(text: str) -> str:
    return text.striptags() if isinstance(text, Markup) else text
