"""Locks between processes, as files. The system lets go of the lock of a process that died, so that none is left."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from harness.core.errors import RunError

POLL = 0.02
"""Seconds between two looks at a lock that somebody else has."""

if sys.platform == "win32":
    import msvcrt

    def _take(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def locked(path: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Be the only one, among processes and threads, who is inside with this file.

    The file is made, and removed in the end. Who waited for a file that was removed in the meantime holds a lock that
    nobody else sees, and has to look again.

    Args:
        path: of the lock, a file of its own.
        busy: what to say when somebody else keeps the lock.
        wait: seconds to wait for it.

    Raises:
        RunError: somebody else has it.
        OSError: the file cannot be made or locked.
    """
    deadline = time.monotonic() + wait
    while True:
        with path.open("ab") as file:
            taken = _take(file)
            if taken and _is_still(path, file):
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):  # Windows removes no open file; it stays, unlocked
                        path.unlink()
                return
        if taken:
            continue  # nobody has it: the file was removed just now, and is made anew
        if time.monotonic() >= deadline:
            raise RunError(busy)
        time.sleep(POLL)


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
