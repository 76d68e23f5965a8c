"""The trained network as a file: averaged weights in safetensors, with its configuration and origin in the header."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from harness.denoisers.checkpoints import safetensors_file
from harness.denoisers.checkpoints.safetensors_file import write_tensors
from harness.denoisers.preconditioning import Preconditioned
from harness.metrics.features import digits
from harness.training.recipe import ClassifierRecipe, Recipe
from harness.training.tasks import test_accuracy


def origin(recipe: Recipe) -> dict[str, object]:
    """Where the weights come from: the recipe and the library, and nothing of time or place."""
    return {
        "recipe": json.loads(recipe.canonical()),
        "recipe_fingerprint": recipe.fingerprint(),
        "images": recipe.steps * recipe.batch,
        "steps": recipe.steps,
        "data": "scikit-learn load_digits, 1,797 images (UCI Optical Recognition of Handwritten Digits)",
        "torch": torch.__version__,
    }


def export(recipe: Recipe, network: nn.Module, path: Path) -> None:
    """Write `network` to `path`, whole or not at all."""
    if isinstance(recipe, ClassifierRecipe):
        _export_classifier(recipe, network, path)
    else:
        assert isinstance(network, Preconditioned)
        safetensors_file.save(path, network, origin(recipe))


def _export_classifier(recipe: ClassifierRecipe, network: nn.Module, path: Path) -> None:
    facts = {"test_accuracy": test_accuracy(network), "origin": origin(recipe)}
    config = {"channels": recipe.channels, "width": recipe.width, "classes": 10}
    header = {
        "format": digits.FORMAT,
        "config": json.dumps(config, sort_keys=True),
        "facts": json.dumps(facts, sort_keys=True),
        "recipe_fingerprint": recipe.fingerprint(),
    }
    write_tensors(path, network.state_dict(), header)


def is_result_of(path: Path, recipe: Recipe) -> bool:
    """Whether the file is a finished result of exactly this recipe."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("recipe_fingerprint") == recipe.fingerprint()
    except (OSError, SafetensorError):
        return False
