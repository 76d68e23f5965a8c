"""Real processes: kill -9 and go on, Ctrl-C, two runs over one store, a worker that dies."""

import contextlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from harness.core.errors import InputError, RunError
from harness.execution.devices import devices_for
from harness.execution.executors.processes import ProcessExecutor
from harness.execution.run import run
from harness.experiments.plan import plan
from harness.store.database import Store

GRID = """
title: Enough chunks to be interrupted in
samples: 30
chunk: 3
steps: [12, 24, 36]
denoisers:
  ideal:
series:
  - name: euler
    sampler: {solver: euler}
  - name: heun
"""
CHUNKS = 2 * 3 * 10


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def _hear_ctrl_c():
    """Shells start background jobs with SIGINT ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(grid):
    """Starts `harness run` on the grid and a store; whatever still runs when the test ends is killed."""
    started = []

    def run(store):
        command = [
            sys.executable,
            "-m",
            "harness.cli",
            "run",
            str(grid),
            "--store",
            str(store),
            "--device",
            "cpu",
            "--batch",
            "3",
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, preexec_fn=_hear_ctrl_c, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def finish(process, code=0):
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    return out, err


def chunks_of(out):
    return int(re.search(r"; (\d+) chunks", out).group(1))


def count_done(path):
    """Finished chunks, 0 while there is no store, by a query that costs little: a test asks twenty times a second."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'harness_chunks'").fetchone():
            return 0
        return connection.execute("SELECT count(*) FROM harness_chunks WHERE status = 'done'").fetchone()[0]


def done_rows(path):
    if not path.exists():
        return {}
    with Store(str(path)) as store:
        names = store.grid_names()
        rows = store.chunks(store.grid(names[0])["metrics"][0]["extractor"]) if names else []
    return {row["key"]: row["info"]["seconds"] for row in rows if row["status"] == "done"}


def wait_for(path, count, process):
    """Until the store has that many chunks; the process must still be running then."""
    deadline = time.monotonic() + 240
    while count_done(path) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def values(path):
    with Store(str(path)) as store:
        return {row["fingerprint"]: row["value"] for row in store.results()}


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_kill_9(start, grid, tmp_path, kills):
    """The same values as an uninterrupted run, and what was stored is never computed again."""
    draw = random.Random(20220601)
    killed, whole = tmp_path / "killed" / "s.sqlite", tmp_path / "whole" / "s.sqlite"
    targets = sorted(draw.sample(range(1, CHUNKS - 10), kills))
    stored = {}
    for target in targets:
        process = start(killed)
        wait_for(killed, max(target, len(stored) + 1), process)
        process.kill()
        process.communicate()
        now = done_rows(killed)
        assert stored.items() <= now.items()
        stored = now
    out, _ = finish(start(killed))
    assert stored.items() <= done_rows(killed).items()
    assert chunks_of(out) == CHUNKS - len(stored)
    with Store(str(whole)) as store:
        assert run(plan(grid), store, "cpu", batch=3, executor="inline").chunks == CHUNKS
    expected = values(whole)
    assert len(expected) == 6
    for key, value in values(killed).items():
        assert value == pytest.approx(expected[key], rel=1e-9)


def test_ctrl_c_keeps_what_is_stored(start, tmp_path):
    path = tmp_path / "s.sqlite"
    process = start(path)
    wait_for(path, 3, process)
    process.send_signal(signal.SIGINT)
    _, err = finish(process, code=130)
    assert "interrupted; what was finished is stored" in err
    assert "Traceback" not in err
    with Store(str(path)) as store:
        rows = store.chunks(store.grid("grid")["metrics"][0]["extractor"])
    assert len(rows) >= 3
    assert {row["status"] for row in rows} == {"done"}  # no claim is left behind


def test_two_runs_share_a_store(start, tmp_path):
    path = tmp_path / "s.sqlite"
    first, second = start(path), start(path)
    total = sum(chunks_of(finish(process)[0]) for process in (first, second))
    assert total == CHUNKS
    assert len(values(path)) == 6
    assert None not in values(path).values()


def pid(*, device):
    return os.getpid()


def refuse(*, device):
    raise ValueError("not a task")


def sleep(seconds, *, device):
    time.sleep(seconds)


def test_a_worker_that_dies_twice_on_a_task_fails_it():
    executor = ProcessExecutor(["cpu"])
    try:
        future, killed = executor.submit(sleep, 300), set()
        while len(killed) < 2:
            for worker in list(executor._workers):
                if worker.process.pid not in killed:
                    os.kill(worker.process.pid, signal.SIGKILL)
                    killed.add(worker.process.pid)
            time.sleep(0.05)
        assert str(future.exception(60)) == (
            "the worker process died twice on these chunks (killed by signal 9); out of memory?"
        )
        assert isinstance(future.exception(), RunError)
        assert executor.slots == 1
        assert executor.submit(pid).result(60) not in killed  # the fresh worker is alive
        with pytest.raises(ValueError, match="not a task"):  # and says what is wrong
            executor.submit(refuse).result(60)
    finally:
        executor.shutdown()


def test_a_worker_that_dies_once_costs_nothing():
    executor = ProcessExecutor(["cpu"])
    try:
        first = executor.submit(pid).result(60)
        os.kill(first, signal.SIGKILL)
        assert executor.submit(pid).result(60) != first
    finally:
        executor.shutdown()


def test_shutdown_ends_what_runs():
    executor = ProcessExecutor(["cpu"])
    future = executor.submit(sleep, 300)
    started = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - started < 60
    assert isinstance(future.exception(1), RunError)


def test_devices():
    assert devices_for("cpu") == ["cpu"] * len(os.sched_getaffinity(0))
    with pytest.raises(InputError, match="no such device here; there is: cpu"):
        devices_for("cuda:99")
    with pytest.raises(InputError, match="--device tpu"):
        devices_for("tpu")
