"""Who claims a chunk: a process of a machine, told from a later one with the same number; and when a claim lapses.

A process id says something where it was given: on one host, since one start of it, in one namespace of process ids (a
container has its own). There a claim lapses as soon as its process is gone. Elsewhere it lapses when it has stayed as
it is for a minute: its owner writes a new time into it every 15 s. The time itself says nothing, since clocks of
machines differ, so who waits counts the seconds on a clock of its own.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

LEASE_SECONDS = 60.0
"""How long a claim stays valid without a renewal."""

RENEW_SECONDS = 15.0

STALE_SECONDS = 86_400.0
"""Age of a claim that nobody can be renewing, whatever the clocks say."""

OUTLIVING = "work:"
"""How the owner of a claim begins that is work of an executor, not a process."""

IsAlive = Callable[[str, str], bool]


class Owner(NamedTuple):
    """A process that claims chunks: host, process id, and when the process started, since ids are used again.

    `host` is the host's name and, where the system tells them, which start of it and which namespace of process ids.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Self:
        """The current process."""
        return cls(_here(), os.getpid(), _started(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what `str` wrote."""
        host, pid, started = text.rsplit("|", 2)
        return cls(host, int(pid), started)

    def __str__(self) -> str:
        return f"{self.host}|{self.pid}|{self.started}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; one of another host or namespace never is."""
        return self.host == _here() and _started(self.pid) != self.started


def owner_in_words(owner: str) -> str:
    """The owner of a claim, for people."""
    if owner.startswith(OUTLIVING):
        return owner.removeprefix(OUTLIVING)
    process = Owner.parse(owner)
    return f"process {process.pid} on {process.host.split(' ')[0]}"


def outliving(executor: str, handle: str) -> str:
    """The owner of a claim whose work goes on without the process that claimed it."""
    return f"{OUTLIVING}{executor}:{handle}"


class LeaseWatch:
    """Judges the claims of other processes by how long they stay as they are, on this process's own clock."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[str, float], float]] = {}

    def lapsed(self, row: Mapping[str, Any], is_alive: IsAlive) -> bool:
        """Whether a claim may be taken over: its process is gone, or it was seen unchanged for 60 s.

        Args:
            row: with `key`, `owner` and `expires`.
            is_alive: whether work that goes on without its process is still waiting or running, by the name of its
                executor and its handle; that alone counts for it.
        """
        gone = is_gone(row["owner"], is_alive)
        if gone or row["owner"].startswith(OUTLIVING):
            return gone
        state, now = (row["owner"], row["expires"]), time.monotonic()
        before, since = self._seen.setdefault(row["key"], (state, now))
        if before != state:
            self._seen[row["key"]] = (state, now)
            return False
        return now - since > LEASE_SECONDS


def is_gone(owner: str, is_alive: IsAlive) -> bool:
    """Whether the owner of a claim is known to have ended."""
    if owner.startswith(OUTLIVING):
        executor, _, handle = owner.removeprefix(OUTLIVING).partition(":")
        return not is_alive(executor, handle)
    return Owner.parse(owner).is_gone()


def is_stale(row: Mapping[str, Any], is_alive: IsAlive) -> bool:
    """Whether a claim is nobody's any more, as far as one look tells: its owner is gone, or it is a day old."""
    if row["owner"].startswith(OUTLIVING):
        return is_gone(row["owner"], is_alive)
    return is_gone(row["owner"], is_alive) or bool(row["expires"] < time.time() - STALE_SECONDS)


class Heartbeat:
    """Renews leases in the background, however long the rest of the process is busy.

    Args:
        renew: extends the leases; what it raises is passed over, since whatever comes next in the store raises it too.
    """

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew, self._ended = renew, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(Exception):
                self._renew()

    def stop(self) -> None:
        """End it, and wait for a renewal under way."""
        self._ended.set()
        self._thread.join()


def _here() -> str:
    """Where the process ids that this process sees mean something."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


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
