"""Who claims a chunk: a process on a host, told from a later one with the same number."""

import os
import socket
from pathlib import Path
from typing import NamedTuple, Self


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
