"""Studies: begin one or go on with it, search, and measure the best settings on fresh seeds."""

from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.execution.devices import devices_for, one_thread
from harness.execution.executors import Executor
from harness.execution.limits import Limits
from harness.execution.run import Listener, Summary
from harness.search.holdout import finals, metric_measurement, objective_measurement, run_finals, study_record
from harness.search.loop import SearchListener, run_search
from harness.search.optuna_bridge import OptunaMirror
from harness.search.plan import BUDGET, SearchPlan
from harness.search.progress import Budget, Rows, spent
from harness.store.database import Store
from harness.store.studies import FAILED, RUNNING, Studies

GENERATIONS = ("cmaes", "nsga2")
"""Methods whose suggestions are asked for again when a study goes on, from the outcomes of all trials before them."""


class StudyListener(SearchListener, Listener):
    """Told of the progress of a search, and then of the run on fresh seeds."""

    def finals(self, count: int) -> None:
        """The run on fresh seeds begins, with so many settings."""


class StudyOutcome(NamedTuple):
    """What one run of a study came to.

    Args:
        rows: all trials of the study, by number.
        evaluations: network evaluations of the study over all its runs, without the fresh seeds.
        holdout: summary of the run on fresh seeds; None if nothing was run.
        note: on the budget; "" if there is nothing to say.
        stopped: by which limit of the command, and how to go on; "" if by none.
    """

    rows: dict[int, dict[str, Any]]
    evaluations: int
    holdout: Summary | None
    note: str
    stopped: str = ""


def run_study(
    search: SearchPlan,
    store: Store,
    budget: Budget,
    device: str | None = None,
    batch: int | None = None,
    listener: StudyListener | None = None,
    executor: str | type[Executor] = "processes",
    retry_failed: bool = False,
    limits: Limits | None = None,
) -> StudyOutcome:
    """Begin a study, or go on with it: search until the budget is spent, then measure the best on fresh seeds.

    Args:
        search: the study's plan.
        store: the store that holds the study.
        budget: limits of the study over all its runs.
        device, batch, executor: as for a run.
        listener: told of progress.
        retry_failed: try failed trials of the study again, and failed settings on the fresh seeds.
        limits: of this command, the run on fresh seeds included; None for none beside the budget.

    Raises:
        InputError: the store has another study of that name, there is no such device, no trial fits the budget, or the
            method cannot take a trial back.
        RunError: the store cannot be written.
    """
    studies, listener = Studies(store), listener or StudyListener()
    devices_for(device)
    store.check_files()
    before = {row["number"]: row for row in studies.slots(search.name)}
    if before:
        studies.open(search.name, search.spec, {})  # refuses another study of this name
        note = _exceeded(budget, before)
        if note:
            return StudyOutcome(before, spent(before), None, note)
        if retry_failed:
            _retry(search, studies, before)
    elif budget.evaluations is not None and budget.evaluations < search.nfe * search.samples:
        raise InputError(
            f"--evals {budget.evaluations} is too few for one trial, which may take {search.nfe * search.samples} "
            f"(NFE {search.nfe} times {search.samples} samples); raise it, or lower --nfe or --samples"
        )
    for one in dict.fromkeys((search.objective, search.metric)):
        one.probe(search.builder.description, devices_for(device)[0])
    objective, metric = objective_measurement(search, store, device), metric_measurement(search, store, device)
    studies.open(search.name, search.spec, study_record(search, objective, metric))
    studies.update(search.name, budget=budget._asdict())
    with one_thread():
        mirror = OptunaMirror(search, store)
        try:
            both = _MirrorListener(mirror, listener)
            rows = run_search(search, objective, store, budget, device, batch, both, executor, retry_failed, limits)
            if limits is not None and any(row["status"] == RUNNING for row in rows.values()):
                return StudyOutcome(rows, spent(rows), None, "", stopped_in_words(limits))
            mirror.complete(rows)
        finally:
            mirror.close()
        chosen = finals(search, rows)
        studies.update(search.name, finals=chosen)
        listener.finals(len({one["fingerprint"] for one in chosen}))
        summary = run_finals(search, chosen, store, device, batch, listener, executor, retry_failed, limits)
    stopped = "" if limits is None or summary.left is None else f"on the fresh seeds {stopped_in_words(limits)}"
    return StudyOutcome(rows, spent(rows), summary, "", stopped)


def stopped_in_words(limits: Limits) -> str:
    """By which limit a study was stopped, and how to go on."""
    remedy = "raise that limit to go on" if limits.is_too_low else "the same command goes on"
    return f"stopped at the limit of {limits.reason}; {remedy}"


def budget_of(search: SearchPlan, trials: int | None, evaluations: int | None) -> Budget:
    """The budget of a command. Without limits it is 200 trials, or all points of a grid."""
    if trials is None and evaluations is None:
        trials = BUDGET if search.points is None else len(search.enqueued) + len(search.points)
    return Budget(trials, evaluations)


def _exceeded(budget: Budget, rows: Rows) -> str:
    """Says that a study has taken more than the budget already; "" if it has not."""
    if budget.trials is not None and budget.trials < len(rows):
        running = sum(row["status"] == RUNNING for row in rows.values())
        under_way = f", {running} of them not settled" if running else ""
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


def _retry(search: SearchPlan, studies: Studies, rows: Rows) -> None:
    """Let failed trials run again."""
    failed = [number for number, row in rows.items() if row["status"] == FAILED and row["fingerprint"]]
    if failed and search.spec["method"] in GENERATIONS and max(rows) > min(failed):
        raise InputError(
            f"method {search.spec['method']} has suggested later trials from the failure of no. {min(failed)}, and "
            "cannot take it back; begin a new study with --study"
        )
    studies.retry(search.name)


class _MirrorListener(SearchListener):
    """Copies finished trials to Optuna's tables, and tells another listener."""

    def __init__(self, mirror: OptunaMirror, listener: SearchListener) -> None:
        self.mirror, self.listener = mirror, listener

    def began(self, rows: Rows, budget: Budget) -> None:
        self.listener.began(rows, budget)

    def settled(self, rows: Rows, number: int) -> None:
        self.mirror.copy(rows)
        self.listener.settled(rows, number)

    def note(self, text: str) -> None:
        self.listener.note(text)
