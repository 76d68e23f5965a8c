"""Packages that tests install beside the harness: a module and its entry points, without pip."""

import os
import subprocess
import sys
from pathlib import Path

from tests import programs

ROOT = Path(__file__).parents[1]


LEVELS = '''
"""Levels that fall by halves."""

from typing import Literal

from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions


class SquareRoots(Discretization):
    """Equal steps in the square root of sigma."""

    kind: Literal["square_roots"] = "square_roots"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0

    def __call__(self, n: int, within: Range) -> Tensor:
        top, bottom = within.high**0.5, within.low**0.5
        return (top + fractions(n) * (bottom - top)) ** 2
'''


class Site:
    """A folder of installed packages, in front of the harness on the path of the commands that run with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def install(self, name, code, entry_points, version="1.0"):
        """Install package `name` with one module of the same name.

        Args:
            name: of the distribution; the module has underscores.
            code: text of the module.
            entry_points: group without `harness.` -> {name: object in the module}.
            version: of the package.
        """
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for group, entries in entry_points.items():
            lines += [f"[harness.{group}]", *(f"{entry} = {module}:{thing}" for entry, thing in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    def run(self, code):
        """Run a program with the packages."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)])}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
        )

    def harness(self, *commands, cwd=None, plugins=True):
        """Run commands of `harness`, each a list of words, in one process with the packages, or without them."""
        return programs.harness(*commands, path=[self.folder] * plugins + [ROOT], cwd=cwd or self.folder)
