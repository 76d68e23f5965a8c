"""Executors by name."""

from harness.core.errors import InputError
from harness.execution.executors.base import Executor
from harness.execution.executors.inline import InlineExecutor
from harness.execution.executors.processes import ProcessExecutor

EXECUTORS: dict[str, type[Executor]] = {"processes": ProcessExecutor, "inline": InlineExecutor}


def find_executor(name: str) -> type[Executor]:
    """The executor of a name.

    Raises:
        InputError: there is none.
    """
    if name not in EXECUTORS:
        raise InputError(f"--executor {name}: no such executor; there is: {', '.join(EXECUTORS)}")
    return EXECUTORS[name]


def is_alive(name: str, handle: str) -> bool:
    """Whether work that an executor left behind is waiting or running still; not, if the executor is unknown here."""
    return name in EXECUTORS and EXECUTORS[name].alive(handle)
