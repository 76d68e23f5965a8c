"""What failed, what is missing, and what was left out."""

from collections.abc import Iterable

from harness.report.pages.page import PageSection, fragment
from harness.report.pages.sections import GridReport
from harness.report.tables.trials import failed_table, missing
from harness.report.text.numbers import listing


def section(report: GridReport) -> Iterable[PageSection]:
    """The three lists, and in one sentence which of them are empty."""
    every = report.every
    left_out = [f"{data.title}: {line}" if len(every) > 1 else line for data in every for line in data.left_out]
    counts = {status: sum(data.count(status) for data in every) for status in ("failed", "missing")}
    empty = [
        words
        for status, words in (("failed", "no trial failed"), ("missing", "no trial is missing"))
        if not counts[status]
    ]
    nothing = listing(empty + ([] if left_out else ["no result was left out"]))
    yield PageSection(
        fragment(
            "unfinished.html",
            failed=failed_table(every, report.panels),
            missing=[line for data, own in zip(every, report.panels, strict=True) for line in missing(data, own)],
            missing_count=counts["missing"],
            trial_count=sum(len(data.every_range) for data in every),
            left_out=left_out,
            nothing=f"{nothing[:1].upper()}{nothing[1:]}." if nothing else "",
        )
    )
