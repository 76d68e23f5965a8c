"""Worker processes: one a core with one thread each on a CPU, one a device on GPUs. The parent alone writes.

A worker is told to do one task at a time over a pipe. If it dies (killed, out of memory) its task is given to a fresh
one, once; a second death makes the task fail. If the parent dies, its workers see the pipe close and end.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from harness.core.errors import InputError, SamplingError

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc in a worker: keep freed activations instead of returning them to the system at every layer.

Measured on a CPU: no page faults in place of 1,500 a network call, 8 % more evaluations per second at batch 128.
"""


class Failed(NamedTuple):
    """A task that could not be done: why, and the sampler's step where that is known."""

    reason: str
    step: int | None


class Finished(NamedTuple):
    """What became of a task: a `Done` or a `Failed`."""

    ticket: int
    outcome: Any


def devices_for(choice: str | None) -> list[str]:
    """The devices to run on, one worker each.

    Args:
        choice: "cpu", "cuda" (all GPUs), "cuda:1", or None: all GPUs if there are any, else the CPU's cores.

    Raises:
        InputError: a GPU was asked for and there is none, or no such device.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice is None:
        choice = "cuda" if gpus else "cpu"
    if choice == "cpu":
        return ["cpu"] * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if choice == "cuda" and gpus:
        return [f"cuda:{index}" for index in range(gpus)]
    if choice.startswith("cuda:") and choice[5:].isdigit() and int(choice[5:]) < gpus:
        return [choice]
    have = f"cpu, {', '.join(f'cuda:{index}' for index in range(gpus))}" if gpus else "cpu"
    raise InputError(f"--device {choice}: no such device here; there is: {have}")


class _Worker:
    """One process with its pipe, and the ticket of the task it is doing."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, device), daemon=True)
        with _environment(KEEP_MEMORY | {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}):
            self.process.start()
        theirs.close()
        self.ticket: int | None = None

    def stop(self) -> None:
        """End the process at once; nothing it holds is worth keeping."""
        self.connection.close()
        if self.process.is_alive():
            self.process.terminate()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Pool:
    """Workers on some devices. Feed it with `submit` while `free` is above zero, and collect with `collect`.

    Args:
        devices: one worker each; a device may be named several times.
    """

    def __init__(self, devices: list[str]) -> None:
        self._workers = [_Worker(device) for device in devices]
        self._tasks: dict[int, Any] = {}
        self._deaths: dict[int, int] = {}

    @property
    def free(self) -> int:
        """Workers with nothing to do."""
        return sum(worker.ticket is None for worker in self._workers)

    @property
    def busy(self) -> int:
        """Workers at work."""
        return len(self._workers) - self.free

    def submit(self, ticket: int, task: Any) -> None:
        """Give a task to a free worker; `ticket` comes back with its outcome."""
        self._tasks[ticket] = task
        self._give(next(worker for worker in self._workers if worker.ticket is None), ticket)

    def collect(self, timeout: float) -> list[Finished]:
        """Outcomes that arrive within `timeout` seconds, as soon as there is one."""
        waiting = {worker.connection: worker for worker in self._workers if worker.ticket is not None}
        ready = wait(list(waiting), timeout) if waiting else []
        return [finished for item in ready for finished in self._receive(waiting[item])]  # type: ignore[index]

    def close(self) -> None:
        """End all workers at once."""
        for worker in self._workers:
            worker.stop()

    def _receive(self, worker: _Worker) -> Iterator[Finished]:
        ticket = worker.ticket
        assert ticket is not None
        try:
            outcome = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._replace(worker, ticket)
            return
        worker.ticket = None
        del self._tasks[ticket]
        yield Finished(ticket, outcome)

    def _replace(self, worker: _Worker, ticket: int) -> Iterator[Finished]:
        """A worker died: start another, and give it the task once more."""
        worker.process.join(timeout=5)
        code = worker.process.exitcode
        worker.stop()
        fresh = _Worker(worker.device)
        self._workers[self._workers.index(worker)] = fresh
        self._deaths[ticket] = self._deaths.get(ticket, 0) + 1
        if self._deaths[ticket] < 2:
            self._give(fresh, ticket)
            return
        del self._tasks[ticket]
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        yield Finished(ticket, Failed(f"the worker process died twice on these chunks ({how}); out of memory?", None))

    def _give(self, worker: _Worker, ticket: int) -> None:
        worker.ticket = ticket
        with contextlib.suppress(OSError):  # a dead worker is noticed in `collect`
            worker.connection.send(self._tasks[ticket])


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Variables that a process started inside inherits, unless the user has set them."""
    missing = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def _serve(connection: Connection, device: str) -> None:
    """A worker's life: do tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    import torch

    from harness.execution.worker import run_task

    if device == "cpu":
        torch.set_num_threads(1)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        outcome: Any
        try:
            outcome = run_task(task, device)
        except SamplingError as error:
            outcome = Failed(error.reason, error.step)
        except InputError as error:
            outcome = Failed(str(error), None)
        except Exception as error:
            outcome = Failed(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", None)
        try:
            connection.send(outcome)
        except OSError:
            return
