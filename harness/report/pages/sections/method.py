"""How it was measured."""

from collections.abc import Iterable
from typing import NamedTuple

from harness.report.pages.page import PageSection, fragment
from harness.report.pages.sections import GridReport, MetricReport
from harness.report.text.numbers import significant, span
from harness.report.text.provenance import Identity, identity


class MeasuredMetric(NamedTuple):
    """A metric with what identifies it, its numbers of blocks in words, and the floor's mean and ends as text."""

    metric: MetricReport
    identity: Identity
    blocks: str
    floor: tuple[str, str]


def section(report: GridReport) -> Iterable[PageSection]:
    """Metrics, seeds, intervals, rules and costs in words."""
    yield PageSection(
        fragment("method.html", metrics=[_measured(metric) for metric in report.metrics], paper=report.paper)
    )


def _measured(metric: MetricReport) -> MeasuredMetric:
    floor = metric.data.floor
    ends = (significant(floor.mean), span(floor.low, floor.high)) if floor else ("", "")
    counts = sorted({len(trial.blocks) for trial in metric.data.trials if trial.blocks})
    return MeasuredMetric(metric, identity(metric.data), " or ".join(map(str, counts)), ends)
