"""The claims of the grids in a store, each judged on every denoiser by the rows that the store holds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.experiments.claims import Claim, ClaimPoint, ClaimTest, Finding, Look, Verdict, judge, verdict_of
from harness.metrics.statistics.jackknife import Replicates
from harness.report.data import GridData, TrialResult, load
from harness.report.text.numbers import plural
from harness.store.database import Store


class Asked(NamedTuple):
    """A test and its finding on one denoiser."""

    test: ClaimTest
    finding: Finding


class Judgement(NamedTuple):
    """A claim on one denoiser.

    Args:
        panel: title of the denoiser in the grid.
        verdict: what follows from all tests.
        asked: the tests with their findings.
    """

    panel: str
    verdict: Verdict
    asked: list[Asked]


class JudgedClaim(NamedTuple):
    """A claim with its judgement on each denoiser that its tests name.

    Args:
        grid: name of the grid that holds it.
        title: the grid's.
        claim: it.
        judgements: one a denoiser, in the grid's order.
    """

    grid: str
    title: str
    claim: Claim
    judgements: list[Judgement]


def judged_claims(store: Store, grids: Sequence[str] | None = None) -> list[JudgedClaim]:
    """The claims of grids, judged.

    Args:
        store: where the rows are.
        grids: names of grids that were run; None for all.

    Raises:
        InputError: a grid that the store has not.
    """
    names = sorted(store.grid_names()) if grids is None else grids
    return [judged for name in names for judged in _of_grid(store, name)]


def _of_grid(store: Store, name: str) -> list[JudgedClaim]:
    stored = store.grid(name)
    if stored is not None and not stored.get("claims"):
        return []
    every = load(store, name)
    plan = every[0].plan
    claims = [Claim.model_validate(claim) for claim in plan.get("claims") or ()]
    return [JudgedClaim(name, plan["title"], claim, _judgements(claim, plan, every)) for claim in claims]


def _judgements(claim: Claim, plan: Mapping[str, Any], every: Sequence[GridData]) -> list[Judgement]:
    denoisers = {item["panel"]: item["denoiser"] for item in plan["items"]}
    judgements = []
    for panel in plan["panels"]:
        tests = claim.of(denoisers[panel["name"]])
        if tests:
            found = judge(tests, _look(panel["name"], every))
            asked = [Asked(test, finding) for test, finding in zip(tests, found, strict=True)]
            judgements.append(Judgement(panel["title"], verdict_of(found), asked))
    return judgements


def _look(panel: str, every: Sequence[GridData]) -> Look:
    by_metric = {data.metric["metric"]: data for data in every}

    def trials(series: str, metric: str, range_index: int) -> list[TrialResult]:
        data = by_metric.get(metric)
        own = [trial for trial in data.trials if (trial.panel, trial.series) == (panel, series)] if data else []
        return [trial.ranges[range_index] for trial in own]

    def missing(series: str, metric: str, range_index: int) -> str:
        planned = trials(series, metric, range_index)
        if not planned:
            return "has no trials on this denoiser"
        absent = [trial for trial in planned if not trial.done]
        why = next((f" ({trial.reason})" for trial in absent if trial.reason), "")
        return f"{len(absent)} of {plural(len(planned), 'trial')} not done{why}" if absent else ""

    def points(series: str, metric: str, range_index: int) -> list[ClaimPoint]:
        data = by_metric[metric]
        made = [_point(trial, data) for trial in trials(series, metric, range_index) if trial.done]
        return sorted(made, key=lambda point: point.x)

    return Look(points, missing)


def _point(trial: TrialResult, data: GridData) -> ClaimPoint:
    replicates = Replicates.stored(trial.value, trial.replicates, trial.blocks, trial.end)
    ends = (*trial.blocks, trial.end)
    return ClaimPoint(trial.fingerprint, trial.x, trial.nfe, ends, replicates, data.is_distance)
