"""Plugins: what other installed packages add to the harness through entry points.

A package names what it adds in its own pyproject.toml, and installing it is the permission to run it:

    [project.entry-points."harness.solvers"]
    kutta3 = "kutta_solver:Kutta3"

Groups: harness.solvers, .discretizations, .schedules, .scalings, .stochasticity, .denoisers, .metrics, .extractors,
.formats and .executors. A group is read when something asks for a word that is not built in, or by `harness ls`.
"""

import hashlib
import warnings
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple


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


@cache
def provenance(cls: type) -> dict[str, str] | None:
    """What identifies the code of a class that is not built in; None for a class of the harness itself.

    Returns:
        distribution and version ("" where the module belongs to no installed package), and source, the SHA-256 of all
        Python files of the module's top-level package.
    """
    top = cls.__module__.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return None
    distribution = next(iter(metadata.packages_distributions().get(top, ())), "")
    version = metadata.version(distribution) if distribution else ""
    return {"distribution": distribution, "version": version, "source": _source_hash(top)}


def _source_hash(top: str) -> str:
    """SHA-256 of the Python files of a top-level package or module; "" where it has none, as in an interpreter."""
    module = import_module(top)
    if hasattr(module, "__path__"):
        files = {path: path.relative_to(root) for root in map(Path, module.__path__) for path in root.rglob("*.py")}
    else:
        files = {Path(module.__file__): Path(top)} if module.__file__ else {}
    digest = hashlib.sha256()
    for path, name in sorted(files.items(), key=lambda item: item[1].as_posix()):
        digest.update(f"{name.as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest() if files else ""
