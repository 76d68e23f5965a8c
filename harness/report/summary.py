"""The report's first paragraph: what was found, in words and numbers that come from the rows."""

from typing import NamedTuple

from harness.report.curves import Curve, Panel, panels
from harness.report.data import GridData
from harness.report.numbers import duration, evaluations, large, listing, plural, ratio, significant, span
from harness.report.paper import load_paper
from harness.report.within import SpeedUp

_SCALE = "{} is not FID: its values compare with each other, at this number of images, and with nothing else."


class Finding(NamedTuple):
    """The speed-up of one panel: `lead` in words, `number` to be set off, `rest` in words."""

    lead: str
    number: str
    rest: str


class Summary(NamedTuple):
    """The parts of the paragraph.

    Args:
        opening: what the findings are about; "" without findings.
        findings: one a panel.
        cautions: what to keep in mind about them, one sentence each.
        paper: what the paper found.
        extent: how many trials, images and evaluations.
        scale: what the metric is not.
    """

    opening: str
    findings: list[Finding]
    cautions: list[str]
    paper: str
    extent: str
    scale: str


def summarize(data: GridData) -> Summary:
    """Put a grid's results in words: speed-ups where panels have a baseline, else the best of each panel."""
    every = panels(data)
    shown = [(panel, found) for panel in every if panel.ours and (found := panel.speed_up(panel.ours))]
    title = data.plan["metric_title"]
    findings = [_finding(panel, panel.ours, found, panel is shown[0][0]) for panel, found in shown if panel.ours]
    opening = f"How many denoiser evaluations (NFE) does a sampler need to come within 3 % of its own best {title}? "
    if not findings:
        findings, opening = [finding for panel in every for finding in _best(panel)], f"The lowest {title}: "
    return Summary(
        opening=opening if findings else "",
        findings=findings,
        cautions=_cautions(data, shown),
        paper=_paper(shown),
        extent=_extent(data),
        scale="" if data.plan["metric"] == "fid" else _SCALE.format(title),
    )


def _best(panel: Panel) -> list[Finding]:
    """The lowest value of a panel that has no speed-up to tell; nothing while none is done."""
    found = [(curve.lowest.best, curve) for curve in panel.curves if curve.lowest]
    if not found:
        return []
    best, curve = min(found, key=lambda pair: pair[0].value)
    rest = f" ({span(*curve.best_interval)}), by “{curve.name}” at NFE {evaluations(best.nfe)}"
    return [Finding(f"on {panel.title} ", significant(best.value), rest)]


def _finding(panel: Panel, ours: Curve, found: SpeedUp, is_first: bool) -> Finding:
    assert ours.lowest is not None and panel.baseline is not None and panel.baseline.lowest is not None
    a, b = evaluations(ours.lowest.point.nfe), evaluations(panel.baseline.lowest.point.nfe)
    other = f"“{panel.baseline.name}”" if is_first else "the baseline"
    lead = f"{'On' if is_first else 'on'} {panel.title}, “{ours.name}” takes {a} where {other} takes {b}, "
    if found.verdict == "slower":
        return Finding(lead, f"{ratio(1 / found.ratio)} times as many", _allowed(1 / found.high, 1 / found.low))
    if found.verdict == "faster":
        return Finding(lead, f"{ratio(found.ratio)} times fewer", _allowed(found.low, found.high))
    return Finding(lead, f"a factor of {ratio(found.ratio)}", _allowed(found.low, found.high) + ", which is undecided")


def _allowed(low: float, high: float) -> str:
    """What the seeds allow, in brackets; nothing where they allow one number only."""
    return f" (the seeds allow {ratio(low)} to {ratio(high)})" if low < high else ""


def _cautions(data: GridData, shown: list[tuple[Panel, SpeedUp]]) -> list[str]:
    cautions = []
    if data.count("missing"):
        cautions.append("The grid is not finished, so these numbers are provisional.")
    title = data.plan["metric_title"]
    for panel, found in shown:
        if found.quality and found.best_is == "worse" and panel.ours:
            times = f"{significant(found.quality.estimate)} times ({span(found.quality.low, found.quality.high)})"
            cautions.append(f"On {panel.title} the best {title} of “{panel.ours.name}” is {times} the baseline’s.")
    open_ended = [panel.title for panel, _ in shown if panel.baseline and _is_open(panel.baseline)]
    if open_ended:
        cautions.append(
            f"On {listing(open_ended)} the baseline is best at its highest NFE and at no other within 3 % of that: "
            "with still more steps it might improve, and the speed-up would then be larger."
        )
    return cautions


def _is_open(curve: Curve) -> bool:
    return curve.lowest is not None and curve.lowest.is_last


def _paper(shown: list[tuple[Panel, SpeedUp]]) -> str:
    known = [(panel.title, panel.paper) for panel, _ in shown if panel.paper and panel.paper.speedup]
    if not known:
        return ""
    numbers = listing([f"{paper.speedup:g} times ({paper.title})" for _, paper in known])
    return (
        f"By FID, for the networks that these stand for, the paper reports {numbers} (read from {load_paper().status})."
    )


def _extent(data: GridData) -> str:
    done, total = data.count("done"), len(data.trials)
    first, n = data.plan["first_seed"], data.plan["n"]
    parts = [f"{done} of {plural(total, 'trial')} {'is' if done == 1 else 'are'} done"]
    parts += [f"{count} {status}" for status in ("failed", "missing") if (count := data.count(status))]
    spent = sum(row["evaluations"] or 0 for row in data.rows)
    seconds = sum(row["seconds"] or 0 for row in data.rows)
    cost = f"; {large(spent)} network evaluations in {duration(seconds)} of computing" if spent else ""
    return f"{', '.join(parts)}. Each is judged by {n:,} images, from seeds {first} to {first + n - 1}{cost}."
