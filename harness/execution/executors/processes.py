"""Worker processes: one a core with one thread each on a CPU, one a device on GPUs.

Each process belongs to a device and is fed over a pipe by a thread of a `ThreadPoolExecutor`, which brings the futures
and the queue. If a worker dies (killed, out of memory) or says that its device fails, its task goes to a fresh one,
once; a second time fails the task. If the parent dies, a thread of each worker sees it and ends the worker at once.

Why no library's pool: `ProcessPoolExecutor` and loky break as a whole when one of their processes dies. All tasks under
way are lost then and the pool is made anew. One pool a device keeps that to one task, but the second try, the words for
how a process ended and the environment at its start remain to be written, and little else is in this file. A
`ProcessPoolExecutor` cannot end a running task either (before Python 3.14), so Ctrl-C would wait for it; and its
processes live on when the parent is killed, since each holds the writing end of the queue that it reads.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from harness.core.errors import MachineError, RunError, WorkerStartError
from harness.execution.executors.base import Executor, Result

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc in a worker: keep freed activations instead of returning them to the system at every layer.

Measured on a CPU: no page faults in place of 1,500 a network call, 8 % more evaluations per second at batch 128.
"""

DEATHS = 2
"""Workers that may die on a task before it counts as failed."""

READY = "ready"
"""What a worker says when it can take tasks."""

STARTING = "HARNESS_WORKER_STARTS"
"""Variable of the environment of a worker until it can take tasks.

A worker begins by reading the main program again. If that starts a run there, instead of under a main guard, the run is
one of a worker that starts.
"""

NO_GUARD = 78
"""Exit code of such a worker."""

START_REMEDY = "or run in this process with executor='inline'"


class ProcessExecutor(Executor):
    """Runs each task in a process of its own device; a task whose process dies is given to a fresh one, once."""

    start_seconds = 4.0  # torch and the harness are imported; see benchmarks/run_overhead.py

    def __init__(self, devices: Sequence[str]) -> None:
        super().__init__(devices)
        if STARTING in os.environ:
            sys.exit(NO_GUARD)
        _check_main_program()
        self._lock, self._is_shut = threading.Lock(), False
        self._workers: set[_Worker] = set()
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for device in devices:
            self._idle.put(self._start(device))
        self._threads = ThreadPoolExecutor(max(len(self.devices), 1))

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        return self._threads.submit(self._run, (fn, args, kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._is_shut = True
            workers = set(self._workers)
        for worker in workers:
            worker.process.terminate()
        self._threads.shutdown(
            wait=True, cancel_futures=True
        )  # a thread wakes when its worker's end of the pipe closes
        for worker in workers:
            worker.end()

    def _start(self, device: str) -> "_Worker":
        with self._lock:  # the environment is changed for a moment
            if self._is_shut:
                raise MachineError("the workers were shut down")
            try:
                worker = _Worker(device)
            except OSError as error:
                raise WorkerStartError(f"a worker process cannot be started: {error.strerror}") from error
            self._workers.add(worker)
            return worker

    def _run(self, call: tuple[Callable[..., Result], tuple[Any, ...], dict[str, Any]]) -> Result:
        """A task's life in one of the threads."""
        worker, deaths = self._idle.get(), 0
        try:
            while True:
                failure: MachineError | None = None
                try:
                    reply = worker.call(call)
                except (EOFError, OSError):
                    pass
                else:
                    if not isinstance(reply, _Raised):
                        return reply
                    if not isinstance(reply.error, MachineError):
                        raise reply.error
                    failure = reply.error
                deaths += 1
                code = worker.end()
                with self._lock:
                    self._workers.discard(worker)
                if failure is None and not worker.is_ready and code >= 0:
                    raise _start_error(code) from None
                worker = self._start(worker.device)
                if deaths == DEATHS:
                    raise failure or _death(code) from None
        finally:
            self._idle.put(worker)


class _Worker:
    """One process and the parent's end of its pipe."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.device, self.is_ready = device, False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, device), daemon=True)
        settings = KEEP_MEMORY | {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
        with _environment(settings | {STARTING: "1"}):
            self.process.start()
        theirs.close()

    def call(self, call: Any) -> Any:
        """The answer to a call; the first waits until the process has started."""
        if not self.is_ready:
            self.connection.recv()
            self.is_ready = True
        self.connection.send(call)
        return self.connection.recv()

    def end(self) -> int:
        """End the process, if it runs still; its exit code, negative for the signal that killed it."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode or 0


def _check_main_program() -> None:
    """Refuse a main program that workers could not read again: one from standard input."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if main.__spec__ is None and path is not None and not Path(path).exists():
        raise WorkerStartError(
            f"worker processes read the main program again, and '{path}' is no file; save the program, {START_REMEDY}"
        )


def _start_error(code: int) -> WorkerStartError:
    if code == NO_GUARD:
        return WorkerStartError(
            "worker processes read the main program again, and it starts a run there; put the call under "
            f'`if __name__ == "__main__":`, {START_REMEDY}'
        )
    return WorkerStartError(
        f"a worker process could not start (exit code {code}); what it said stands above. Mend that, {START_REMEDY}"
    )


def _death(code: int) -> MachineError:
    if code == -signal.SIGKILL:
        why = f"killed by signal {-code}); out of memory? Take fewer rows a call (--batch), or fewer workers"
    else:
        why = f"killed by signal {-code})" if code < 0 else f"exit code {code})"
    return MachineError(f"the worker process died twice on these chunks ({why}")


class _Raised(NamedTuple):
    """What a function raised in place of an answer."""

    error: Exception


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


def _end_with(parent: Any) -> None:
    """Wait for the end of the parent process, and end this one at once: nobody would store what it does."""
    parent.join()
    os._exit(1)


def _serve(connection: Connection, device: str) -> None:
    """A worker's life: do tasks until the pipe closes."""
    for name in ("SIGINT", "SIGHUP"):  # Ctrl-C and a closed terminal are the parent's to handle
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    os.environ.pop(STARTING, None)
    connection.send(READY)
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        reply: Any
        try:
            reply = fn(*args, **kwargs, device=device)
        except Exception as error:
            reply = _Raised(error)
        try:
            connection.send(reply)
        except OSError:
            return
        except Exception as error:  # what cannot be pickled
            connection.send(_Raised(RunError(f"{type(error).__name__}: {error}")))
