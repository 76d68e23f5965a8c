"""Executors: what each one promises, which there are, and work that outlives the process that submitted it."""

import time
from concurrent import futures

import pytest

from harness.core.errors import InputError
from harness.core.plugins import Plugin, PluginWarning
from harness.execution import executors
from harness.execution.executors import EXECUTORS, Executor, find_executor, is_alive
from harness.execution.executors.inline import InlineExecutor
from harness.execution.gc import collect
from harness.execution.scheduler import Scheduler
from harness.store.database import Chunk, Store
from harness.store.leases import Owner

CHUNK = Chunk("f" * 64, 0, 3, "x")


def double(number, *, device):
    if number < 0:
        raise ValueError(f"{number} is below zero")
    return device, 2 * number


@pytest.fixture(params=list(EXECUTORS))
def executor(request):
    with EXECUTORS[request.param](["cpu"]) as opened:
        yield opened


class TestEveryExecutor:
    def test_is_one_of_concurrent_futures(self, executor):
        assert isinstance(executor, futures.Executor)
        assert executor.slots >= 1
        assert executor.submit(double, 4).result(60) == ("cpu", 8)

    def test_an_exception_is_the_futures(self, executor):
        with pytest.raises(ValueError, match="-1 is below zero"):
            executor.submit(double, -1).result(60)
        assert executor.submit(double, 1).result(60) == ("cpu", 2)


@pytest.mark.parametrize("name", ["processes", "inline"])
def test_work_of_this_machine_ends_with_this_process(name):
    with EXECUTORS[name](["cpu"]) as executor:
        assert executor.handle(executor.submit(double, 1)) is None
        assert not executor.alive("1")


def test_ctrl_c_goes_through_an_inline_task():
    def interrupted(*, device):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor(["cpu"]).submit(interrupted)


def test_inline_is_one_task_at_a_time():
    assert InlineExecutor(["cpu"] * 4).slots == 1


class Batch(InlineExecutor):
    """A batch system, of which jobs 1 and 2 are known to run."""

    def handle(self, future):
        return "1:a"

    @classmethod
    def alive(cls, handle):
        return handle in ("1:a", "2:b")


def test_names(monkeypatch):
    with pytest.raises(InputError, match=f"--executor nobody: no such executor; there is: {', '.join(EXECUTORS)}"):
        find_executor("nobody")
    found = [Plugin("harness.executors", name, value, "batchy", "1.0") for name, value in PLUGINS.items()]
    monkeypatch.setattr(executors, "load_plugins", lambda group: found)
    with pytest.warns(PluginWarning) as warned:
        assert find_executor("batch") is Batch
    assert [str(one.message) for one in warned] == [
        "package batchy 1.0: 'inline' of harness.executors has the name 'inline', which is built in; it is left out; "
        "update or remove the package",
        "package batchy 1.0: 'odd' of harness.executors is no subclass of harness.execution.executors.Executor; it is "
        "left out; update or remove the package",
    ]
    assert find_executor("inline") is InlineExecutor
    with pytest.warns(PluginWarning):
        assert is_alive("batch", "2:b") and not is_alive("batch", "3:c") and not is_alive("slurm", "1:a")


PLUGINS = {"batch": Batch, "inline": Batch, "odd": Owner}


class TestWorkThatOutlivesItsProcess:
    @pytest.fixture
    def store(self, tmp_path):
        with Store(str(tmp_path / "s.sqlite")) as opened:
            opened.is_alive = lambda name, handle: name == "batch" and Batch.alive(handle)
            yield opened

    def left_behind(self, store, handle):
        """A claim of a process of this host that is gone, whose lease is over."""
        other = Store(str(store.path))
        other.owner = Owner(store.owner.host, 2**22 + 1, "1")
        assert other.claim(CHUNK)
        other.hand_over([CHUNK], "batch", handle)
        other.release()

    def test_its_claim_stays_while_the_handle_is_alive(self, store, monkeypatch):
        self.left_behind(store, "1:a")
        later = time.time() + 10_000
        monkeypatch.setattr(time, "time", lambda: later)
        assert not store.claim(CHUNK)
        assert store.drop_claims(dry_run=True) == 0

    def test_and_lapses_when_the_handle_is_dead(self, store):
        self.left_behind(store, "3:c")
        assert store.drop_claims(dry_run=True) == 1
        assert store.claim(CHUNK)

    def test_its_chunk_is_taken_in_by_whoever_has_it(self, store):
        self.left_behind(store, "1:a")
        store.finish(CHUNK, {}, {"nfe": 1})
        assert [row["status"] for row in store.chunks("x")] == ["done"]

    def test_an_executor_that_is_unknown_here_has_no_work(self, store):
        self.left_behind(store, "1:a")
        assert collect(store).claims == 1


def test_the_scheduler_hands_claims_over(tmp_path, monkeypatch):
    from harness.execution import scheduler as module
    from harness.execution.scheduler import Job
    from harness.execution.seed_ranges import SeedRange
    from harness.execution.worker import ChunkTask

    class Slow(Batch):
        def submit(self, fn, /, *args):
            return futures.Future()

    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    with Store(str(tmp_path / "s.sqlite")) as store:
        scheduler = Scheduler(store, "cpu", Slow)
        scheduler.add(Job(CHUNK, ("key",), ChunkTask("", (), "", 4, False), SeedRange(0, 3)))
        assert list(scheduler.step()) == []
        scheduler.close()
        (row,) = store.chunks("x")
        assert (row["status"], row["owner"]) == ("claimed", "work:Slow:1:a")
    assert isinstance(scheduler.make_executor(["cpu"]), Executor)
