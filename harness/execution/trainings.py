"""Training many networks: each recipe is a task of an executor, the longest first.

Small networks gain little from threads, so two processes with one thread each on two cores are nearly twice as fast as
one process. A task whose process dies goes on from its last state, once.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.embedded import sha256_of
from harness.core.errors import InputError, RunError, SamplingError
from harness.core.files import write_bytes
from harness.denoisers.checkpoints.safetensors_file import load
from harness.execution.devices import devices_for
from harness.execution.executors import Executor, find_executor
from harness.execution.sample_images import sample_to_files
from harness.hub.cache import locked
from harness.sampling.sampler import Sampler
from harness.training.levels import IMAGES, level_profile, loss_by_level
from harness.training.loop import (
    LEVELS,
    LOG,
    WORK,
    Progress,
    Snapshot,
    TrainingError,
    initial_network,
    train,
)
from harness.training.processes import Process, training_process
from harness.training.recipe import DenoiserRecipe, Recipe, load_recipe
from harness.training.tasks import DenoisingTask, task_of

LOOK_SECONDS = 1.0
"""How often the logs of what is trained are looked at."""


class Training(NamedTuple):
    """What a worker needs to train one network.

    Args:
        recipe: what to train.
        out: folder of the result.
        work: folder of states, logs and snapshots.
        fresh: start over.
        again: train although the result is there, to have its snapshots again.
        micro_batch: images of one pass through the network; None: the whole batch.
    """

    recipe: Recipe
    out: Path
    work: Path
    fresh: bool = False
    again: bool = False
    micro_batch: int | None = None


class TrainingListener:
    """Told how a queue goes on; this one does nothing."""

    def started(self, networks: int, images: int) -> None:
        """So many networks are to be trained, on so many images in all."""

    def at(self, networks: int, images: int) -> None:
        """So many networks are done, and so many images seen by all."""

    def say(self, text: str) -> None:
        """A line for a person."""


def find_recipes(where: Path | Iterable[Path]) -> list[Recipe]:
    """The recipes of a folder (`*.yaml`), or of the files given, the longest first so that none is left for the end.

    Raises:
        InputError: a folder without recipes, a file that is no recipe, or two recipes of one name.
    """
    paths = sorted(where.glob("*.yaml")) if isinstance(where, Path) and where.is_dir() else where
    paths = [paths] if isinstance(paths, Path) else list(paths)
    if not paths:
        raise InputError(f"{where}: no recipes (*.yaml) here; name a folder such as pretrained/recipes, or a file")
    found: dict[str, tuple[Path, Recipe]] = {}
    for path in paths:
        recipe = load_recipe(path)
        if recipe.name in found:
            other = found[recipe.name][0]
            raise InputError(f"{path}: the recipe is named {recipe.name!r}, and so is {other}; rename one of the two")
        found[recipe.name] = path, recipe
    return sorted((recipe for _, recipe in found.values()), key=lambda recipe: -recipe.minutes)


def train_all(
    recipes: Sequence[Recipe],
    out: Path,
    workers: int | None = None,
    fresh: bool = False,
    work: Path = WORK,
    device: str | None = None,
    executor: str | type[Executor] = "processes",
    micro_batch: int | None = None,
    listener: TrainingListener | None = None,
    again: bool = False,
) -> list[Path]:
    """Train recipes, each as one task of an executor.

    Finished results of the same recipes are left alone and unfinished runs go on, unless `fresh`. If one fails the
    others are still trained.

    Args:
        recipes: in the order in which they start; see `find_recipes`.
        out: folder of the results, `<name>.safetensors`.
        workers: trainings at a time; None: one a device, where a CPU counts once for each of its cores.
        fresh: start all afresh.
        work: folder of states, logs and snapshots, a folder a recipe.
        device: "cpu", "cuda", "cuda:N"; None: all GPUs if there are any, else the CPU's cores.
        executor: name or class of an executor.
        micro_batch: images of one pass through the network.
        listener: told how it goes on.
        again: train although results are there, to have their snapshots again.

    Returns:
        The paths of the results, in the order in which the recipes started.

    Raises:
        InputError: no such device or executor, or all that failed did so for what the user gave.
        TrainingError: some failed; names them, with the reason of each. The same command goes on from the last states.
    """
    listener = listener or TrainingListener()
    waiting = list(recipes)
    devices = devices_for(device)
    make = find_executor(executor) if isinstance(executor, str) else executor
    listener.started(len(recipes), sum(recipe.images for recipe in recipes))
    running: dict[Future[Any], Recipe] = {}
    failed: dict[str, Exception] = {}
    pool = make((devices * (workers or 1))[: workers or len(devices)])
    with _watched(recipes, work, listener) as finished:
        try:
            while waiting or running:
                while waiting and len(running) < pool.slots:
                    recipe = waiting.pop(0)
                    listener.say(f"{recipe.name}: starts; log in {work / recipe.name / LOG}")
                    running[pool.submit(run_training, Training(recipe, out, work, fresh, again, micro_batch))] = recipe
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    recipe, error = running.pop(future), future.exception()
                    if error is None:
                        finished.add(recipe.name)
                        for note in future.result():
                            listener.say(note)
                    elif not isinstance(error, Exception):
                        raise error
                    else:
                        failed[recipe.name] = error
                    listener.say(f"{recipe.name}: {'done' if error is None else 'failed'}")
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        told = (str(error) if name in str(error) else f"{name}: {error}" for name, error in failed.items())
        is_input = all(isinstance(error, InputError) for error in failed.values())
        raise (InputError if is_input else TrainingError)("training failed: " + "; ".join(told))
    return [out / f"{recipe.name}.safetensors" for recipe in recipes]


def run_training(training: Training, device: str) -> list[str]:
    """Train one network in this process; what a worker does. Returns notes for a person."""
    with training_process(device) as process:
        return _train(training, process)


def _train(training: Training, process: Process, progress: Callable[[Progress], None] | None = None) -> list[str]:
    """Train one network, draw its snapshots, and look at its loss by noise level; files are the first process's."""
    recipe, notes = training.recipe, list[str]()
    busy = f"{recipe.name}: another command trains it in {training.work}; wait for it, or give another --work"

    def draw(snapshot: Snapshot) -> None:
        if snapshot.is_of_results and isinstance(recipe, DenoiserRecipe):
            draw_snapshot(snapshot, str(process.device), notes.append)

    with locked(training.work / recipe.name, busy) if process.is_first else nullcontext():
        task = task_of(recipe)
        result = train(
            recipe,
            training.out,
            task,
            resume=not training.fresh,
            again=training.again,
            progress=progress if process.is_first else None,
            work=training.work,
            process=process,
            micro_batch=training.micro_batch,
            note=notes.append,
            on_snapshot=draw,
        )
        if process.is_first and isinstance(task, DenoisingTask):
            write_levels(task, result, training.work / recipe.name, str(process.device))
    return notes


def draw_snapshot(snapshot: Snapshot, device: str, note: Callable[[str], None]) -> None:
    """A sheet of images beside a snapshot, from the paper's deterministic sampler at NFE 35.

    Images that cannot be drawn or kept stop no training; `note` is told.
    """
    sampler, sheet = Sampler.model_validate({"solver": "heun", "steps": 18}), snapshot.path.with_suffix(".png")
    try:
        sample_to_files(str(snapshot.path), sampler, list(range(64)), None, sheet, device)
    except (SamplingError, InputError, OSError) as error:
        note(f"{snapshot.path}: no images of this snapshot ({error})")


def has_levels(result: Path, folder: Path) -> bool:
    """Whether the folder of a run has the losses by noise level of this result."""
    path = folder / LEVELS
    return path.is_file() and json.loads(path.read_text()).get("weights") == sha256_of(result)


def write_levels(task: DenoisingTask, result: Path, folder: Path, device: str = "cpu") -> None:
    """Write the loss by noise level before and after training to `levels.json`, unless it is there."""
    if has_levels(result, folder):
        return
    path, sha256 = folder / LEVELS, sha256_of(result)
    images, labels = task.some(IMAGES)
    untrained = initial_network(task, task.recipe.seed)
    profile = level_profile(task.objective, untrained, images)
    curves = {
        **profile._asdict(),
        "before": loss_by_level(task.objective, untrained.to(device), images, labels),
        "after": loss_by_level(task.objective, load(result, device), images, labels),
    }
    text = json.dumps({"weights": sha256, **{name: list(curve) for name, curve in curves.items()}})
    try:
        write_bytes(path, text.encode())
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); the trained network is whole") from error


@contextmanager
def _watched(recipes: Iterable[Recipe], work: Path, listener: TrainingListener) -> Iterator[set[str]]:
    """Tell the listener what the logs of the runs say, until the block ends; yields the set of those that are done."""
    finished: set[str] = set()
    images = {recipe.name: recipe.images for recipe in recipes}
    ended = threading.Event()

    def look() -> None:
        seen = {name: images[name] if name in finished else _images(work / name / LOG) for name in images}
        listener.at(len(finished), sum(min(seen[name], images[name]) for name in images))

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield finished
    finally:
        ended.set()
        thread.join()
        look()


def _images(log: Path) -> int:
    """The images of the last whole line of a log; 0 if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return 0
    whole = [line for line in lines if line.endswith(b"\n")]
    return int(json.loads(whole[-1])["images"]) if whole else 0


def train_together(
    recipes: Sequence[Recipe], out: Path, fresh: bool, work: Path, device: str | None, micro_batch: int | None
) -> list[Path]:
    """Train recipes one after the other, each with all processes of a launcher such as `torchrun`.

    Args: as `train_all`; `device` "cuda", None for GPUs if there are any, gives each process the GPU of its rank.

    Returns:
        The paths of the results; none in processes other than the first.
    """
    chosen = device or ("cuda" if devices_for(None)[0] != "cpu" else "cpu")
    with training_process(chosen) as process:
        for recipe in recipes:
            for note in _train(Training(recipe, out, work, fresh, False, micro_batch), process, print_progress):
                if process.is_first:
                    print(note, file=sys.stderr)
        return [out / f"{recipe.name}.safetensors" for recipe in recipes] if process.is_first else []


def print_progress(at: Progress) -> None:
    """One line of progress."""
    print(
        f"{at.name}: {at.images:,} images ({at.step / at.steps:.0%}), loss {at.loss:.5f}, "
        f"{at.images_per_second:,.0f} images/s, about {at.seconds_left / 60:.1f} min left",
        file=sys.stderr,
        flush=True,
    )
