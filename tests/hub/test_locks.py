"""Locks hold between threads and processes, wait if asked to, and end with their process."""

import subprocess
import sys
import threading

import pytest

from harness.core.errors import RunError
from harness.hub.cache import locked

HOLDER = """
import sys
from pathlib import Path
from harness.hub.cache import locked
with locked(Path(sys.argv[1]), "busy"):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time(tmp_path):
    path = tmp_path / "new" / "a"
    with locked(path, "busy"):
        assert [file.name for file in path.parent.iterdir()] == [".a.lock"]
        with pytest.raises(RunError, match=r"^somebody is here$"), locked(path, "somebody is here"):
            pass
    with locked(path, "busy"):
        pass


def test_it_is_let_go_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "a", "busy"):
        raise ValueError("inside")
    with locked(tmp_path / "a", "busy"):
        pass


def test_waiting(tmp_path):
    """Never two inside."""
    inside, most, done = 0, 0, []

    def enter():
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "a", "busy", wait=5):
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


def test_another_process(tmp_path):
    path = tmp_path / "a"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "inside\n"
        with pytest.raises(RunError, match="busy"), locked(path, "busy"):
            pass
        holder.kill()
    with locked(path, "busy"):
        pass
