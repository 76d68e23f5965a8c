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

from harness.core.errors import InputError, MachineError, RunError
from harness.execution.devices import devices_for
from harness.execution.executors.processes import ProcessExecutor, _death
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
        assert str(future.exception(60)).startswith(
            "the worker process died twice on these chunks (killed by signal 9); out of memory? Take fewer rows"
        )
        assert isinstance(future.exception(), MachineError)
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


def fail_on_device(*, device):
    raise MachineError(f"CUDA error in {os.getpid()}")


def unreadable(*, device):
    raise FileNotFoundError(2, "No such file", "x.npz")


def test_what_a_task_or_its_process_may_do_wrong():
    executor = ProcessExecutor(["cpu"])
    try:
        first = executor.submit(pid).result(120)
        with pytest.raises(FileNotFoundError, match=r"x\.npz"):  # an error of the system is an answer, and no death
            executor.submit(unreadable).result(120)
        assert executor.submit(pid).result(120) == first
        with pytest.raises(MachineError, match=r"CUDA error in \d+") as failed:  # another process tried it again
            executor.submit(fail_on_device).result(120)
        assert str(first) not in str(failed.value)
    finally:
        executor.shutdown()


def test_only_a_kill_is_a_matter_of_memory():
    assert str(_death(3)) == "the worker process died twice on these chunks (exit code 3)"
    assert "memory" not in str(_death(-signal.SIGSEGV))
    assert "memory" in str(_death(-signal.SIGKILL))


STARTS_WORKERS = """
from harness.execution.executors.processes import ProcessExecutor
executor = ProcessExecutor(["cpu"])
try:
    executor.submit(print).result(100)
finally:
    executor.shutdown()
"""


def test_a_program_without_a_main_guard_is_told_so_once(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(STARTS_WORKERS)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert 'put the call under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_a_program_from_standard_input_is_told_so():
    done = subprocess.run([sys.executable], input=STARTS_WORKERS, capture_output=True, text=True, timeout=240)
    assert done.stderr.count("Traceback") == 1
    assert "'<stdin>' is no file; save the program" in done.stderr.splitlines()[-1]


def test_a_worker_that_cannot_start_says_what_stands_above(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"import os\nassert 'HARNESS_WORKER_STARTS' not in os.environ\n{STARTS_WORKERS}")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=240)
    assert "a worker process could not start (exit code 1)" in done.stderr.splitlines()[-1]


OUTLIVES = """
import os, signal, time
from harness.execution.executors.processes import ProcessExecutor

def work(device):
    print(os.getpid(), flush=True)
    time.sleep(300)

if __name__ == "__main__":
    ProcessExecutor(["cpu"]).submit(work)
    time.sleep(300)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(OUTLIVES)
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
        deadline = time.monotonic() + 20
        while _runs(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _runs(worker)


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_devices():
    assert devices_for("cpu") == ["cpu"] * len(os.sched_getaffinity(0))
    with pytest.raises(InputError, match="no such device here; there is: cpu"):
        devices_for("cuda:99")
    with pytest.raises(InputError, match="--device tpu"):
        devices_for("tpu")
