"""Plugins: what other installed packages add to the harness through entry points.

A package names what it adds in its own pyproject.toml, and installing it is the permission to run it:

    [project.entry-points."harness.solvers"]
    kutta3 = "kutta_solver:Kutta3"

Groups: harness.solvers, .discretizations, .schedules, .scalings, .stochasticity, .denoisers, .metrics, .extractors,
.formats and .executors. A group is read when something asks for a word that is not built in, or by `harness ls`.
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import RunError


class PluginWarning(UserWarning):
    """A plugin that cannot be used. The message names the package that it comes from."""


class Plugin(NamedTuple):
    """One entry point of an installed package.

    Args:
        group: of entry points.
        name: of the entry point.
        value: the object that it points at; None where it cannot be imported.
        distribution: name of the package, as pip knows it.
        version: of the package.
    """

    group: str
    name: str
    value: Any
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f"{self.distribution} {self.version}"

    def left_out(self, why: str) -> None:
        """Warn that it cannot be used; `why` ends the sentence."""
        warnings.warn(
            f"package {self.origin}: '{self.name}' of {self.group} {why}; it is left out; update or remove the package",
            PluginWarning,
            stacklevel=2,
        )


@cache
def load_plugins(group: str) -> tuple[Plugin, ...]:
    """Import the entry points of a group, by name of package. What cannot be imported is a warning and is left out."""
    loaded: dict[tuple[str, str], Plugin] = {}
    for distribution in sorted(metadata.distributions(), key=lambda one: str(one.name)):
        for entry in distribution.entry_points:
            key = (distribution.name, entry.name)  # a package that is on the path twice counts once
            if entry.group != group or key in loaded:
                continue
            plugin = Plugin(group, entry.name, None, distribution.name, distribution.version)
            try:
                loaded[key] = plugin._replace(value=entry.load())
            except (Exception, SystemExit) as error:
                plugin.left_out(f"cannot be imported ({type(error).__name__}: {error})")
    return tuple(loaded.values())


class PluginError(RunError):
    """A process lacks a plugin that its work needs: a failure of the machine, not of the work."""


@cache
def provenance(cls: type) -> dict[str, str] | None:
    """What identifies the code of a class that is not built in; None for a class of the harness itself.

    Returns:
        module: name of the top-level module or package that the class is in.
        distribution, version: the installed package that brings it; "" where none does.
        source: SHA-256 of its Python files; "" where it has none, as in an interpreter.
    """
    module = cls.__module__.partition(".")[0]
    return None if module == __name__.partition(".")[0] else _provenance(module)


def require_plugins(parts: Iterable[Mapping[str, str]]) -> None:
    """See that this process has the plugins that `provenance` named in another.

    Raises:
        PluginError: a package is missing, or is another version or source; names the package.
    """
    for part in parts:
        name = f"{part['distribution'] or part['module']} {part['version']}".strip()
        try:
            here = _provenance(part["module"])
        except ImportError:
            raise PluginError(f"this machine lacks package {name}, which the work needs; install it there") from None
        if here != part:
            theirs = f"{here['distribution'] or here['module']} {here['version']}".strip()
            raise PluginError(
                f"the work needs {name} as it is where the run began, and this machine has {theirs} with other "
                "version or source; install the same on both, and run again"
            )


@cache
def _provenance(module: str) -> dict[str, str]:
    source = _source_hash(module)
    for distribution in metadata.distributions():
        entries = (entry for entry in distribution.entry_points if entry.group.startswith("harness."))
        if any(entry.module.partition(".")[0] == module for entry in entries):
            named = {"distribution": distribution.name, "version": distribution.version}
            return {"module": module, **named, "source": source}
    return {"module": module, "distribution": "", "version": "", "source": source}


def _source_hash(name: str) -> str:
    """SHA-256 of the names and contents of a top-level module's Python files; "" where there are none."""
    module = import_module(name)
    if hasattr(module, "__path__"):
        files = {path: path.relative_to(root) for root in map(Path, module.__path__) for path in root.rglob("*.py")}
    else:
        file = getattr(module, "__file__", None)
        files = {Path(file): Path(name)} if file else {}
    digest = hashlib.sha256()
    for path, place in sorted(files.items(), key=lambda item: item[1].as_posix()):
        digest.update(f"{place.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest() if files else ""
