"""A study is killed between any two writes to the database, again and again, with workers that end in any order.

Within one process: a life ends at a commit that is never made, and nothing is written after it, as after kill -9.
"""

import random
import warnings
from concurrent.futures import Future

import pytest
import sqlalchemy as sa

from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.search.plan import METHODS, SearchRequest, plan_search
from harness.search.progress import Budget
from harness.search.study import run_study
from harness.store.database import Store
from harness.store.leases import Owner
from harness.store.studies import Studies
from tests.search import runs


class Killed(BaseException):
    """What ends a life."""


class Death:
    """Counts commits, of ours and of Optuna's, and ends the life at one of them."""

    def __init__(self):
        self.commits, self.last = 0, None

    def set(self, last):
        self.commits, self.last = 0, last

    @property
    def is_dead(self):
        return self.last is not None and self.commits >= self.last

    def commit(self, connection):
        if not self.is_dead:
            self.commits += 1
        if self.is_dead:
            raise Killed

    def execute(self, *_):
        if self.is_dead:
            raise Killed


class Workers(InlineExecutor):
    """As many as a test says, which end in random order; and it is noted what was computed."""

    count, draw, computed, calls = 1, random.Random(0), None, None

    def __init__(self, devices):
        super().__init__(devices)
        type(self).calls = {}

    @property
    def slots(self):
        return self.count

    def submit(self, fn, /, *args):
        future = Future()
        self.calls[future] = (fn, args)
        return future

    @classmethod
    def wait(cls, futures, timeout, return_when):
        """In the place of `concurrent.futures.wait`: one of them is computed now."""
        future = cls.draw.choice(list(futures))
        fn, args = cls.calls.pop(future)
        cls.computed += args[0]
        future.set_result(fn(*args, device="cpu"))


def _in_haste(connection, _):
    """These lives end within the program, not with the machine: nothing need be flushed to the disk."""
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def death(monkeypatch):
    found = Death()
    sa.event.listen(sa.Engine, "connect", _in_haste)
    sa.event.listen(sa.Engine, "commit", found.commit)
    sa.event.listen(sa.Engine, "before_cursor_execute", found.execute)
    monkeypatch.setitem(EXECUTORS, "processes", Workers)
    monkeypatch.setattr("harness.execution.scheduler.wait", Workers.wait)
    monkeypatch.setattr("os.fsync", lambda file: None)
    yield found
    sa.event.remove(sa.Engine, "connect", _in_haste)
    sa.event.remove(sa.Engine, "commit", found.commit)
    sa.event.remove(sa.Engine, "before_cursor_execute", found.execute)


@pytest.fixture
def live(death, monkeypatch):
    """One life of a study: until it is over, or until a commit."""
    lives = iter(range(1_000_000))

    def run(search, path, budget, until=None, workers=1, seed=0):
        Workers.count, Workers.draw, Workers.computed = workers, random.Random(seed), []
        owner = Owner.this()._replace(started=f"life {next(lives)}")
        monkeypatch.setattr("harness.store.database.Owner.this", lambda: owner)
        store = Store(str(path))
        death.set(until)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                return run_study(search, store, budget, "cpu")
        except Killed:
            return None
        finally:
            death.set(None)
            store.engine.dispose()

    return run


def plan(tmp_path, **asked):
    asked = {"denoiser": "ideal", "samples": 20, "rungs": (4, 10, 20), "ahead": 3, "top": 2, "study": "little"} | asked
    if asked.get("pruner") == "none":
        del asked["rungs"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plan_search(SearchRequest(target=str(runs.write_target(tmp_path)), **asked))


EACH_TIME = ("tpe",)
"""Methods that are tested each time; the others are soak tests."""

CASES = [
    pytest.param({"method": method}, id=method, marks=[] if method in EACH_TIME else [pytest.mark.slow])
    for method in METHODS
] + [
    pytest.param({"pareto": True, "method": "nsga2", "nfe": 15}, id="pareto", marks=pytest.mark.slow),
    pytest.param({"pruner": "halving", "ahead": 1}, id="halving", marks=pytest.mark.slow),
    pytest.param({"pruner": "none", "ahead": 5}, id="no pruning", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("asked", CASES)
def test_lives_end_anywhere(live, death, tmp_path, asked):
    """Whatever the kills, the workers and their order: one outcome, and nothing that was stored is computed again."""
    trials = 24 if asked.get("method") == "nsga2" else 10
    budget = Budget(trials)
    search = plan(tmp_path, **asked)
    whole, killed = tmp_path / "whole.sqlite", tmp_path / "killed" / "s.sqlite"
    death.commits = 0
    outcome = live(search, whole, budget, until=10**9)
    assert len(outcome.rows) == trials
    draw = random.Random(str(asked))
    stored, deaths, commits = {}, 0, 50
    while True:
        outcome = live(search, killed, budget, draw.randrange(1, commits), draw.choice([1, 2, 5]), draw.random())
        with Store(str(killed)) as store:
            now = {row["key"]: row["info"]["seconds"] for row in store.all_chunks() if row["status"] == "done"}
            assert stored.items() <= now.items()
        stored = now
        if outcome is not None:
            break
        deaths += 1
        commits += 25
    assert deaths >= 4
    with Store(str(whole)) as one, Store(str(killed)) as other:
        runs.check(one, trials)
        runs.check(other, trials)
        runs.same(other, one)
        assert runs.chunks(one).keys() == runs.chunks(other).keys()
    assert live(search, killed, budget).holdout.chunks == 0 and Workers.computed == []
    with Store(str(killed)) as store:
        runs.check(store, trials)
        assert Studies(store).find("little")["budget"] == {"trials": trials, "evaluations": None}


def test_a_budget_is_a_total(live, tmp_path):
    """A larger one goes on with the same study, as if it had been asked for at once; a smaller one runs nothing."""
    search, path, whole = plan(tmp_path), tmp_path / "s.sqlite", tmp_path / "whole.sqlite"
    first = live(search, path, Budget(5))
    assert len(first.rows) == 5 and not first.note
    spent = first.evaluations
    assert live(search, path, Budget(5)).evaluations == spent and Workers.computed == []
    smaller = live(search, path, Budget(3))
    assert smaller.note == "the budget of 3 trials is below the 5 that this study has begun; nothing was run"
    assert smaller.holdout is None and Workers.computed == []
    by_cost = live(search, path, Budget(None, spent - 1))
    assert "evaluations is below the" in by_cost.note and "nothing was run" in by_cost.note
    larger = live(search, path, Budget(9), workers=3)
    assert len(larger.rows) == 9 and not larger.note
    live(search, whole, Budget(9))
    with Store(str(path)) as store, Store(str(whole)) as other:
        assert Studies(store).find("little")["budget"] == {"trials": 9, "evaluations": None}
        runs.check(store, 9)
        runs.same(store, other)


def test_a_budget_of_evaluations_is_never_overrun(live, tmp_path):
    search, path, whole = plan(tmp_path), tmp_path / "s.sqlite", tmp_path / "whole.sqlite"
    limit = 8 * search.nfe * search.samples // 2
    with Store(str(whole)):
        live(search, whole, Budget(None, limit))
    for until in (60, 90):
        live(search, path, Budget(None, limit), until, workers=5)
    found = live(search, path, Budget(None, limit), workers=2)
    assert 0 < found.evaluations <= limit
    with Store(str(path)) as store, Store(str(whole)) as other:
        runs.check(store, len(found.rows))
        runs.same(store, other)


def test_a_seed_has_the_same_row_whatever_is_stored(live, death, tmp_path):
    """Killed between the blocks of one network call: the rest is computed with all rows where they were."""
    search, path = plan(tmp_path, pruner="none"), tmp_path / "s.sqlite"
    live(search, tmp_path / "whole.sqlite", Budget(2))
    calls = {tuple((span.first, span.last) for span in task.seeds) for task in Workers.computed}
    rows = {(seed, seed - spans[0][0]) for spans in calls for first, last in spans for seed in range(first, last + 1)}
    for until in range(20, 60, 8):
        if live(search, path, Budget(2), until) is not None:
            break
        for task in Workers.computed:
            seeds = [seed for span in task.seeds for seed in range(span.first, span.last + 1)]
            assert {(seed, row) for row, seed in enumerate(seeds)} <= rows
