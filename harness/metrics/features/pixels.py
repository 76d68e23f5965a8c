"""Pixels as features: bytes in order of channel, row and column, in units of the whole range (byte / 255); or floats in
that order, in their own units.

No network, so nothing to download and nothing to doubt; but distances of pixels say little of what images show. With
`size` images are first averaged down, which keeps the width small.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.core.errors import InputError
from harness.metrics.features.extractor import Extractor, Outputs


class PixelFeatures(Extractor):
    """Images [N, C, H, W] as rows of numbers [N, C * h * w] from 0 to 1; without a size, samples of any shape.

    Args:
        id: identity.
        shape: of a sample, [C, H, W] for images.
        size: h = w, the mean over equal squares of pixels; None for the pixels as they are.
        device: where it computes.
        sees: images as `bytes`, or as `floats`.

    Raises:
        InputError: a size that does not divide the images, or samples that are no images with a size.
    """

    only_images = False

    def __init__(
        self,
        id: str,
        shape: tuple[int, ...],
        size: int | None,
        device: str | torch.device = "cpu",
        sees: Literal["bytes", "floats"] = "bytes",
    ) -> None:
        width = math.prod(shape)
        if size is not None:
            if len(shape) != 3:
                raise InputError(f"samples of shape {list(shape)} are no images to average; leave out size")
            channels, height, wide = shape
            if height % size or wide % size or height // size != wide // size:
                raise InputError(f"images of {height}x{wide} pixels cannot be averaged to {size}x{size}; use a divisor")
            width = channels * size * size
        super().__init__(id, width, 0, None, device, sees)
        self.shape, self.size = tuple(shape), size

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The pixels, averaged down if so chosen."""
        self._check_shape(seen)
        return self._averaged(seen.float() / 255)

    def of_floats(self, seen: Tensor) -> Outputs:
        """The numbers in their own units, averaged down if so chosen."""
        self._check_shape(seen)
        return self._averaged(seen)

    def _check_shape(self, seen: Tensor) -> None:
        if tuple(seen.shape[1:]) != self.shape:
            raise InputError(f"extractor '{self.id}' takes images {list(self.shape)}; we got {list(seen.shape[1:])}")

    def _averaged(self, values: Tensor) -> Outputs:
        if self.size:
            values = functional.avg_pool2d(values, self.shape[1] // self.size)
        return Outputs(values.flatten(1))
