"""Training on a terminal: networks done, images seen, images per second, time left."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from harness.cli.console import LiveBar, err
from harness.execution.trainings import TrainingListener, needed_trainings, train_all, write_levels
from harness.experiments.grid import load_grid
from harness.experiments.training_table import FOLDER
from harness.report.text.numbers import plural
from harness.training.recipe import DenoiserRecipe, load_recipe


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


def train_for(grid: Path, device: str | None, executor: str) -> None:
    """Train the networks of a grid's table that are missing; nothing for a grid without one."""
    table = load_grid(grid)[0].training
    if table is None:
        return
    needed = needed_trainings(table)
    if needed:
        images = sum(one.recipe.images for one in needed)
        err.print(f"{plural(len(needed), 'network')} to train first, {images:,} images in all")
    for again in (False, True):  # a result whose snapshot is gone is trained afresh, to the same bits
        recipes = [one.recipe for one in needed if one.is_again == again]
        if recipes:
            with TrainingBar(err) as bar:
                train_all(recipes, FOLDER, None, again, FOLDER, device, executor, listener=bar)
    for network in table.networks():
        if network.images is None:  # networks that were trained elsewhere have no curves yet
            recipe = load_recipe(network.recipe).model_copy(update={"name": network.name, "seed": network.seed})
            if isinstance(recipe, DenoiserRecipe):
                write_levels(recipe, network.path(), FOLDER / network.name)
