"""The claims of the grids in a store, each judged on every denoiser or architecture by the rows of the store."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.experiments.claim_base import ClaimTest, Finding, Verdict
from harness.experiments.claim_points import ClaimPoint, Look, SeedScores
from harness.experiments.claims import Claim, judge, verdict_of
from harness.metrics.statistics.jackknife import Replicates
from harness.report.data import GridData, TrialResult, load
from harness.report.text.numbers import plural
from harness.report.training import Training, score_board, training_of
from harness.store.database import Store


class Asked(NamedTuple):
    """A test and its finding on one subject."""

    test: ClaimTest
    finding: Finding


class Judgement(NamedTuple):
    """A claim on one denoiser, or on one architecture of a grid that trains.

    Args:
        panel: title of the denoiser in the grid, or name of the architecture.
        verdict: what follows from all tests.
        asked: the tests with their findings.
    """

    panel: str
    verdict: Verdict
    asked: list[Asked]


class JudgedClaim(NamedTuple):
    """A claim with its judgement on each denoiser or architecture that its tests name.

    Args:
        grid: name of the grid that holds it.
        title: the grid's.
        claim: it.
        judgements: one a denoiser or architecture, in the grid's order.
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
    judgements = []
    for name, title, look in _subjects(claim, plan, every):
        tests = claim.of(name)
        if tests:
            found = judge(tests, look)
            asked = [Asked(test, finding) for test, finding in zip(tests, found, strict=True)]
            judgements.append(Judgement(title, verdict_of(found), asked))
    return judgements


def _subjects(claim: Claim, plan: Mapping[str, Any], every: Sequence[GridData]) -> list[tuple[str, str, Look]]:
    """What a claim is asked of: name in the grid, title, and what its tests look at there."""
    if claim.tests[0].subject == "architecture":
        training = training_of(plan)
        names = [column.name for column in training.columns] if training else []
        return [(name, name, _column_look(training, name, every)) for name in names if training]
    denoisers = {item["panel"]: item["denoiser"] for item in plan["items"]}
    return [(denoisers[panel["name"]], panel["title"], _look(panel["name"], every)) for panel in plan["panels"]]


def _column_look(training: Training, column: str, every: Sequence[GridData]) -> Look:
    by_metric = {data.metric["metric"]: data for data in every}

    def scores(row: str, metric: str, series: str | None) -> SeedScores:
        data = by_metric[metric]
        board = score_board(training, data, series)
        if board is None:
            return SeedScores((), (), "has no trials on this architecture", data.lower_is_better)
        standing = board.standings[row, column]
        trials = tuple(score.trial.fingerprint for score in standing.last if score.trial.done)
        return SeedScores(tuple(standing.values), trials, standing.missing, data.lower_is_better)

    return Look(scores=scores)


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
