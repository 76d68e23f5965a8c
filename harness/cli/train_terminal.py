"""Training on a terminal: networks done, images seen, images per second, time left."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from harness.cli.console import LiveBar, err
from harness.execution.devices import devices_for
from harness.execution.trainings import TrainingListener, has_levels, train_all, write_levels
from harness.experiments.plan import check_before_training
from harness.experiments.trained_networks import needed_trainings, recipe_of
from harness.experiments.training_table import FOLDER
from harness.report.text.numbers import plural
from harness.training.tasks import DenoisingTask, task_of


class TrainingBar(LiveBar, TrainingListener):
    """The progress of a queue of trainings."""

    def __init__(self, console: Console) -> None:
        percent = TextColumn("{task.percentage:>3.0f} %")
        networks = TextColumn("{task.fields[networks]}", markup=False)
        super().__init__(console, networks, BarColumn(), percent, TimeRemainingColumn())
        self.count = 0
        self.first: tuple[float, int] | None = None  # when images were first counted, and how many there were
        self.bar = self.progress.add_task("", total=None, networks="planning")

    def started(self, networks: int, images: int) -> None:
        self.count = networks
        self.progress.update(self.bar, total=images, networks=f"0/{networks} networks")

    def at(self, networks: int, images: int) -> None:
        now = time.monotonic()
        began, seen = self.first = self.first or (now, images)
        speed = f", {(images - seen) / (now - began):,.0f} images/s" if images > seen else ""
        self.progress.update(self.bar, completed=images, networks=f"{networks}/{self.count} networks{speed}")


def train_for(grids: Sequence[Path], device: str | None, executor: str) -> None:
    """Train the networks of grids' tables that are missing; nothing for grids without one.

    Raises:
        InputError: anything wrong with one of the grids that can be told before its networks are there.
    """
    tables = [table for path in grids if (table := check_before_training(path)) is not None]
    needed = {one.recipe.name: one for table in tables for one in needed_trainings(table)}.values()
    if needed:
        images = sum(one.recipe.images for one in needed)
        err.print(f"{plural(len(needed), 'network')} to train first, {images:,} images in all")
    for again in (False, True):
        recipes = [one.recipe for one in needed if one.lacks_snapshot == again]
        if recipes:
            with TrainingBar(err) as bar:
                train_all(recipes, FOLDER, work=FOLDER, device=device, executor=executor, listener=bar, again=again)
    for network in (network for table in tables for network in table.networks() if network.images is None):
        folder = FOLDER / network.name
        if not has_levels(network.path(), folder):  # it was trained elsewhere
            task = task_of(recipe_of(network))
            if isinstance(task, DenoisingTask):
                write_levels(task, network.path(), folder, devices_for(device)[0])
