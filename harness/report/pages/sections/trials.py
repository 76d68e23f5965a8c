"""Every trial, in a table that sorts and filters."""

from collections.abc import Iterable

from harness.report.pages.page import PageSection, fragment
from harness.report.pages.sections import GridReport
from harness.report.tables.trials import trial_table


def section(report: GridReport) -> Iterable[PageSection]:
    """The trials of all metrics."""
    yield PageSection(fragment("trials.html", table=trial_table(report.every, report.panels, "h-trials")))
