"""Images to learn from: any data set that the readers open, in memory if it fits, with classes where it has them.

A byte b becomes b / 127.5 - 1, as in the official training. The digits of scikit-learn are an exception: their counts
of ink k = 0 ... 16 become k / 8 - 1, exactly.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.core.config import Shape
from harness.core.errors import InputError
from harness.datasets import digits as digit_sets
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from harness.datasets.stats import stats
from harness.hub.digits import CLASSES, SHAPE, load_digits

IN_MEMORY = 2 * 2**30
"""Bytes of images that are decoded once and kept; a larger set is decoded batch by batch."""


class TrainingData(NamedTuple):
    """Images with their classes.

    Args:
        name: for messages.
        identity: what a result depends on: a name of ours, or the SHA-256 of all images in order.
        shape: (C, H, W).
        length: number of images.
        label_dim: number of classes; 0 for none.
        labels: classes [length] int64; None without.
        deviation: standard deviation over all pixels, in [-1, 1].
        read: rows [B] -> images [B, C, H, W] float32, nominally in [-1, 1].
    """

    name: str
    identity: str
    shape: Shape
    length: int
    label_dim: int
    labels: Tensor | None
    deviation: float
    read: Callable[[Tensor], Tensor]

    def identity_for(self, source: str, with_classes: bool) -> str | None:
        """What stands for the data set in a recipe's fingerprint; None where its name says it.

        Args:
            source: the recipe's `dataset`.
            with_classes: whether the classes are learnt too.
        """
        if self.identity == source:
            return None
        if not with_classes or self.labels is None:
            return self.identity
        classes = hashlib.sha256(self.labels.numpy().astype("<i8").tobytes()).hexdigest()
        return f"{self.identity}, classes {classes}"


def open_training_data(source: str) -> TrainingData:
    """Open a data set to learn from; see `harness.datasets.open.open_images` for what is understood.

    Raises:
        InputError: no known layout, images that cannot be decoded, or images that are not square.
    """
    if source == digit_sets.NAME:
        images, labels = load_digits()
        deviation = images.double().std(correction=0).item()
        return TrainingData(source, source, SHAPE, len(labels), CLASSES, labels, deviation, lambda rows: images[rows])
    found = open_images(source)
    channels, height, width = found.shape
    if height != width:
        raise InputError(
            f"{source}: the networks take square images, and these have {height} x {width} pixels; "
            "crop them with `harness data convert`"
        )
    if len(found) * int(np.prod(found.shape)) <= IN_MEMORY:
        found = of_array(found.name, np.concatenate(list(found.batches())), found.labels)
    facts = stats(found)
    return TrainingData(
        name=found.name,
        identity=f"sha256:{facts.digest}",
        shape=(channels, height, width),
        length=len(found),
        label_dim=found.label_dim,
        labels=None if found.labels is None else torch.from_numpy(found.labels),
        deviation=facts.sigma_data,
        read=lambda rows: to_floats(torch.from_numpy(found.read(rows.numpy()))),
    )


def to_floats(images: Tensor) -> Tensor:
    """Bytes as the numbers in [-1, 1] that networks see, float32."""
    return images.to(torch.float32) / 127.5 - 1
