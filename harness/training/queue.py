"""Many recipes at once: a queue of processes with one thread each, the longest first.

Small networks gain little from threads, so two processes on two cores are nearly twice as fast as one process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.core.errors import InputError
from harness.training.loop import WORK, TrainingError
from harness.training.recipe import Recipe, load_recipe

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def find_recipes(where: Path | Iterable[Path]) -> list[Path]:
    """The recipes of a folder (`*.yaml`, sorted), or the files given.

    Raises:
        InputError: a folder without recipes, a file that is no recipe, or two recipes of one name.
    """
    paths = sorted(where.glob("*.yaml")) if isinstance(where, Path) and where.is_dir() else where
    paths = [paths] if isinstance(paths, Path) else list(paths)
    if not paths:
        raise InputError(f"{where}: no recipes (*.yaml) here; name a folder such as pretrained/recipes, or a file")
    named: dict[str, Path] = {}
    for path in paths:
        name = load_recipe(path).name
        if name in named:
            raise InputError(f"{path}: the recipe is named {name!r}, and so is {named[name]}; rename one of the two")
        named[name] = path
    return paths


def longest_first(paths: Iterable[Path]) -> list[tuple[Path, Recipe]]:
    """Recipes in the order in which they start, so that no long one is left for the end."""
    return sorted(((path, load_recipe(path)) for path in paths), key=lambda entry: -entry[1].minutes)


def train_all(
    recipes: Path | Iterable[Path],
    out: Path,
    workers: int = 2,
    fresh: bool = False,
    work: Path = WORK,
    tell: Callable[[str], None] = print,
) -> list[Path]:
    """Train recipes, `workers` at a time, each in a process of its own with one thread.

    Finished results of the same recipes are left alone and unfinished runs go on, unless `fresh`. If one fails the
    others are still trained.

    Args:
        recipes: a folder of recipes, or the files.
        out: folder of the results, `<name>.safetensors`.
        workers: processes at once, at least 1.
        fresh: start all afresh.
        work: folder of state files and logs; `<name>.log` holds what a process printed.
        tell: takes a line when a recipe starts or ends.

    Returns:
        The paths of the results, in the order in which the recipes started.

    Raises:
        InputError: a recipe that cannot be used, before anything starts; or fewer than one worker.
        TrainingError: some failed; names them, with the last line of each one's log and its exit code
            (negative: ended by that signal; the same command goes on from its last state).
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1; we got {workers}")
    waiting = longest_first(find_recipes(recipes))
    results = [out / f"{recipe.name}.safetensors" for _, recipe in waiting]
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    failed: list[str] = []
    work.mkdir(parents=True, exist_ok=True)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                path, recipe = waiting.pop(0)
                tell(f"{recipe.name}: starts; about {recipe.minutes:g} min; log in {work / recipe.name}.log")
                running[recipe.name] = _start(path, recipe.name, out, work, fresh), time.monotonic()
            time.sleep(0.2)
            for name, (process, began) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                minutes = (time.monotonic() - began) / 60
                tell(f"{name}: {'failed' if process.returncode else 'done'}, {minutes:.1f} min")
                if process.returncode:
                    failed.append(f"{name}: {_last_line(work / f'{name}.log')} (exit code {process.returncode})")
    finally:
        for process, _ in running.values():  # only after an error or an interrupt
            process.terminate()
            process.wait()
    if failed:
        raise TrainingError("training failed for " + "; ".join(failed))
    return results


def _start(path: Path, name: str, out: Path, work: Path, fresh: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harness.training", str(path), str(out), str(work), *(["--fresh"] * fresh)]
    command += ["--parent", str(os.getpid())]
    with (work / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | dict.fromkeys(THREADS, "1")
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no output")
