"""Executors by name: those of this package, and what installed packages add under `harness.executors`."""

from importlib import import_module

from harness.core.errors import InputError
from harness.core.plugins import Plugin, load_plugins
from harness.execution.executors.base import Executor

BUILT_IN = ("processes", "inline")
"""Names of executors, which are the modules of this package that hold them."""


def _class_in(name: str) -> type[Executor]:
    module = import_module(f"{__name__}.{name}")
    classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    return next(one for one in classes if issubclass(one, Executor))


EXECUTORS = {name: _class_in(name) for name in BUILT_IN}


def plugins() -> dict[str, Plugin]:
    """The executors of installed packages by name, as their entry points have it."""
    added: dict[str, Plugin] = {}
    for plugin in load_plugins("harness.executors"):
        if not (isinstance(plugin.value, type) and issubclass(plugin.value, Executor)):
            plugin.left_out("is no subclass of harness.execution.executors.Executor")
        elif plugin.name in EXECUTORS:
            plugin.left_out(f"has the name '{plugin.name}', which is built in")
        else:
            added.setdefault(plugin.name, plugin)
    return added


def find_executor(name: str) -> type[Executor]:
    """The executor of a name.

    Raises:
        InputError: there is none.
    """
    if name in EXECUTORS:
        return EXECUTORS[name]
    added = plugins()
    if name not in added:
        raise InputError(f"--executor {name}: no such executor; there is: {', '.join((*EXECUTORS, *added))}")
    executor: type[Executor] = added[name].value
    return executor


def is_alive(name: str, handle: str) -> bool:
    """Whether work that an executor left behind is waiting or running still; not, if the executor is unknown here."""
    try:
        return find_executor(name).alive(handle)
    except InputError:
        return False
