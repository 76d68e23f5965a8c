"""Locks hold between threads and processes, wait if asked to, and end with their process."""

import subprocess
import sys
import threading

import pytest

from harness.core.errors import RunError
from harness.hub import locks
from harness.hub.locks import locked

HOLDER = """
import sys
from pathlib import Path
from harness.hub.locks import locked
with locked(Path(sys.argv[1]), "busy"):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time(tmp_path):
    path = tmp_path / "a.lock"
    with locked(path, "busy"):
        assert path.exists()
        with pytest.raises(RunError, match=r"^somebody is here$"), locked(path, "somebody is here"):
            pass
    assert not path.exists()
    with locked(path, "busy"):
        pass


def test_it_is_let_go_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "a.lock", "busy"):
        raise ValueError("inside")
    with locked(tmp_path / "a.lock", "busy"):
        pass


def test_waiting(tmp_path):
    """Never two inside, also where the file is removed while others wait for it."""
    inside, most, done = 0, 0, []

    def enter():
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "a.lock", "busy", wait=5):
                inside += 1
                most = max(most, inside)
                inside -= 1
        done.append(1)

    threads = [threading.Thread(target=enter) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(done)) == (1, 3)


def test_a_file_that_is_removed_before_it_is_locked(tmp_path, monkeypatch):
    """A lock on a file that is gone holds nobody off; another is taken, on the file that all see."""
    path, take, calls = tmp_path / "a.lock", locks._take, []

    def late(file):
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
        return take(file)

    monkeypatch.setattr(locks, "_take", late)
    with locked(path, "busy", wait=2):
        assert len(calls) == 2
        with pytest.raises(RunError, match="busy"), locked(path, "busy"):
            pass


def test_another_process(tmp_path):
    path = tmp_path / "a.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "inside\n"
        with pytest.raises(RunError, match="busy"), locked(path, "busy"):
            pass
        holder.kill()
    assert path.exists()
    with locked(path, "busy"):
        pass
    assert not path.exists()
