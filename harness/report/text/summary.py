"""The report's first paragraph: what was found, in words and numbers that come from the rows."""

import math
from collections import Counter
from typing import NamedTuple

from harness.core.published import load_paper
from harness.metrics.statistics.decisions import EITHER
from harness.metrics.statistics.jackknife import compare
from harness.report.curves import CurvePanel, SeriesCurve, points
from harness.report.data import GridData, TrialResult
from harness.report.text.formula import symbols
from harness.report.text.numbers import (
    NONE,
    bracketed,
    duration,
    evaluations,
    large,
    listing,
    plural,
    ratio,
    ratio_span,
    signed,
    significant,
    span,
)
from harness.report.text.provenance import all_cautions, spent
from harness.report.three_percent import Lowest, SpeedUp
from harness.report.training import Training, judged_metrics, score_board, step, training_of

SCALE = "{} is not FID: its values compare with each other, at this number of images, and with nothing else."


class Finding(NamedTuple):
    """The speed-up of one panel: `lead` in words, `number` to be set off, `rest` in words."""

    lead: str
    number: str
    rest: str


class GridSummary(NamedTuple):
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


def summarize(every: list[GridData], panels: list[list[CurvePanel]]) -> GridSummary:
    """Put a grid's results in words: speed-ups where panels have a baseline, else the best value of each panel.

    Args:
        every: the grid under each metric; findings are of the first.
        panels: of each metric.
    """
    data = every[0]
    shown = [(panel, speed_up) for panel in panels[0] if panel.ours and (speed_up := panel.speed_up(panel.ours))]
    findings = [_finding(panel, panel.ours, speed_up, panel is shown[0][0]) for panel, speed_up in shown if panel.ours]
    opening = (
        f"How many denoiser evaluations (NFE) does a sampler need to come within 3 % of its own best {data.title}? "
    )
    training = training_of(data.plan)
    if training:
        opening, findings = _configurations(training, every)
    elif not findings:
        findings = [finding for panel in panels[0] for finding in _best(panel, data)]
        opening = f"The {'lowest' if data.lower_is_better else 'highest'} {lowered(data.title)}: "
    return GridSummary(
        opening=opening if findings else "",
        findings=findings,
        cautions=_cautions(every, shown),
        paper=_paper(shown),
        extent=_extent(every),
        scale=SCALE.format(data.title) if data.is_distance and data.metric["metric"] != "fid" else "",
    )


def lowered(title: str) -> str:
    """A metric's name within a sentence: only a word like `Coverage` loses its capital."""
    words = title.split(" (")[0].split()
    is_name = any(not word.islower() for word in words[1:])
    return title[0].lower() + title[1:] if title[1:2].islower() and not is_name else title


def _configurations(training: Training, every: list[GridData]) -> tuple[str, list[Finding]]:
    """What the last training configuration gains over the first, architecture by architecture."""
    board = score_board(training, judged_metrics(every)[0])
    first, last = training.rows[0], training.rows[-1]
    if board is None or first is last:
        return "", []
    findings = []
    for column in training.columns:
        whole = step(board.standings[first.name, column.name], board.standings[last.name, column.name])
        if whole.gap:
            ends = f"{signed(whole.gap.estimate)}, {span(whole.gap.low, whole.gap.high, signed)}"
            verdict = "which the training seeds leave open" if whole.direction == "open" else whole.direction
            numbers = f"{significant(whole.before.mean)} to {significant(whole.after.mean)}"
            findings.append(Finding(f"on {column.name} from ", numbers, f" ({ends}; {verdict})"))
        elif whole.before.last and whole.after.last:
            findings.append(Finding(f"on {column.name} ", "no answer", ", since it takes two training seeds of both"))
    opening = (
        f"What the training configurations change from {first.name} to {last.name}, by the mean over training seeds of "
        f"{lowered(board.data.title)}: "
    )
    return opening if findings else "", findings


def _best(panel: CurvePanel, data: GridData) -> list[Finding]:
    """The best value of a panel that has no speed-up to tell; nothing while none is done."""
    done = [(trial, curve) for curve in panel.curves for trial in curve.done]
    if not done:
        return []
    best = data.best(trial for trial, _ in done)
    curve = next(curve for trial, curve in done if trial is best)
    rest = bracketed(best.low, best.high) or f" ({NONE})"
    if len(done) > 1:
        alone = all(len(one.done) == 1 for one in panel.curves)
        where = "" if alone else f" at {_place(best, curve, data)}"
        rest += f", by “{curve.name}”{where}"
        others = [(trial, other) for trial, other in done if trial is not best]
        rest += _runner_up(best, curve, others, data)
    return [Finding(f"on {panel.title} ", significant(best.value), rest)]


def _place(trial: TrialResult, curve: SeriesCurve, data: GridData) -> str:
    """Where a trial stands: its place on the horizontal axis, or its NFE."""
    if data.against_nfe or curve.is_level:
        return f"NFE {evaluations(trial.nfe)}"
    return f"{symbols(data.plan['x']['title'])} {trial.x:g}"


def _runner_up(
    best: TrialResult, curve: SeriesCurve, others: list[tuple[TrialResult, SeriesCurve]], data: GridData
) -> str:
    """Whether the same seeds tell the best from the second best."""
    second = data.best(trial for trial, _ in others)
    by = next(other for trial, other in others if trial is second)
    pair = points([best, second])
    if len(pair) != 2 or not pair[0].pairs_with(pair[1]):
        return ""
    if compare(pair[0].as_replicates(), pair[1].as_replicates()).verdict != "undecided":
        return ""
    same = _place(second, by, data) if by is curve else f"“{by.name}”"
    return f" (the seeds do not tell it from {same})"


def _finding(panel: CurvePanel, ours: SeriesCurve, speed_up: SpeedUp, is_first: bool) -> Finding:
    assert ours.lowest is not None and panel.baseline is not None and panel.baseline.lowest is not None
    place = f"{'On' if is_first else 'on'} {panel.title}"
    if speed_up.ratio is None:
        return Finding(f"{place} there is ", "no answer", f", since {speed_up.why}")
    a, b = (_cost(curve.lowest) for curve in (ours, panel.baseline))
    other = f"“{panel.baseline.name}”" if is_first else "the baseline"
    lead = f"{place}, “{ours.name}” takes {a} where {other} takes {b}, "
    low, high = speed_up.low, speed_up.high
    if speed_up.verdict == "slower" and low is not None and high is not None:
        upper = math.inf if low == 0 else 1 / low
        return Finding(lead, f"{ratio(1 / speed_up.ratio)} times as many", _allowed(1 / high, upper))
    if speed_up.verdict == "faster":
        if high is not None and math.isinf(high):
            return Finding(lead, f"at least {ratio(low)} times fewer", " (the baseline’s curve ends too soon for more)")
        return Finding(lead, f"{ratio(speed_up.ratio)} times fewer", _allowed(low, high))
    why = "" if speed_up.why == EITHER else f", since {speed_up.why}"
    return Finding(lead, f"a factor of {ratio(speed_up.ratio)}", f"{_allowed(low, high)}, which is undecided{why}")


def _cost(lowest: Lowest | None) -> str:
    """A curve's cost; at least that where its end cuts it off."""
    if lowest is None or lowest.rule.cost is None:
        return NONE
    text = evaluations(lowest.rule.cost)
    return f"{text} or more" if lowest.rule.is_least and lowest.rule.cost == lowest.rule.high else text


def _allowed(low: float | None, high: float | None) -> str:
    """What the seeds allow, in brackets; nothing where they allow one number only, or none is known."""
    text = ratio_span(low, high)
    return "" if text == NONE or low == high else f" (the seeds allow {text})"


def _cautions(every: list[GridData], shown: list[tuple[CurvePanel, SpeedUp]]) -> list[str]:
    cautions = []
    if any(data.counts["missing"] for data in every):
        cautions.append("The grid is not finished, so these numbers are provisional.")
    cautions += all_cautions(every)
    title = every[0].title
    for panel, speed_up in shown:
        if speed_up.quality and speed_up.best_is == "worse" and panel.ours:
            times = (
                f"{significant(speed_up.quality.estimate)} times ({span(speed_up.quality.low, speed_up.quality.high)})"
            )
            cautions.append(f"On {panel.title} the best {title} of “{panel.ours.name}” is {times} the baseline’s.")
    return cautions


def _paper(shown: list[tuple[CurvePanel, SpeedUp]]) -> str:
    known = [(panel.title, panel.paper) for panel, _ in shown if panel.paper and panel.paper.speedup]
    if not known:
        return ""
    numbers = listing([f"{paper.speedup:g} times ({paper.title})" for _, paper in known])
    return f"The paper reports, by FID, {numbers} (read from {load_paper().status})."


def _extent(every: list[GridData]) -> str:
    counts = sum((data.distinct for data in every), Counter())
    done = counts["done"]
    parts = [f"{done} of {plural(counts.total(), 'trial')} {'is' if done == 1 else 'are'} done"]
    parts += [f"{counts[status]} {status}" for status in ("failed", "missing") if counts[status]]
    total_cost = spent(row for data in every for row in data.rows)
    cost = f"; {large(total_cost.evaluations)} network evaluations in {duration(total_cost.seconds)} of computing"
    judged = _judged(every)
    return f"{', '.join(parts)}. {judged[0].upper()}{judged[1:]}{cost if total_cost.evaluations else ''}."


def _judged(every: list[GridData]) -> str:
    """By how many images a trial is judged, metric by metric where they differ."""
    titles: dict[str, list[str]] = {}
    for data in every:
        titles.setdefault(_images(data), []).append(lowered(data.title))
    if len(titles) == 1:
        return f"each is judged by {next(iter(titles))}"
    return "; ".join(f"{listing(about)} by {images}" for images, about in titles.items())


def _images(data: GridData) -> str:
    first, n, count = data.first_seeds[0], data.n, len(data.first_seeds)
    again = f", and again on {plural(count - 1, 'further range')} of as many seeds" if count > 1 else ""
    return f"{n:,} images, from seeds {first} to {first + n - 1}{again}"
