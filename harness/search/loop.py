"""The search itself: begin trials while the budget lasts, give each the seeds that it earns, settle it, remember it.

Trial n begins when trials up to n - `ahead` are settled, and knows of those alone: what is suggested, what it is
compared with and whether it is pruned follow from the study, not from the speed of workers, their number, or when they
were stopped. Everything is in the store, so the same command goes on where the last one ended.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import InputError, RunError, SamplingError
from harness.execution.devices import call_shape, devices_for
from harness.execution.executors import Executor
from harness.execution.measurements import Measurement
from harness.execution.scheduler import Completed, Scheduler, unwritable
from harness.execution.worker import ChunkFailure, failure_of
from harness.search.candidates import Candidate
from harness.search.optuna_bridge import Suggester
from harness.search.plan import SearchPlan
from harness.search.pruner import against_incumbent, best_of, measure_rung, verdict
from harness.search.seed_blocks import SeedBlocks
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING, SUGGESTED, Studies


class Budget(NamedTuple):
    """What a study may cost in all, over all its runs: trials begun, and network evaluations; None for no limit."""

    trials: int | None
    evaluations: int | None = None


class SearchListener:
    """Told of a search's progress as it happens; says nothing itself."""

    def began(self, rows: Mapping[int, Mapping[str, Any]], budget: Budget) -> None:
        """The trials there are at the start."""

    def settled(self, rows: Mapping[int, Mapping[str, Any]], number: int) -> None:
        """A trial is done, pruned or failed."""


def run_search(
    search: SearchPlan,
    measurement: Measurement,
    store: Store,
    budget: Budget,
    device: str | None = None,
    batch: int | None = None,
    listener: SearchListener | None = None,
    executor: str | type[Executor] = "processes",
) -> dict[int, dict[str, Any]]:
    """Begin and settle trials until the budget is spent.

    Args:
        search: what is searched; its study is in the store.
        measurement: the objective on the search's seeds, with its reference.
        store: where everything is.
        budget: in all.
        device, batch, executor: as for a run.
        listener: told of progress.

    Returns:
        The study's trials by number.

    Raises:
        RunError: the disk is full, or the store cannot be written.
    """
    first = devices_for(device)[0]
    most = CPU_ROWS if first == "cpu" else call_shape(measurement.samples, first, None)
    rows = max(min(search.rungs[0], most) // search.block, 1) * search.block
    blocks = SeedBlocks(store, measurement, batch or rows, search.rungs)
    scheduler = Scheduler(store, device, executor)
    algebra = first if measurement.is_wide else "cpu"
    try:
        return _Run(search, measurement, store, budget, blocks, scheduler, listener or SearchListener(), algebra).run()
    except (OSError, SQLAlchemyError) as error:
        raise RunError(f"{unwritable(error)}; mend that and give the same command to go on") from error
    finally:
        scheduler.close()


FREE = 100
"""Repeats and failures in a row after which a search with a budget of evaluations alone has nothing more to find."""

CPU_ROWS = 128
"""Rows per network call on a CPU, at most, in whole blocks."""


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
        self.settings: dict[int, Candidate | None] = {}
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
                else:
                    self._fail(number, failure)

    # Beginning --------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin what may begin; want the next seeds of what runs; settle what only repeats another."""
        changed = True
        while changed:
            changed = self._settle_twins()
            while self._may_begin(len(self.rows)):
                self._begin(len(self.rows))
                changed = True
        for number, row in self.rows.items():
            if row["status"] == RUNNING and row["twin"] is None and number not in self.wanted:
                setting = self.settings[number]
                assert setting is not None
                self.wanted.add(number)
                jobs = self.blocks.lacking(number, setting.trial, self.search.rungs[len(row["rungs"] or [])])
                for job in jobs:
                    self.scheduler.add(job)
                if not jobs:
                    self.ready.append(number)

    def _may_begin(self, number: int) -> bool:
        """Whether the budget allows trial `number`, and all that it may know of is settled."""
        if self.budget.trials is not None and number >= self.budget.trials:
            return False
        if self.search.points is not None and number >= len(self.search.enqueued) + len(self.search.points):
            return False
        if not self._settled(number - self.ahead):
            return False
        if self.budget.trials is None and self._is_exhausted(number - self.ahead):
            return False
        limit = self.budget.evaluations
        if limit is None:
            return True
        full = self.search.nfe * self.measurement.samples
        if self._spent(number - self.ahead) + min(number + 1, self.ahead) * full <= limit:
            return True
        return self._settled(number - 1) and self._spent(number - 1) + full <= limit

    def _settled(self, last: int) -> bool:
        return all(self.rows[number]["status"] != RUNNING for number in range(last + 1))

    def _is_exhausted(self, last: int) -> bool:
        """Whether trials up to one have cost nothing for long, so that a budget of evaluations would never be spent."""
        some = [self.rows[number] for number in range(max(last + 1 - FREE, 0), last + 1)]
        return len(some) == FREE and all(row["twin"] is not None or row["status"] == FAILED for row in some)

    def _spent(self, last: int) -> int:
        return sum(self.rows[number]["evaluations"] for number in range(last + 1))

    def _begin(self, number: int) -> None:
        starts = self.search.enqueued
        setting: Candidate | None
        if number < len(starts):
            start = starts[number]
            point, setting, reason = start.point, start.candidate, None
            values: dict[str, Any] = {"origin": start.setting.name}
        else:
            values = {"origin": SUGGESTED}
            point = self.suggester.ask(self.rows, number)
            setting, reason = self._make(point)
        grid = self.search.points is not None and number < len(starts)
        values["params"] = None if point is None or grid else point.coordinates
        values["settings"] = None if point is None else point.settings
        values["rungs"] = []
        if setting is None:
            values |= {"status": FAILED, "reason": reason, "nfe": None}
        else:
            values |= {
                "status": RUNNING,
                "trial": setting.trial.model_dump(mode="json"),
                "fingerprint": setting.trial.fingerprint,
                "nfe": setting.nfe,
                "twin": self.identities.get(setting.identity),
                "rival": best_of(self._known(number, setting.nfe), self.search.objective.better),
                "held": self.blocks.cached_seeds(setting.trial),
            }
        self._take(self.studies.begin(self.search.name, number, values), setting)
        if number < len(starts):
            self.suggester.enqueue(self.rows, number)
        if setting is None:
            self.listener.settled(self.rows, number)

    def _make(self, point: Any) -> tuple[Candidate | None, str | None]:
        try:
            return self.search.candidate(point), None
        except InputError as error:
            return None, str(error)

    def _take(self, row: dict[str, Any], setting: Candidate | None = None) -> None:
        """Take a row into account that this or another process wrote."""
        number = row["number"]
        self.rows[number] = row
        if row["trial"] is not None:
            if setting is None or setting.trial.fingerprint != row["fingerprint"]:
                setting = self.search.builder.read(row["trial"], row["nfe"])
            self.identities.setdefault(setting.identity, number)
        self.settings[number] = setting

    # Settling ---------------------------------------------------------------------------------------------------------

    def _measure(self, number: int) -> None:
        """A rung's seeds are there: measure, compare, and prune, go on or finish."""
        row, setting = self.rows[number], self.settings[number]
        assert setting is not None
        n = self.search.rungs[len(row["rungs"] or [])]
        pieces = self.blocks.load(setting.trial, n)
        try:
            rung, values = measure_rung(self.measurement, pieces, self.device)
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
            infos = [dict(piece.info) for piece in pieces]
            self.store.put_result(self.measurement.row(setting.trial, {"status": "done", **values}, infos))
        self._change(number, changes)

    def _fail(self, number: int, failure: ChunkFailure) -> None:
        row = self.rows[number]
        n = row["rungs"][-1]["n"] if row["rungs"] else 0
        spent = max(0, n - row["held"]) * row["nfe"]
        self._change(number, {"status": FAILED, "reason": failure.reason, "step": failure.step, "evaluations": spent})

    def _settle_twins(self) -> bool:
        """Trials that repeat another get what it got, once that is settled."""
        found = [
            number
            for number, row in self.rows.items()
            if row["status"] == RUNNING and row["twin"] is not None and self.rows[row["twin"]]["status"] != RUNNING
        ]
        for number in found:
            first = self.rows[self.rows[number]["twin"]]
            same = {key: first[key] for key in ("status", "rungs", "value", "reason", "step", "rival")}
            self._change(number, same)
        return bool(found)

    def _known(self, number: int, nfe: int) -> list[dict[str, Any]]:
        """The trials that one may be compared with: settled when it began, and with two objectives no dearer."""
        known = [row for row in self.rows.values() if row["number"] <= number - self.ahead and row["nfe"] is not None]
        return [row for row in known if row["nfe"] <= nfe] if self.search.is_pareto else known

    def _change(self, number: int, changes: dict[str, Any]) -> None:
        """Write what became of a trial, or see what another process wrote."""
        name = self.search.name
        self.studies.settle(name, number, changes)
        row = self.studies.slot(name, number)
        assert row is not None
        self.rows[number] = row
        if row["status"] != RUNNING:
            self.listener.settled(self.rows, number)
