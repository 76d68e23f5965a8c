"""The interface of what runs tasks: an executor of `concurrent.futures` that owns some devices."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, ClassVar, TypeVar

Result = TypeVar("Result")


class Executor(futures.Executor, ABC):
    """Runs functions on devices, one at a time on each.

    `submit(fn, task)` returns a future of `fn(task, device=...)`, where `device` is the one that the function got. At
    most `slots` calls run at a time. The scheduler submits no more than that, so an executor needs no queue.

    Work usually ends with this process. An executor whose work goes on without it (a batch system, a cluster) overrides
    `handle` and `alive`. The scheduler stores the handle in the claim of each chunk of the task; the claim then lapses
    only when `alive` says that its handle is dead, whatever became of the process that submitted it. The process that
    waits for the future stores the chunks. Where it may be gone by then, the executor's own task calls `Store.finish`;
    otherwise the chunks are computed again once the handle is dead.

    Args:
        devices: where torch runs, such as "cpu" or "cuda:1"; one named twice takes two tasks at a time.
    """

    most: ClassVar[int | None] = None
    """Devices that it can put to work at a time; None for any number."""

    start_seconds: ClassVar[float] = 0.0
    """About how long it takes until the first task begins, for estimates."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = tuple(devices)[: self.most]

    @property
    def slots(self) -> int:
        """Devices at work: how many tasks run at a time."""
        return len(self.devices)

    @abstractmethod
    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "futures.Future[Result]":
        """Call `fn(*args, **kwargs, device=...)` on a free device.

        What the function raises is the future's exception. If the machinery fails (a process died), that is a
        `MachineError` that says how.
        """

    @abstractmethod
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End at once what runs: nobody would store it. Work that outlives this process is left alone."""

    def handle(self, future: "futures.Future[Any]") -> str | None:
        """By which the work of a future is found from any process; None for work that ends with this one."""
        return None

    @classmethod
    def alive(cls, handle: str) -> bool:
        """Whether the work of a handle is waiting or running still."""
        return False
