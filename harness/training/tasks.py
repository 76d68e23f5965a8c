"""What a recipe asks for, in torch: a network, the random numbers of a step, and the loss to make small."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from harness.core.config import kind_of
from harness.core.errors import InputError
from harness.denoisers.checkpoints import safetensors_file
from harness.denoisers.preconditioning import Preconditioned
from harness.hub.digits import CLASSES, Digits, split_digits
from harness.metrics.features.digits import FORMAT, DigitClassifier
from harness.training.augmentation import Augmentation
from harness.training.data import open_training_data
from harness.training.losses import Batch
from harness.training.networks import build_network
from harness.training.recipe import ClassifierRecipe, DenoiserRecipe, Recipe

AnyBatch = TypeVar("AnyBatch", bound=tuple[Any, ...])

DIGITS = "scikit-learn load_digits, 1,797 images (UCI Optical Recognition of Handwritten Digits)"


class TrainingTask(Protocol):
    """One kind of training. A batch is a NamedTuple of tensors [N, ...] and None, and holds all that is random."""

    def identity(self) -> str | None:
        """Identity of the data set, for the recipe's fingerprint; None where its name says it."""

    def build(self) -> nn.Module:
        """A fresh network; its weights come from torch's own random stream."""

    def draw(self, generator: Generator) -> tuple[Tensor | None, ...]:
        """The images of the next step, with all its random numbers, on the CPU."""

    def loss(self, network: nn.Module, batch: Any, inner: nn.Module) -> Tensor:
        """The mean loss of a batch or a part of it, (); `inner` is the network without what wraps it."""

    def save(self, network: nn.Module, path: Path, facts: dict[str, object] | None = None, exact: bool = False) -> None:
        """Write a trained network, whole or not at all: safetensors, with configuration and origin in the header.

        Args:
            network: what to write.
            path: of the file.
            facts: what is to be said beside the recipe, such as how far a snapshot is.
            exact: keep the numbers as they are, whatever type the recipe stores: averages of other widths are made from
                snapshots.
        """


class DenoisingTask:
    """Learn to remove noise.

    Raises:
        InputError: data that cannot be opened or is not what the recipe says, or choices that cannot work together.
    """

    def __init__(self, recipe: DenoiserRecipe) -> None:
        self.recipe = recipe
        self.data = open_training_data(recipe.dataset)
        self._check_data()
        self.objective = recipe.denoising_loss(self.data.deviation)
        self.label_dim = self.data.label_dim if recipe.label_policy == "class" else 0

    def identity(self) -> str | None:
        return self.data.identity_for(self.recipe.dataset, self.recipe.label_policy == "class")

    def build(self) -> Preconditioned:
        """The preconditioned network D(x, sigma, labels).

        Raises:
            InputError: choices that the network refuses, or that give numbers that are not finite.
        """
        recipe = self.recipe
        try:
            network = build_network(
                recipe.preconditioning,
                recipe.network,
                self.data.shape,
                self.label_dim,
                Augmentation.LABELS if recipe.augmentation is not None else 0,
                self.objective.noise,
                self.objective.sigma_data,
            )
        except ValueError as error:
            raise InputError(f"{recipe.name}: {error}") from None
        self._check_levels(network)
        return network

    def draw(self, generator: Generator) -> Batch:
        """Rows, flips, noise levels, augmentation and noise, in this order."""
        recipe, data = self.recipe, self.data
        rows = torch.randint(data.length, (recipe.batch,), generator=generator)
        images = data.read(rows)
        if recipe.flip:
            mirrored = torch.rand([len(rows), 1, 1, 1], generator=generator) < 0.5
            images = torch.where(mirrored, images.flip(3), images)
        return self.objective.draw(images, self._one_hot(rows), generator)

    def some(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Images from all over the data set, at most so many, and their one-hot classes, or None."""
        rows = torch.linspace(0, self.data.length - 1, min(count, self.data.length)).long()
        return self.data.read(rows), self._one_hot(rows)

    def _one_hot(self, rows: Tensor) -> Tensor | None:
        if not self.label_dim:
            return None
        assert self.data.labels is not None
        return functional.one_hot(self.data.labels[rows], self.label_dim).float()

    def loss(self, network: nn.Module, batch: Batch, inner: nn.Module) -> Tensor:
        """The recipe's loss, averaged over images and pixels."""
        assert isinstance(inner, Preconditioned)
        return self.objective(network, batch, inner).mean()

    def save(self, network: nn.Module, path: Path, facts: dict[str, object] | None = None, exact: bool = False) -> None:
        assert isinstance(network, Preconditioned)
        data = DIGITS if self.data.name == "digits" else f"{self.data.name}, {self.data.length:,} images"
        about = origin(self.recipe, self.identity(), data) | (facts or {})
        stored = torch.float32 if exact else getattr(torch, self.recipe.weights)
        safetensors_file.save(path, network, about, stored)

    def _check_data(self) -> None:
        recipe, data = self.recipe, self.data
        if recipe.shape is not None and tuple(recipe.shape) != tuple(data.shape):
            raise InputError(
                f"{recipe.name}: the recipe is for images of shape {list(recipe.shape)}, and those of {data.name} have "
                f"{list(data.shape)}; convert them (`harness data convert`), or change `shape` and the network"
            )
        if recipe.label_policy == "class" and not data.label_dim:
            raise InputError(f"{recipe.name}: label_policy 'class' needs classes, and {data.name} has none; use 'none'")
        if recipe.classes is not None and recipe.classes != data.label_dim:
            raise InputError(
                f"{recipe.name}: the recipe is for {recipe.classes} classes, and {data.name} has {data.label_dim}; "
                "change `classes`, or the data set"
            )
        halvings = len(recipe.network.channel_mult) - 1
        if data.shape[1] % 2**halvings:
            raise InputError(
                f"{recipe.name}: {halvings + 1} resolutions halve the images {halvings} times, and {data.shape[1]} "
                f"pixels are no multiple of {2**halvings}; shorten network.channel_mult, or resize the images"
            )

    def _check_levels(self, network: Preconditioned) -> None:
        """Refuse choices whose numbers are not finite at the ends of the noise levels that will be drawn."""
        for level in self.objective.noise.ends():
            sigma = torch.tensor(level, dtype=torch.float32)
            found = {
                f"c_{name.replace('inp', 'in')}": value for name, value in network.coefficients(sigma)._asdict().items()
            }
            found["weight"] = self.objective.weigh(sigma, network)
            for name, value in found.items():
                if not torch.as_tensor(value).isfinite():
                    raise InputError(
                        f"{self.recipe.name}: noise '{kind_of(type(self.objective.noise))}' draws sigma = "
                        f"{level:.4g}, where {name} is {float(value)} (preconditioning '{network.kind}', weight "
                        f"'{kind_of(type(self.objective.weight))}'); narrow the noise distribution, or change one"
                    )


class LabelledBatch(NamedTuple):
    """Images [N, 1, 8, 8] and their classes [N]."""

    images: Tensor
    labels: Tensor


class ClassifyingTask:
    """Learn to tell the digits apart, from the 1,437 images of the split that are not held out."""

    def __init__(self, recipe: ClassifierRecipe) -> None:
        self.recipe = recipe
        self.digits: Digits = split_digits().train

    def identity(self) -> str | None:
        return None

    def build(self) -> DigitClassifier:
        """The classifier."""
        return DigitClassifier(self.recipe.channels, self.recipe.width, CLASSES)

    def draw(self, generator: Generator) -> LabelledBatch:
        """Images moved by up to a pixel each way."""
        rows = torch.randint(len(self.digits.labels), (self.recipe.batch,), generator=generator)
        return LabelledBatch(shift(self.digits.images[rows], generator), self.digits.labels[rows])

    def loss(self, network: nn.Module, batch: LabelledBatch, inner: nn.Module) -> Tensor:
        """Cross entropy, plus the penalty on the hidden layer."""
        assert isinstance(inner, DigitClassifier)
        hidden = inner.hidden_layer(batch.images)
        error = functional.cross_entropy(inner.head(hidden.tanh()), batch.labels)
        return error + self.recipe.penalty * hidden.square().mean()

    def save(self, network: nn.Module, path: Path, facts: dict[str, object] | None = None, exact: bool = False) -> None:
        config = {"channels": self.recipe.channels, "width": self.recipe.width, "classes": CLASSES}
        about = origin(self.recipe, None, DIGITS) | (facts or {})
        header = {
            "format": FORMAT,
            "config": json.dumps(config, sort_keys=True),
            "facts": json.dumps({"test_accuracy": test_accuracy(network), "origin": about}, sort_keys=True),
            "recipe_fingerprint": self.recipe.fingerprint(),
        }
        safetensors_file.write_tensors(path, network.state_dict(), header)


def origin(recipe: Recipe, identity: str | None, data: str) -> dict[str, object]:
    """Where the weights come from: the recipe, the data and the library, and nothing of time or place."""
    return {
        "recipe": json.loads(recipe.canonical(identity)),
        "recipe_fingerprint": recipe.fingerprint(identity),
        "images": recipe.steps * recipe.batch,
        "steps": recipe.steps,
        "data": data,
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
    device = next(network.parameters()).device
    with torch.no_grad():
        named = network.eval()(held.images.to(device)).argmax(1).cpu()
    return (named == held.labels).double().mean().item()


def parts_of(batch: AnyBatch, size: int) -> Iterator[AnyBatch]:
    """A batch in parts of so many images, in order."""
    for start in range(0, len(batch[0]), size):
        yield each(batch, lambda tensor: tensor[start : start + size])  # noqa: B023 - used at once


def each(batch: AnyBatch, change: Any) -> AnyBatch:
    """A batch with every tensor changed."""
    changed: list[Any] = [None if tensor is None else change(tensor) for tensor in batch]
    return type(batch)(*changed)


def task_of(recipe: Recipe) -> TrainingTask:
    """The task that a recipe describes."""
    if isinstance(recipe, DenoiserRecipe):
        return DenoisingTask(recipe)
    assert isinstance(recipe, ClassifierRecipe)
    return ClassifyingTask(recipe)
