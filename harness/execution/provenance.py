"""Where a number comes from: versions of the libraries and revision of the code."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    named = {"harness": "diffusion-harness", "torch": "torch", "numpy": "numpy"}
    installed = [(name, version(package)) for name, package in named.items()]
    return (*installed, ("python", platform.python_version()), ("machine", platform.machine()))


def versions() -> dict[str, str]:
    """Versions of what takes part in the numbers."""
    return dict(_versions())


@lru_cache(maxsize=1)
def revision() -> str:
    """The commit of the checkout that the code runs from, "+changes" if edited; "" outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit + (
            "+changes" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "harness") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
