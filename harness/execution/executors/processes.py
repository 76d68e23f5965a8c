"""Worker processes: one a core with one thread each on a CPU, one a device on GPUs.

Each process belongs to a device and is fed over a pipe by a thread of a `ThreadPoolExecutor`, which brings the futures
and the queue. If a worker dies (killed, out of memory), its task goes to a fresh one, once; a second death fails the
task. If the parent dies, its workers see the pipe close and end.

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
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NamedTuple

from harness.core.errors import RunError
from harness.execution.executors.base import Executor, Result

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""For glibc in a worker: keep freed activations instead of returning them to the system at every layer.

Measured on a CPU: no page faults in place of 1,500 a network call, 8 % more evaluations per second at batch 128.
"""

DEATHS = 2
"""Workers that may die on a task before it counts as failed."""


class ProcessExecutor(Executor):
    """Runs each task in a process of its own device; a task whose process dies is given to a fresh one, once."""

    def __init__(self, devices: Sequence[str]) -> None:
        super().__init__(devices)
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
                raise RunError("the workers were shut down")
            worker = _Worker(device)
            self._workers.add(worker)
            return worker

    def _run(self, call: tuple[Callable[..., Result], tuple[Any, ...], dict[str, Any]]) -> Result:
        """A task's life in one of the threads."""
        worker, deaths = self._idle.get(), 0
        try:
            while True:
                try:
                    worker.connection.send(call)
                    reply = worker.connection.recv()
                    break
                except (EOFError, OSError):
                    deaths += 1
                    how = worker.end()
                    with self._lock:
                        self._workers.discard(worker)
                    worker = self._start(worker.device)
                    if deaths == DEATHS:
                        raise RunError(
                            f"the worker process died twice on these chunks ({how}); out of memory?"
                        ) from None
        finally:
            self._idle.put(worker)
        if isinstance(reply, _Raised):
            raise reply.error
        return reply


class _Worker:
    """One process and the parent's end of its pipe."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, device), daemon=True)
        with _environment(KEEP_MEMORY | {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}):
            self.process.start()
        theirs.close()

    def end(self) -> str:
        """End the process, if it runs still; how it ended."""
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        return f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


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


def _serve(connection: Connection, device: str) -> None:
    """A worker's life: do tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
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
