"""Which networks of a table of trainings are there, made by today's recipes from today's data."""

from typing import NamedTuple

from harness.core.errors import InputError
from harness.experiments.training_table import TrainedNetwork, TrainingTable
from harness.training.loop import is_result_of
from harness.training.recipe import DenoiserRecipe, Recipe, load_recipe
from harness.training.tasks import task_of


class NeededTraining(NamedTuple):
    """A training that a table lacks.

    Args:
        recipe: with the table's name and seed.
        lacks_snapshot: the result is there, and a snapshot is not.
    """

    recipe: Recipe
    lacks_snapshot: bool


def recipe_of(network: TrainedNetwork) -> Recipe:
    """The recipe of a network of a table, with its name and seed.

    Raises:
        InputError: a recipe that cannot be used.
    """
    return load_recipe(network.recipe).model_copy(update={"name": network.name, "seed": network.seed})


def needed_trainings(table: TrainingTable) -> list[NeededTraining]:
    """The trainings of a table of which a file is missing, or is of another recipe or data set; the longest first.

    Raises:
        InputError: a recipe or data that cannot be used, or a recipe without a snapshot that the table asks for.
    """
    needed: dict[str, NeededTraining] = {}
    identities: dict[tuple[str, bool], str | None] = {}  # a data set is read once for all its recipes
    for network in table.networks():
        recipe = recipe_of(network)
        lacking = set(table.snapshots) - set(recipe.snapshots)
        if lacking:
            raise InputError(f"{network.recipe}: no snapshot at {min(lacking):,} images; add it to its `snapshots`")
        learnt = (recipe.dataset, isinstance(recipe, DenoiserRecipe) and recipe.label_policy == "class")
        if learnt not in identities:
            identities[learnt] = task_of(recipe).identity()
        fingerprint = recipe.fingerprint(identities[learnt])
        if not is_result_of(network.path(), fingerprint):
            result = network._replace(images=None).path()
            needed[network.name] = NeededTraining(recipe, is_result_of(result, fingerprint))
    return sorted(needed.values(), key=lambda one: -one.recipe.minutes)
