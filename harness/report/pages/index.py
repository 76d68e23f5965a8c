"""The index page: every grid and every search of a store, with its first figure and how much of it is done."""

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from harness.core.errors import InputError
from harness.core.files import write_output
from harness.report.claims import JudgedClaim, judged_claims
from harness.report.figures import history, svg
from harness.report.holdout import holdout_results
from harness.report.pages.claims import CLAIMS, unrun, write_claims
from harness.report.pages.grid import file_name, write_report
from harness.report.pages.metrics import GridReport, first_figure
from harness.report.pages.page import FigurePanel, fragment, render_page
from harness.report.pages.search import page_title, write_search_report
from harness.report.pages.training import training_figure
from harness.report.study import load_search
from harness.report.text.numbers import listing, plural
from harness.report.text.search_summary import summarize_search
from harness.report.text.summary import summarize
from harness.store.database import Store
from harness.store.studies import Studies


class IndexEntry(NamedTuple):
    """One grid or search: where its report is, what it is about, and a picture."""

    file: str
    title: str
    description: str
    finding: str
    state: str
    figure: FigurePanel | None


class Reports(NamedTuple):
    """What became of the reports of a store.

    Args:
        files: that were written, the index last.
        unwritten: why not, by the name of a grid, a search or "claims".
    """

    files: list[Path]
    unwritten: dict[str, str]


def write_reports(store: Store, folder: Path) -> Reports:
    """Write the report of every grid and every search in the store, and an index of them.

    One that cannot be written is named with its reason, and the others are written all the same.

    Args:
        store: where the rows are; nothing is written to it.
        folder: of the HTML files; made if it is not there.

    Raises:
        InputError: nothing was run into the store, or the index cannot be written.
    """
    grids, studies = sorted(store.grid_names()), sorted(Studies(store).names())
    if not grids and not studies:
        raise InputError(f"{store.name}: nothing has been run into this store; `harness run GRID` first")
    made = Reports([], {})
    entries, claims = [], list[JudgedClaim]()
    for number, name in enumerate(grids):
        with _others_go_on(name, made):
            made.files.append(write_report(store, name, folder / file_name(name)))
            entries.append(_grid_entry(store, name, number))
            claims += judged_claims(store, [name])
    for number, name in enumerate(studies):
        with _others_go_on(name, made):
            file = search_file_name(name, grids)
            made.files.append(write_search_report(store, name, folder / file))
            entries.append(_search_entry(store, name, number, file))
    if claims:
        with _others_go_on("claims", made):
            made.files.append(write_claims(claims, folder / CLAIMS, unrun(store)))
    index = folder / "index.html"
    html = render_page(
        "Reports",
        fragment("index.html", "body", entries=entries, unwritten=made.unwritten, claims=len(claims)),
    )
    write_output(index, html.encode(), what="the index")
    made.files.append(index)
    return made


@contextlib.contextmanager
def _others_go_on(name: str, made: Reports) -> Iterator[None]:
    """Whatever keeps a page from being written is noted; rows of a store may be damaged in any way."""
    try:
        yield
    except Exception as error:
        made.unwritten[name] = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def search_file_name(study: str, grids: Collection[str] = ()) -> str:
    """The file of a search's report.

    A name that is no plain file name loses what is odd and gets a hash instead; so does one whose file a grid has.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", study)[:100]
    is_free = plain == study and f"search_{plain}" not in grids
    tail = "" if is_free else f"-{hashlib.sha256(study.encode()).hexdigest()[:8]}"
    return f"search_{plain}{tail}.html"


def _search_entry(store: Store, name: str, number: int, file: str) -> IndexEntry:
    search = load_search(store, name)
    summary = summarize_search(search, holdout_results(search))
    axes, lead = history.plot(search), summary.finding
    return IndexEntry(
        file=quote(file),
        title=page_title(search),
        description=str(search.record.get("about") or ""),
        finding=f"{lead.lead}{lead.number}{lead.rest}" if lead else "",
        state=f"{summary.extent[0]}{' Provisional.' if search.provisional else ''}",
        figure=FigurePanel("History", "", svg.inline(axes, f"s{number}")) if axes else None,
    )


def _grid_entry(store: Store, name: str, number: int) -> IndexEntry:
    report = GridReport(store, name, prefix=f"g{number}")
    summary = summarize(report.every, report.panels)
    finding = "; ".join(f"{part.lead}{part.number}{part.rest}" for part in summary.findings[:1])
    counts = sum((data.distinct for data in report.every), Counter())
    parts = [f"{counts[status]} {status}" for status in ("failed", "missing") if counts[status]]
    state = f"{counts['done']} of {plural(counts.total(), 'trial')} done" + (f", {listing(parts)}" if parts else "")
    return IndexEntry(
        file=quote(file_name(name)),
        title=report.plan["title"],
        description=report.plan["description"],
        finding=f"{summary.opening}{finding}." if finding else "",
        state=state,
        figure=training_figure(report) if report.training else first_figure(report),
    )
