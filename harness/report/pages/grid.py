"""The page of a grid: what was found, in words, and then its sections."""

from pathlib import Path

from harness.report.pages.page import fragment, render_page, write_page
from harness.report.pages.sections import GridReport, sections
from harness.report.text.summary import summarize
from harness.store.database import Store


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


def render(store: Store, grid: str) -> str:
    """The page as text; the same rows give the same text.

    Raises:
        InputError: the store has no such grid.
    """
    report = GridReport(store, grid)
    plan = report.plan
    title = plan["title"] or plan["name"]
    summary = summarize(report.every, report.panels)
    header = fragment("grid_header.html", title=title, description=plan["description"], summary=summary)
    return render_page(title, header, sections(report), ["report.js"], legend=report.legend)
