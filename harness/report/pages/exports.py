"""The section of a grid's page that hands its answers to other tools: on each network, the sampler to use."""

from collections.abc import Iterable

from harness.report.curves import CurvePanel
from harness.report.data import TrialResult
from harness.report.pages.metrics import GridReport, MetricReport
from harness.report.pages.page import PageSection, fragment
from harness.report.text.exports import Exports
from harness.report.text.exports import exports as exports_of
from harness.report.text.numbers import evaluations, significant

MOST = 12
"""Networks whose answers are shown; a page with more compares networks, and answers no question about one."""


def exports(report: GridReport) -> Iterable[PageSection]:
    """The answers by the page's first distance, or its first metric; none where rows keep no noise levels."""
    distances = [each for each in report.metrics if each.data.is_distance]
    metric = next(iter([*distances, *report.metrics]), None)
    if report.training or metric is None or len(metric.panels) > MOST:
        return
    found = [made for panel in metric.panels if (made := _of_panel(metric, panel))]
    if found:
        yield PageSection(fragment("grid.html", "exports_section", exports=found, title=metric.data.title))


def _of_panel(metric: MetricReport, panel: CurvePanel) -> Exports | None:
    trial = _answer(metric, panel)
    if trial is None:
        return None
    about = f"{trial.series}, NFE {evaluations(trial.nfe)}, {metric.data.title} {significant(trial.value)}"
    return exports_of(panel.title, about, trial.fingerprint, trial.sampler, trial.levels, trial.adaptive)


def _answer(metric: MetricReport, panel: CurvePanel) -> TrialResult | None:
    """The trial at the lowest NFE within 3 % of the series' best, where that rule applies; else the panel's best."""
    done = [trial for curve in panel.curves for trial in curve.done]
    if not done:
        return None
    best = metric.data.best(done)
    curve = panel.ours if panel.ours and panel.ours.done else next(each for each in panel.curves if best in each.done)
    point = curve.lowest and (curve.lowest.point or curve.lowest.best)
    if not point:
        return best
    return next((trial for trial in curve.done if trial.fingerprint == point.fingerprint), best)
