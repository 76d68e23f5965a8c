"""Real processes: a search killed with kill -9, its worker killed, Ctrl-C, two searches over one store."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from harness.store.database import Store
from harness.store.studies import RUNNING, Studies
from tests.search import runs

BUDGET = 10
FRESH = 1_000_000


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return runs.write_target(tmp_path_factory.mktemp("target"))


@pytest.fixture
def begin(target, tmp_path):
    """Starts `harness search`; whatever still runs when the test ends is killed."""
    started = []

    def run(store, *more, cpu=0):
        arguments = runs.command(target, store, "--budget", BUDGET, *more, cpu=cpu)
        started.append(runs.start(arguments, tmp_path / "log"))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def whole(target, tmp_path_factory):
    """The study in this process, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    runs.inline(runs.command(target, folder / "s.sqlite", "--budget", BUDGET))
    with Store(str(folder / "s.sqlite")) as store:
        runs.check(store, BUDGET)
        yield store


def stored(path):
    """Seconds of the finished chunks by key, how many of them are of fresh seeds, and how many slots are settled."""
    if not Path(path).exists():
        return {}, 0, 0
    with Store(str(path)) as store:
        rows = [row for row in store.all_chunks() if row["status"] == "done"]
        settled = sum(row["status"] != RUNNING for row in Studies(store).slots("little"))
    return (
        {row["key"]: row["info"]["seconds"] for row in rows},
        sum(row["first_seed"] >= FRESH for row in rows),
        settled,
    )


def wait_until(process, path, ready):
    """Until what is stored is as wanted; the process must still be running then."""
    deadline = time.monotonic() + 200
    while not ready(*stored(path)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def workers(process):
    """Its worker processes: the children that are no helpers of Python's own."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
            words = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent == process.pid and "spawn_main" in words:
            found.append(int(status.parent.name))
    return found


@pytest.mark.slow  # lives that end anywhere are tested each time, in test_lives; a kill -9 of a run in tests/execution
def test_kill_9_three_times_and_a_worker_once(begin, whole, tmp_path):
    """In the search twice, once while the best are measured on fresh seeds: the same study as one never stopped."""
    draw, path = random.Random(20220601), tmp_path / "s.sqlite"
    before = {}

    def die(ready):
        nonlocal before
        process = begin(path)
        wait_until(process, path, ready)
        process.kill()
        process.communicate()
        now, _, _ = stored(path)
        assert before.items() <= now.items()
        before = now

    first, second = draw.randrange(3, 40), draw.randrange(3, 8)
    die(lambda chunks, fresh, settled: len(chunks) >= first)
    die(lambda chunks, fresh, settled: settled >= second)
    process = begin(path)
    wait_until(process, path, lambda chunks, fresh, settled: len(chunks) > len(before))
    victims = workers(process)
    assert len(victims) == 1
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_until(process, path, lambda chunks, fresh, settled: fresh >= 1)
    process.kill()
    process.communicate()
    before, _, _ = stored(path)
    runs.finish(begin(path))
    after, _, _ = stored(path)
    assert before.items() <= after.items()
    computed = runs.log_of(tmp_path / "log")
    with Store(str(path)) as store:
        runs.check(store, BUDGET)
        runs.same(store, whole)
        assert computed <= runs.chunks(store).keys() == runs.chunks(whole).keys()


@pytest.mark.parametrize("kills", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_9_then_ctrl_c_and_then_two_processes(begin, whole, tmp_path, kills):
    """What was stored before a kill stays; Ctrl-C leaves nothing half done; two processes then go on together, and
    nothing is computed twice."""
    path = tmp_path / "s.sqlite"
    for _ in range(kills):
        process = begin(path)
        wait_until(process, path, lambda chunks, fresh, settled: len(chunks) >= 3)
        process.kill()
        process.communicate()
    before, _, _ = stored(path)
    process = begin(path, cpu=None)
    wait_until(process, path, lambda chunks, fresh, settled: settled >= 1)
    process.send_signal(signal.SIGINT)
    _, err = runs.finish(process, code=130)
    assert "interrupted; what was finished is stored" in err and "Traceback" not in err
    with Store(str(path)) as store:
        assert {row["status"] for row in store.all_chunks()} == {"done"}  # no claim is left behind
    both = [begin(path, cpu=0), begin(path, cpu=1)]
    said = [runs.finish(process)[0] for process in both]
    assert all(f"little: {BUDGET}/{BUDGET} trials" in out for out in said)
    after, _, _ = stored(path)
    assert before.items() <= after.items()
    computed = runs.log_of(tmp_path / "log")
    with Store(str(path)) as store:
        runs.check(store, BUDGET)
        runs.same(store, whole)
        assert computed <= runs.chunks(store).keys() == runs.chunks(whole).keys()


@pytest.mark.slow  # two processes on PostgreSQL, and two that go on with a study in SQLite, are tested each time
def test_two_processes_begin_a_study_together(begin, whole, tmp_path):
    path = tmp_path / "s.sqlite"
    for process in [begin(path, cpu=0), begin(path, cpu=1)]:
        runs.finish(process)
    with Store(str(path)) as store:
        runs.check(store, BUDGET)
        runs.same(store, whole)
        assert len({row["owner"] for row in store.all_chunks()}) == 2  # both had a part in it
        assert runs.log_of(tmp_path / "log") == runs.chunks(store).keys() == runs.chunks(whole).keys()
