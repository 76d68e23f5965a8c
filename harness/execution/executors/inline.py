"""Tasks run in this process, one after the other."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from harness.execution.devices import one_thread
from harness.execution.executors.base import Executor, Result


class InlineExecutor(Executor):
    """Runs tasks in this process, one at a time, for debuggers, profilers and tests.

    A task runs while it is submitted, on the first device. `KeyboardInterrupt` goes through to the caller.
    """

    most = 1

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        future: Future[Result] = Future()
        device = self.devices[0]
        try:
            with one_thread() if device == "cpu" else contextlib.nullcontext():
                future.set_result(fn(*args, **kwargs, device=device))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing runs by itself."""
