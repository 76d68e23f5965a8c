"""Who claims a chunk: a process on a host, told from a later one with the same number."""

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

OUTLIVING = "work:"
"""How the owner of a claim begins that is work of an executor, not a process."""


class Owner(NamedTuple):
    """A process that claims chunks: host, process id, and when the process started, since ids are used again."""

    host: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Self:
        """The current process."""
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what `str` wrote."""
        host, pid, started = text.rsplit("|", 2)
        return cls(host, int(pid), started)

    def __str__(self) -> str:
        return f"{self.host}|{self.pid}|{self.started}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; a process on another host never is."""
        return self.host == socket.gethostname() and _started(self.pid) != self.started


def outliving(executor: str, handle: str) -> str:
    """The owner of a claim whose work goes on without the process that claimed it."""
    return f"{OUTLIVING}{executor}:{handle}"


def lapsed(row: Mapping[str, Any], is_alive: Callable[[str, str], bool] = lambda executor, handle: False) -> bool:
    """Whether a claim may be taken over: its lease is over, or its process on this host is gone.

    Args:
        row: with `owner` and `expires`.
        is_alive: whether work that goes on without its process is still waiting or running, by the name of its executor
            and its handle; that alone counts for it.
    """
    if row["owner"].startswith(OUTLIVING):
        executor, _, handle = row["owner"].removeprefix(OUTLIVING).partition(":")
        return not is_alive(executor, handle)
    return bool(row["expires"] < time.time()) or Owner.parse(row["owner"]).is_gone()


def _started(pid: int) -> str:
    """A mark of when a process started; "" if there is no such process, "?" where the system does not tell."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return ""
        return "" if stat[0] == "Z" else stat[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "?"
    return "?"
