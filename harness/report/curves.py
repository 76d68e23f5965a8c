"""From trials to what is drawn and judged: a panel for every denoiser, with a curve for every series."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from harness.core.published import PaperPanel, Published, load_paper
from harness.report.data import GridData, TrialResult
from harness.report.three_percent import CurvePoint, Lowest, SpeedUp, lowest_nfe, speed_up


class SeriesCurve(NamedTuple):
    """One series of one panel.

    Args:
        name: of the series.
        role: `baseline`, `ours` or None.
        trials: each once, by their place on the horizontal axis.
        done: the finished ones.
        lowest: the lowest NFE within 3 % of the best; None while no trial is done, or where that rule does not apply.
        published: the paper's point for this series, if it has one.
        paper: the paper's name of the series; "" if it has none.
        is_level: whether it has no place on the horizontal axis, and so is the same all along it.
    """

    name: str
    role: str | None
    trials: list[TrialResult]
    done: list[TrialResult]
    lowest: Lowest | None
    published: Published | None
    paper: str
    is_level: bool


class CurvePanel(NamedTuple):
    """One denoiser.

    Args:
        name: of the denoiser.
        title: for people.
        card: free-form facts about it.
        weights: what identifies it.
        curves: in the order of the plan; series without trials here are left out.
        baseline: the curve that others are compared with, if the panel has one.
        ours: the last curve with role `ours`, or else the last one that is not the baseline; None without a baseline.
        paper: what the paper published for its counterpart.
    """

    name: str
    title: str
    card: dict[str, Any]
    weights: str
    curves: list[SeriesCurve]
    baseline: SeriesCurve | None
    ours: SeriesCurve | None
    paper: PaperPanel | None

    def speed_up(self, curve: SeriesCurve) -> SpeedUp | None:
        """How many times fewer evaluations a curve needs than the baseline; None for the baseline itself."""
        if self.baseline is None or self.baseline.lowest is None or curve is self.baseline or curve.lowest is None:
            return None
        return speed_up(self.baseline.lowest, curve.lowest)


def panels(data: GridData) -> list[CurvePanel]:
    """The panels of a grid, in the order of the plan."""
    known = load_paper().panels
    return [_panel(entry, data, known.get(entry.get("paper") or "")) for entry in data.plan["panels"]]


def _panel(entry: dict[str, Any], data: GridData, paper: PaperPanel | None) -> CurvePanel:
    here = [trial for trial in data.trials if trial.panel == entry["name"]]
    ruled = data.is_distance and data.against_nfe
    curves = []
    for series in data.plan["series"]:
        own = {trial.fingerprint: trial for trial in reversed(here) if trial.series == series["name"]}
        if not own:
            continue
        trials = sorted(own.values(), key=_place)
        named = series.get("paper") or ""
        curves.append(
            SeriesCurve(
                name=series["name"],
                role=series.get("role"),
                trials=trials,
                done=[trial for trial in trials if trial.done],
                lowest=lowest_nfe(points(trials)) if ruled else None,
                published=paper.points.get(named) if paper and ruled else None,
                paper=named,
                is_level=all(math.isnan(trial.x) for trial in trials),
            )
        )
    baseline = next((curve for curve in curves if curve.role == "baseline"), None)
    others = [curve for curve in curves if baseline and curve is not baseline]
    ours = [curve for curve in others if curve.role == "ours"] or others
    return CurvePanel(
        name=entry["name"],
        title=entry.get("title") or entry["name"],
        card=entry.get("card") or {},
        weights=str(entry.get("weights", "")),
        curves=curves,
        baseline=baseline,
        ours=ours[-1] if ours else None,
        paper=paper,
    )


def _place(trial: TrialResult) -> tuple[Any, ...]:
    """What sorts the trials of a curve; unknown numbers come last."""
    numbers = (trial.x, trial.nfe, trial.steps)
    return (*((math.isnan(value), 0.0 if math.isnan(value) else value) for value in numbers), trial.fingerprint)


def points(trials: Iterable[TrialResult]) -> list[CurvePoint]:
    """The finished trials of known NFE, as comparisons want them."""
    return [
        CurvePoint(trial.fingerprint, trial.nfe, trial.value, trial.replicates, trial.blocks, trial.end)
        for trial in trials
        if trial.done and math.isfinite(trial.nfe)
    ]
