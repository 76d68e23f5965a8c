"""The loop of a search: it begins trials within the budget, measures them at their rungs, and prunes or finishes them.

Trial n begins when the trials up to n - `ahead` are finished, and knows of these alone. So its suggestion, its
incumbent and whether it is pruned follow from the study. They do not depend on the number of workers, on their speed,
or on when the search was stopped. Everything is in the store, so the same command goes on where the last one ended.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import InputError, RunError, SamplingError
from harness.denoisers.own import check_own
from harness.execution.devices import call_shape, devices_for
from harness.execution.executors import Executor
from harness.execution.limits import Effort, Limits
from harness.execution.measurements import Measurement
from harness.execution.scheduler import Completed, Scheduler, stop_reason
from harness.execution.worker import ChunkFailure, failure_of
from harness.search.candidates import Candidate
from harness.search.optuna_bridge import Suggester
from harness.search.plan import SearchPlan
from harness.search.progress import Budget, Rows, best_of
from harness.search.pruner import against_incumbent, measure_rung, verdict
from harness.search.seed_blocks import SeedBlocks
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING, SUGGESTED, Studies


class SearchListener:
    """Told of a search's progress as it happens; does nothing itself. `rows` are the trials of the study by number."""

    def began(self, rows: Rows, budget: Budget) -> None:
        """The search begins; `rows` are the trials of earlier runs."""

    def settled(self, rows: Rows, number: int) -> None:
        """Trial `number` is done, pruned or failed."""

    def note(self, text: str) -> None:
        """Something that a person should know: who is waited for, or that stored work is done again."""


def run_search(
    search: SearchPlan,
    measurement: Measurement,
    store: Store,
    budget: Budget,
    device: str | None = None,
    batch: int | None = None,
    listener: SearchListener | None = None,
    executor: str | type[Executor] = "processes",
    retry_failed: bool = False,
    limits: Limits | None = None,
) -> dict[int, dict[str, Any]]:
    """Begin and finish trials until the budget is spent, or the next chunks would pass a limit of the command.

    Args:
        search: the study's plan; the study is in the store.
        measurement: the objective on the search's seeds, with its reference.
        store: the store that holds the study.
        budget: limits over all runs of the study.
        device, batch, executor: as for a run.
        listener: told of progress.
        retry_failed: compute chunks again that failed.
        limits: of the command; trials under way stay so where they stop it. None for no limits.

    Returns:
        The study's trials by number.

    Raises:
        InputError: an own network that keeps no promise of denoisers.
        RunError: the disk is full, the store cannot be written, or the machine fails otherwise.
    """
    first = devices_for(device)[0]
    check_own(search.builder.source, first, search.spec["dtype"], search.builder.conditions)
    most = CPU_ROWS if first == "cpu" else call_shape(measurement.samples, first, None)
    rows = max(min(search.rungs[0], most) // search.block, 1) * search.block
    blocks = SeedBlocks(store, measurement, batch or rows, search.rungs)
    scheduler, listener = Scheduler(store, device, executor, retry_failed, limits), listener or SearchListener()
    scheduler.on_note = listener.note
    algebra = first if measurement.is_wide else "cpu"
    try:
        return _Run(search, measurement, store, budget, blocks, scheduler, listener, algebra).run()
    except (OSError, SQLAlchemyError) as error:
        raise RunError(f"{stop_reason(error)}; mend that and give the same command to go on") from error
    finally:
        scheduler.close()


FREE = 100
"""Repeats and failures in a row after which a search with a budget of evaluations alone ends."""

OUTCOME = ("status", "rungs", "value", "reason", "step", "rival")
"""Columns that a duplicate takes from the trial that it repeats."""

CPU_ROWS = 128
"""Most rows per network call on a CPU, in whole blocks."""


class _Run:
    """The state of one search in one process."""

    def __init__(
        self,
        search: SearchPlan,
        measurement: Measurement,
        store: Store,
        budget: Budget,
        blocks: SeedBlocks,
        scheduler: Scheduler,
        listener: SearchListener,
        device: str,
    ) -> None:
        self.search, self.measurement, self.store, self.budget = search, measurement, store, budget
        self.blocks, self.scheduler, self.listener, self.device = blocks, scheduler, listener, device
        self.studies, self.suggester = Studies(store), Suggester(search)
        self.rows: dict[int, dict[str, Any]] = {}
        self.candidates: dict[int, Candidate | None] = {}
        self.identities: dict[str, int] = {}
        self.wanted: set[int] = set()
        self.ready: list[int] = []
        self.ahead = int(search.spec["ahead"])

    def run(self) -> dict[int, dict[str, Any]]:
        for row in self.studies.slots(self.search.name):
            self._take(row)
        self.listener.began(self.rows, self.budget)
        while True:
            self._advance()
            completed: Iterable[Completed]
            if self.ready:
                completed, self.ready = [Completed(number) for number in self.ready], []
            elif self.scheduler.is_stopped:
                return self.rows
            elif not self.scheduler.is_idle:
                completed = self.scheduler.step()
            elif any(row["status"] == RUNNING for row in self.rows.values()) or self._may_begin(len(self.rows)):
                continue
            else:
                return self.rows
            for number, failure, _ in completed:
                self.wanted.discard(number)
                if failure is None:
                    self._measure(number)
                elif failure.is_transient:  # later trials would be chosen by what says nothing of this one
                    raise RunError(
                        f"trial no. {number}: {failure.reason}; mend that and give the same command to go on"
                    )
                else:
                    self._fail(number, failure)

    # Beginning --------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Finish duplicates, begin trials that may begin, and ask for the next seeds of those that run."""
        changed = True
        while changed:
            changed = self._finish_duplicates()
            while self._may_begin(len(self.rows)):
                self._begin(len(self.rows))
                changed = True
        for number, row in self.rows.items():
            if row["status"] == RUNNING and row["twin"] is None and number not in self.wanted:
                candidate = self.candidates[number]
                assert candidate is not None
                self.wanted.add(number)
                effort = Effort(
                    self.search.name, self.measurement.metric.evaluations(candidate.trial.sampler, candidate.nfe)
                )
                rung = self.search.rungs[len(row["rungs"] or [])]
                jobs = self.blocks.lacking(number, candidate.trial, rung, effort)
                if self.blocks.lost:
                    self.listener.note(self.store.lost_files(self.blocks.lost))
                for job in jobs:
                    self.scheduler.add(job)
                if not jobs:
                    self.ready.append(number)

    def _may_begin(self, number: int) -> bool:
        """Whether the budget allows trial `number`, and the trials that it may know are finished."""
        if self.budget.trials is not None and number >= self.budget.trials:
            return False
        if self.search.points is not None and number >= len(self.search.enqueued) + len(self.search.points):
            return False
        if not self._finished(number - self.ahead):
            return False
        if self.budget.trials is None and self._is_exhausted(number - self.ahead):
            return False
        limit = self.budget.evaluations
        if limit is None:
            return True
        full = self.search.nfe * self.measurement.samples
        if self._spent(number - self.ahead) + min(number + 1, self.ahead) * full <= limit:
            return True
        return self._finished(number - 1) and self._spent(number - 1) + full <= limit

    def _finished(self, last: int) -> bool:
        return all(self.rows[number]["status"] != RUNNING for number in range(last + 1))

    def _is_exhausted(self, last: int) -> bool:
        """Whether the latest trials up to `last` cost nothing, so that a budget of evaluations would never be spent."""
        latest = [self.rows[number] for number in range(max(last + 1 - FREE, 0), last + 1)]
        return len(latest) == FREE and all(row["twin"] is not None or row["status"] == FAILED for row in latest)

    def _spent(self, last: int) -> int:
        return sum(self.rows[number]["evaluations"] for number in range(last + 1))

    def _begin(self, number: int) -> None:
        is_enqueued = number < len(self.search.enqueued)
        candidate: Candidate | None
        if is_enqueued:
            setting, candidate, point = self.search.enqueued[number]
            origin, reason = setting.name, None
        else:
            origin, point = SUGGESTED, self.suggester.ask(self.rows, number)
            try:
                candidate, reason = self.search.candidate(point), None
            except InputError as error:
                candidate, reason = None, str(error)
        outside = point is None or (is_enqueued and self.search.points is not None)  # a grid's points have numbers
        values: dict[str, Any] = {
            "origin": origin,
            "params": None if outside or point is None else point.coordinates,
            "settings": None if point is None else point.settings,
            "rungs": [],
        }
        if candidate is None:
            values |= {"status": FAILED, "reason": reason, "nfe": None}
        else:
            values |= {
                "status": RUNNING,
                "trial": candidate.trial.model_dump(mode="json"),
                "fingerprint": candidate.trial.fingerprint,
                "nfe": candidate.nfe,
                "twin": self.identities.get(candidate.identity),
                "rival": best_of(self._known(number, candidate.nfe), self.search.objective.better),
                "held": self.blocks.cached_seeds(candidate.trial),
            }
        self._take(self.studies.begin(self.search.name, number, values), candidate)
        if is_enqueued:
            self.suggester.enqueue(self.rows, number)
        if candidate is None:
            self.listener.settled(self.rows, number)

    def _take(self, row: dict[str, Any], candidate: Candidate | None = None) -> None:
        """Take in a row that this or another process wrote."""
        number = row["number"]
        self.rows[number] = row
        if row["trial"] is not None:
            if candidate is None or candidate.trial.fingerprint != row["fingerprint"]:
                candidate = self.search.builder.read(row["trial"], row["nfe"])
            self.identities.setdefault(candidate.identity, number)
        self.candidates[number] = candidate

    # Measuring --------------------------------------------------------------------------------------------------------

    def _measure(self, number: int) -> None:
        """Measure a trial at a rung whose seeds are computed, and prune it, go on or finish it."""
        row, candidate = self.rows[number], self.candidates[number]
        assert candidate is not None
        n = self.search.rungs[len(row["rungs"] or [])]
        chunks = self.blocks.load(candidate.trial, n)
        try:
            shape = self.search.builder.description.shape
            rung, values = measure_rung(self.measurement, chunks, self.device, shape)
        except SamplingError as error:
            self._fail(number, failure_of(error))
            return
        better = self.search.objective.better
        rung = against_incumbent(rung, None if row["rival"] is None else self.rows[row["rival"]])
        known = self._known(number, row["nfe"])
        is_last = n == self.search.rungs[-1]
        reason = None if is_last else verdict(self.search.spec["pruner"], rung, row["rival"], better, known)
        changes: dict[str, Any] = {
            "rungs": [*(row["rungs"] or []), rung._asdict()],
            "value": rung.value,
            "evaluations": max(0, n - row["held"]) * row["nfe"],
            "status": DONE if is_last else PRUNED if reason else RUNNING,
            "reason": reason,
        }
        if is_last:
            infos = [dict(chunk.info) for chunk in chunks]
            self.store.put_result(self.measurement.row(candidate.trial, {"status": "done", **values}, infos))
        self._change(number, changes)

    def _fail(self, number: int, failure: ChunkFailure) -> None:
        row = self.rows[number]
        n = row["rungs"][-1]["n"] if row["rungs"] else 0
        spent = max(0, n - row["held"]) * row["nfe"]
        self._change(number, {"status": FAILED, "reason": failure.reason, "step": failure.step, "evaluations": spent})

    def _finish_duplicates(self) -> bool:
        """Give duplicates of finished trials the same outcome; whether there was one."""
        numbers = [
            number
            for number, row in self.rows.items()
            if row["status"] == RUNNING and row["twin"] is not None and self.rows[row["twin"]]["status"] != RUNNING
        ]
        for number in numbers:
            first = self.rows[self.rows[number]["twin"]]
            self._change(number, {key: first[key] for key in OUTCOME})
        return bool(numbers)

    def _known(self, number: int, nfe: int) -> list[dict[str, Any]]:
        """The trials that trial `number` may be compared with; with two objectives, those of at most its NFE."""
        known = [row for row in self.rows.values() if row["number"] <= number - self.ahead and row["nfe"] is not None]
        return [row for row in known if row["nfe"] <= nfe] if self.search.is_pareto else known

    def _change(self, number: int, changes: dict[str, Any]) -> None:
        """Write the changes of a running trial, unless another process has finished it, and read its row again."""
        name = self.search.name
        self.studies.settle(name, number, changes)
        row = self.studies.slot(name, number)
        assert row is not None
        self.rows[number] = row
        if row["status"] != RUNNING:
            self.listener.settled(self.rows, number)
