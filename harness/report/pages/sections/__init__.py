"""The sections of a grid's page: each is a module here with a function `section(report)`, named in `SECTIONS`."""

from collections.abc import Iterable
from importlib import import_module

from harness.core.published import Paper, load_paper
from harness.report.curves import CurvePanel, panels
from harness.report.data import GridData, load
from harness.report.figures.legend import line_entries
from harness.report.figures.style import Style, styles
from harness.report.pages.page import PageSection
from harness.report.tables.curve_summary import has_curves
from harness.report.text.formula import symbols
from harness.store.database import Store

SECTIONS = ("design", "metrics", "trials", "unfinished", "method", "provenance")


class MetricReport:
    """A grid under one metric, as its page shows it.

    Args:
        data: the results.
        looks: of the series.
        prefix: of the ids in its figures; different for every metric of a page.

    `axis` is the title of the horizontal axis. `is_flat` says that nothing runs along it, so that every curve is one
    trial; `is_ruled` that the 3 % rule applies.
    """

    def __init__(self, data: GridData, looks: dict[str, Style], prefix: str) -> None:
        self.data, self.looks, self.prefix = data, looks, prefix
        self.panels: list[CurvePanel] = panels(data)
        self.curves = [curve for panel in self.panels for curve in panel.curves]
        self.is_flat = not has_curves(self.panels)
        self.is_ruled = data.is_distance and data.against_nfe and not self.is_flat
        self.axis = "NFE" if data.against_nfe else symbols(data.plan["x"]["title"])


class GridReport:
    """What the sections of a grid's page are made from.

    Args:
        store: has the pictures.
        grid: name of a grid that was run.
        prefix: of the ids in the figures; different for every grid of a page.

    Raises:
        InputError: the store has no such grid.
    """

    def __init__(self, store: Store, grid: str, prefix: str = "m") -> None:
        self.store = store
        self.every = load(store, grid)
        self.plan = self.every[0].plan
        looks = styles(self.plan["series"])
        self.metrics = [MetricReport(data, looks, f"{prefix}{index}") for index, data in enumerate(self.every)]
        self.panels = [metric.panels for metric in self.metrics]
        self.legend = line_entries(looks, "series")
        has_published = any(curve.published for metric in self.metrics for curve in metric.curves)
        self.paper: Paper | None = load_paper() if has_published else None


def sections(report: GridReport) -> Iterable[PageSection]:
    """The sections of a page, from top to bottom."""
    for name in SECTIONS:
        yield from import_module(f"{__name__}.{name}").section(report)
