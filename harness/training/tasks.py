"""What a recipe asks for, in torch: a network, the data, and the number to make small."""

import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from harness.denoisers.checkpoints import safetensors_file
from harness.denoisers.preconditioning import PRECONDITIONINGS, Preconditioned
from harness.hub.digits import CLASSES, SHAPE, Digits, load_digits, split_digits
from harness.metrics.features.digits import FORMAT, DigitClassifier
from harness.training.losses import EDMLoss, VELoss
from harness.training.recipe import ClassifierRecipe, DenoiserRecipe, Recipe, SongUNetConfig

FOURIER_SCALE = 16.0
"""Standard deviation of the frequencies that a fourier embedding draws for itself."""


class TrainingTask(Protocol):
    """One kind of training."""

    def build(self) -> nn.Module:
        """A fresh network; its weights come from torch's own random stream."""

    def data(self) -> Digits:
        """All images and classes to learn from."""

    def objective(self, network: nn.Module, batch: Digits, generator: Generator) -> Tensor:
        """The mean loss of a batch, ()."""

    def save(self, network: nn.Module, path: Path) -> None:
        """Write the trained network, whole or not at all: safetensors, with configuration and origin in the header."""


class DenoisingTask(NamedTuple):
    """Learn to remove noise."""

    recipe: DenoiserRecipe

    def arguments(self) -> dict[str, Any]:
        """Arguments of the preconditioned network, JSON-ready, under the names of the official constructors."""
        loss = self.recipe.loss
        own: dict[str, float] = {}
        if self.recipe.preconditioning == "ve" and isinstance(loss, VELoss):
            # a VE network supports the levels that its loss draws; the others have a range of their own
            own = {"sigma_min": loss.sigma_min, "sigma_max": loss.sigma_max}
        if self.recipe.preconditioning == "edm" and isinstance(loss, EDMLoss):
            own = {"sigma_data": loss.sigma_data}
        unet = self.recipe.network.model_dump(mode="json", exclude={"fourier_scale"})
        return {
            "img_resolution": SHAPE[1],
            "img_channels": SHAPE[0],
            "label_dim": CLASSES if self.recipe.label_policy == "class" else 0,
            **own,
            "model_type": unet.pop("kind"),
            **unet,
        }

    def build(self) -> nn.Module:
        """The preconditioned network D(x, sigma, labels)."""
        network = PRECONDITIONINGS[self.recipe.preconditioning](**self.arguments())
        wanted = self.recipe.network
        if isinstance(wanted, SongUNetConfig) and wanted.embedding_type == "fourier":
            network.get_buffer("model.map_noise.freqs").mul_(wanted.fourier_scale / FOURIER_SCALE)
        return network

    def data(self) -> Digits:
        """All 1,797 digits: nothing is held out, since samples are compared with the same distribution."""
        return load_digits()

    def objective(self, network: nn.Module, batch: Digits, generator: Generator) -> Tensor:
        """The recipe's loss, averaged over images and pixels."""
        one_hot = functional.one_hot(batch.labels, CLASSES).float() if self.recipe.label_policy == "class" else None
        return self.recipe.loss(network, batch.images, one_hot, generator=generator).mean()

    def save(self, network: nn.Module, path: Path) -> None:
        assert isinstance(network, Preconditioned)
        safetensors_file.save(path, network, origin(self.recipe), getattr(torch, self.recipe.weights))


class ClassifyingTask(NamedTuple):
    """Learn to tell the digits apart, from the training part of the split."""

    recipe: ClassifierRecipe

    def build(self) -> nn.Module:
        """The classifier."""
        return DigitClassifier(self.recipe.channels, self.recipe.width, CLASSES)

    def data(self) -> Digits:
        """The 1,437 images that are not held out."""
        return split_digits().train

    def objective(self, network: nn.Module, batch: Digits, generator: Generator) -> Tensor:
        """Cross entropy of images moved by up to a pixel each way, plus the penalty on the hidden layer."""
        assert isinstance(network, DigitClassifier)
        hidden = network.hidden_layer(shift(batch.images, generator))
        error = functional.cross_entropy(network.head(hidden.tanh()), batch.labels)
        return error + self.recipe.penalty * hidden.square().mean()

    def save(self, network: nn.Module, path: Path) -> None:
        config = {"channels": self.recipe.channels, "width": self.recipe.width, "classes": CLASSES}
        facts = {"test_accuracy": test_accuracy(network), "origin": origin(self.recipe)}
        header = {
            "format": FORMAT,
            "config": json.dumps(config, sort_keys=True),
            "facts": json.dumps(facts, sort_keys=True),
            "recipe_fingerprint": self.recipe.fingerprint(),
        }
        safetensors_file.write_tensors(path, network.state_dict(), header)


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


def shift(images: Tensor, generator: Generator) -> Tensor:
    """Move each image [N, 1, H, W] by -1, 0 or 1 pixel along each axis, filled with -1."""
    n, _, height, width = images.shape
    down, right = torch.randint(0, 3, (2, n, 1, 1), generator=generator)
    padded = functional.pad(images, (1, 1, 1, 1), value=-1.0)[:, 0]
    rows, columns = torch.arange(height)[:, None] + down, torch.arange(width) + right  # [N, H, 1], [N, 1, W]
    return padded[torch.arange(n)[:, None, None], rows, columns][:, None]


def test_accuracy(network: nn.Module) -> float:
    """The part of the held-out digits that a classifier names rightly, in [0, 1]."""
    held = split_digits().test
    with torch.no_grad():
        return (network.eval()(held.images).argmax(1) == held.labels).double().mean().item()


def task_of(recipe: Recipe) -> TrainingTask:
    """The task that a recipe describes."""
    if isinstance(recipe, DenoiserRecipe):
        return DenoisingTask(recipe)
    assert isinstance(recipe, ClassifierRecipe)
    return ClassifyingTask(recipe)
