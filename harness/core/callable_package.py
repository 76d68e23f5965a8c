"""Packages that are functions too: `harness.search(...)` is public, and `harness/search` is a room of that name.

Python binds a package as an attribute of its parent when it is imported, in the place of a function of the same name.
So the package itself is made callable.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(package: str) -> None:
    """Calling a package calls the function of its name in `harness.api`.

    Args:
        package: its dotted name, `__name__` in its `__init__`.
    """
    name = package.rpartition(".")[2]

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(import_module("harness.api"), name)(*args, **kwargs)

    sys.modules[package].__class__ = CallablePackage
