"""What all feature extractors are: images in, numbers out, the same for an image and for the PNG it would become.

Images arrive as values in [-1, 1] and become bytes first, trunc(clip(127.5 x + 128, 0, 255)), as when they are written
to a file; networks see those. So features of samples that never were files equal those of the files, and stored bytes,
read as byte / 127.5 - 1, come back as they were.

An extractor of floats sees images of any range and shape as they arrive. Its id says so: features of bytes and of
floats are not comparable.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.datasets.image_bytes import check_finite, to_bytes


class Outputs(NamedTuple):
    """What an extractor says of images: features [N, width], and class probabilities [N, classes] if asked for."""

    features: Tensor
    probabilities: Tensor | None = None


class Extractor(ABC):
    """Images to features, with an identity: results under unequal ids are not comparable.

    Args:
        id: network, hash of the weights, layer and resizing, in one line.
        width: features of an image, d.
        classes: number of classes; 0 if the network tells none.
        channels: channels that the network takes; None for any. Grey images are repeated to 3.
        device: where it computes.
        sees: images as `bytes`, or as `floats`.

    Attributes:
        only_images: it takes images [N, C, H, W], and samples of no other shape unless it sees floats of any number of
            channels.
    """

    only_images: ClassVar[bool] = True

    def __init__(
        self,
        id: str,
        width: int,
        classes: int = 0,
        channels: int | None = 3,
        device: str | torch.device = "cpu",
        sees: Literal["bytes", "floats"] = "bytes",
    ) -> None:
        self.id, self.width, self.classes, self.channels = id, width, classes, channels
        self.device, self.sees = torch.device(device), sees

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features [N, width] float64 of images [N, C, H, W] in [-1, 1], or of any floats, on the extractor's device.

        Raises:
            InputError: images of a shape that it does not take, or features of another length than it should have.
            SamplingError: images that are not finite.
        """
        return self.outputs(images).features

    @torch.no_grad()
    def outputs(self, images: Tensor, probabilities: bool = False) -> Outputs:
        """Features as `__call__`, and if asked for the probabilities [N, classes] float64.

        Raises:
            InputError, SamplingError: as `__call__`; InputError also where probabilities are asked of a network that
                has none.
        """
        if probabilities and not self.classes:
            raise InputError(f"extractor '{self.id}' tells no classes, and an Inception Score needs them")
        seen = self.seen(images)
        outputs = self.of_bytes(seen, probabilities) if self.sees == "bytes" else self.of_floats(seen)
        if outputs.features.shape != (len(seen), self.width):
            raise InputError(
                f"extractor '{self.id}' should give [{len(seen)}, {self.width}] features; we got "
                f"{list(outputs.features.shape)}"
            )
        chances = outputs.probabilities
        return Outputs(outputs.features.double(), None if chances is None else chances.double())

    def seen(self, images: Tensor) -> Tensor:
        """What the network sees, on its device: bytes, uint8 [N, channels, H, W], or floats as they are."""
        if self.only_images and images.ndim != 4 and not (self.sees == "floats" and self.channels is None):
            raise InputError(f"features need images [N, C, H, W]; we got {list(images.shape)}")
        seen = images.to(self.device)
        if self.sees == "bytes":
            seen = to_bytes(seen)
        else:
            check_finite(seen)
        if self.channels == 3 and seen.shape[1] == 1:
            seen = seen.expand(-1, 3, -1, -1)
        if self.channels is not None and seen.shape[1] != self.channels:
            raise InputError(
                f"extractor '{self.id}' takes images of {self.channels} channels; we got {images.shape[1]}"
            )
        return seen

    @abstractmethod
    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """Features, and probabilities if asked for, of uint8 images [N, channels, H, W]."""

    def of_floats(self, seen: Tensor) -> Outputs:
        """Features of floats [N, ...]; only extractors that see floats have them."""
        raise InputError(f"extractor '{self.id}' sees images as bytes")
