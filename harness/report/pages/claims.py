"""The page of claims: each statement, what the paper says, what was measured on each network, and the verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from harness.report.claims import JudgedClaim, Judgement
from harness.report.pages.grid import file_name
from harness.report.pages.page import PageSection, fragment, render_page, write_page
from harness.report.tables.table import RowGroup, Table, TableCell, TableColumn
from harness.report.text.numbers import plural
from harness.store.database import Store
from harness.store.names import grid_entries

TEMPLATE = "claims.html"
CLAIMS = "claims.html"
"""The page's file; a grid called claims does not take its place."""
SHOWN = 8
"""Characters of a fingerprint, as `harness show` has them."""

FEW_TRIALS = 4
"""Trials whose names stand in the cell itself."""

CSS = {"holds": "holds", "does not hold": "fails", "undecided": "none"}


class ClaimSection(NamedTuple):
    """A claim on the page: its anchor, the file of its grid's report, how it is tested, and its table."""

    id: str
    judged: JudgedClaim
    report: str
    asked: list[str]
    table: Table


class Unrun(NamedTuple):
    """Claims of a grid that comes with the package and was not run into the store."""

    grid: str
    statements: list[str]


def write_claims(every: Sequence[JudgedClaim], out: Path, not_run: Sequence[Unrun] = ()) -> Path:
    """Write the page of claims, and return its path.

    Args:
        every: the claims, judged.
        out: the HTML file.
        not_run: claims to be named that were not judged.

    Raises:
        InputError: the file cannot be written.
    """
    return write_page(render_claims(every, not_run), out)


def render_claims(every: Sequence[JudgedClaim], not_run: Sequence[Unrun] = ()) -> str:
    """The page as text."""
    sections = [
        ClaimSection(f"claim-{place}", judged, quote(file_name(judged.grid)), _asked(judged), claim_table(judged))
        for place, judged in enumerate(every)
    ]
    header = fragment(TEMPLATE, "head", overview=overview(sections), not_run=not_run)
    made = (PageSection(fragment(TEMPLATE, "claim_section", section=section)) for section in sections)
    return render_page("Claims", header, made, css="claims")


def unrun(store: Store) -> list[Unrun]:
    """Claims of grids that come with the package and were not run."""
    from harness.experiments.grid import load_grid
    from harness.experiments.grid_files import grid_names, place_of

    done, made = {each.place or each.name for each in grid_entries(store)}, []
    for name, path in grid_names().items():
        if done.isdisjoint((place_of(path), path.stem)):
            grid, _ = load_grid(path)
            if grid.claims:
                made.append(Unrun(name, [claim.statement for claim in grid.claims]))
    return made


def overview(sections: Sequence[ClaimSection]) -> Table:
    """A line a claim: what it says, and the networks by verdict."""

    def verdict(word: str) -> TableColumn:
        return TableColumn(word.capitalize(), lambda each: _names(each.judged, word), css="verdict")

    statement = TableColumn(
        "Claim", lambda each: TableCell(each.judged.claim.statement, [each.judged.claim.source]), heads_rows=True
    )
    columns = [statement, *map(verdict, CSS)]
    return Table(columns, [RowGroup("", sections)], label="Claims and verdicts", css="costs overview")


def claim_table(judged: JudgedClaim) -> Table:
    """A line a network: verdict, what was measured, and the trials that it rests on."""
    return Table(
        [
            TableColumn("Network", lambda each: each.panel, heads_rows=True),
            TableColumn("Verdict", lambda each: TableCell(each.verdict, css=CSS[each.verdict])),
            TableColumn("Measured", _measured),
            TableColumn("Trials", _trials, css="trials"),
        ],
        [RowGroup("", judged.judgements)],
        label=judged.claim.statement,
        css="costs claim",
    )


def _asked(judged: JudgedClaim) -> list[str]:
    """The tests in words, with the networks where they are not of all."""
    words = []
    for test in judged.claim.tests:
        of = f" ({', '.join(test.only)})" if test.only else ""
        words.append(f"{test.in_words()}{of}.")
    return words


def _names(judged: JudgedClaim, verdict: str) -> str:
    return "; ".join(each.panel for each in judged.judgements if each.verdict == verdict) or "–"


def _measured(judgement: Judgement) -> TableCell:
    lines = [" – ".join(filter(None, [asked.finding.measured, asked.finding.why])) for asked in judgement.asked]
    return TableCell(lines[0], lines[1:])


def _trials(judgement: Judgement) -> TableCell:
    names = list(dict.fromkeys(name[:SHOWN] for asked in judgement.asked for name in asked.finding.trials))
    if len(names) <= FEW_TRIALS:
        return TableCell(", ".join(names) or "–")
    return TableCell(plural(len(names), "trial"), [", ".join(names)])
