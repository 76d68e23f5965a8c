"""A study from one end to the other: begin or go on, search, measure the best on fresh seeds."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.execution.devices import devices_for, one_thread
from harness.execution.executors import Executor
from harness.execution.measurements import Measurement
from harness.execution.run import Listener, Summary
from harness.search.holdout import finals, metric_measurement, objective_measurement, run_finals, study_record
from harness.search.loop import Budget, SearchListener, run_search
from harness.search.optuna_bridge import OptunaMirror
from harness.search.plan import BUDGET, SearchPlan
from harness.store.database import Store
from harness.store.studies import RUNNING, Studies


class StudyListener(SearchListener, Listener):
    """Told of the search, and then of the run that measures on fresh seeds."""

    def finals(self, count: int) -> None:
        """So many settings are measured on fresh seeds now."""


class StudyOutcome(NamedTuple):
    """What a command's run of a study came to.

    Args:
        rows: all trials of the study.
        evaluations: network evaluations of the study, over all runs, the fresh seeds apart.
        fresh: what measuring on fresh seeds took in this run; None if the search is not over.
        note: what is to be said of the budget; "" for nothing.
    """

    rows: dict[int, dict[str, Any]]
    evaluations: int
    fresh: Summary | None
    note: str


def run_study(
    search: SearchPlan,
    store: Store,
    budget: Budget,
    device: str | None = None,
    batch: int | None = None,
    listener: StudyListener | None = None,
    executor: str | type[Executor] = "processes",
) -> StudyOutcome:
    """Begin a study, or go on with it, until the budget is spent and the best settings are measured on fresh seeds.

    Args:
        search: what is searched.
        store: where the study lives.
        budget: what it may cost in all, over all its runs.
        device, batch, executor: as for a run.
        listener: told of progress.

    Raises:
        InputError: the store has another study of that name, no such device, or a budget that no trial fits.
        RunError: the store cannot be written.
    """
    studies = Studies(store)
    devices_for(device)
    before = _by_number(studies, search.name)
    if not before:
        _check_enough(search, budget)
    else:
        studies.open(search.name, search.spec, {})
        note = _too_small(budget, before)
        if note:
            return StudyOutcome(before, spent(before), None, note)
    objective, metric = objective_measurement(search, store, device), metric_measurement(search, store, device)
    studies.open(search.name, search.spec, study_record(search, objective, metric))
    studies.update(search.name, budget=budget._asdict())
    with one_thread():
        return _run(search, objective, store, budget, device, batch, listener or StudyListener(), executor)


def _run(
    search: SearchPlan,
    objective: Measurement,
    store: Store,
    budget: Budget,
    device: str | None,
    batch: int | None,
    listener: StudyListener,
    executor: str | type[Executor],
) -> StudyOutcome:
    """The search and the fresh seeds of a study that is in the store."""
    studies, mirror = Studies(store), OptunaMirror(search, store)
    try:
        rows = run_search(search, objective, store, budget, device, batch, _Both(mirror, listener), executor)
        mirror.complete(rows)
    finally:
        mirror.close()
    chosen = finals(search, rows)
    studies.update(search.name, finals=chosen)
    listener.finals(len({one["fingerprint"] for one in chosen}))
    fresh = run_finals(search, chosen, store, device, batch, listener, executor)
    return StudyOutcome(rows, spent(rows), fresh, "")


def budget_of(search: SearchPlan, trials: int | None, evaluations: int | None) -> Budget:
    """The budget of a command: 200 trials if it names none, and no more trials than a grid has."""
    if trials is None and evaluations is None:
        trials = BUDGET if search.points is None else len(search.enqueued) + len(search.points)
    return Budget(trials, evaluations)


def spent(rows: Mapping[int, Mapping[str, Any]]) -> int:
    """Network evaluations of a study."""
    return sum(int(row["evaluations"]) for row in rows.values())


def _by_number(studies: Studies, name: str) -> dict[int, dict[str, Any]]:
    return {row["number"]: row for row in studies.slots(name)}


def _check_enough(search: SearchPlan, budget: Budget) -> None:
    """A study that is not begun can begin."""
    full = search.nfe * search.samples
    if budget.evaluations is not None and budget.evaluations < full:
        raise InputError(
            f"--evals {budget.evaluations} is too few for one trial, which may take {full} "
            f"(NFE {search.nfe} times {search.samples} samples); raise it, or lower --nfe or --samples"
        )


def _too_small(budget: Budget, rows: Mapping[int, Mapping[str, Any]]) -> str:
    """Why nothing is run: the study has cost more than the budget already."""
    if budget.trials is not None and budget.trials < len(rows):
        left = sum(row["status"] == RUNNING for row in rows.values())
        under_way = f", {left} of them not settled" if left else ""
        return (
            f"the budget of {budget.trials} trials is below the {len(rows)} that this study has begun{under_way}; "
            "nothing was run"
        )
    if budget.evaluations is not None and budget.evaluations < spent(rows):
        return (
            f"the budget of {budget.evaluations:,} evaluations is below the {spent(rows):,} that this study has cost; "
            "nothing was run"
        )
    return ""


class _Both(SearchListener):
    """Copies settled trials to Optuna's tables, and passes on what happens."""

    def __init__(self, mirror: OptunaMirror, listener: StudyListener) -> None:
        self.mirror, self.listener = mirror, listener

    def began(self, rows: Mapping[int, Mapping[str, Any]], budget: Budget) -> None:
        self.listener.began(rows, budget)

    def settled(self, rows: Mapping[int, Mapping[str, Any]], number: int) -> None:
        self.mirror.copy(rows)
        self.listener.settled(rows, number)
