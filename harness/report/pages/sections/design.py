"""The design choices of the samplers, as in the paper's Table 1, where the grid asks for them."""

from collections.abc import Iterable

from harness.report.pages.page import PageSection, fragment
from harness.report.pages.sections import GridReport
from harness.report.tables.design import design_table


def section(report: GridReport) -> Iterable[PageSection]:
    """None where the grid asks for no table."""
    table = design_table(report.plan.get("design"), "h-design")
    if table:
        yield PageSection(fragment("design.html", table=table))
