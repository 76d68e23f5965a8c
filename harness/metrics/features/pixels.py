"""Pixels as features: bytes in order of channel, row and column, in units of the whole range (byte / 255).

No network, so nothing to download and nothing to doubt; but distances of pixels say little of what images show. With
`size` images are first averaged down, which keeps the width small.
"""

import torch
from torch import Tensor
from torch.nn import functional

from harness.core.errors import InputError
from harness.metrics.features.extractor import Extractor, Outputs


class PixelFeatures(Extractor):
    """Images [N, C, H, W] as rows of numbers [N, C * h * w] from 0 to 1.

    Args:
        id: identity.
        shape: [C, H, W] of the images.
        size: h = w, the mean over equal squares of pixels; None for the pixels as they are.
        device: where it computes.

    Raises:
        InputError: a size that does not divide the images.
    """

    def __init__(
        self, id: str, shape: tuple[int, int, int], size: int | None, device: str | torch.device = "cpu"
    ) -> None:
        channels, height, wide = shape
        if size is not None and (height % size or wide % size or height // size != wide // size):
            raise InputError(f"images of {height}x{wide} pixels cannot be averaged to {size}x{size}; use a divisor")
        super().__init__(id, channels * (size * size if size else height * wide), 0, None, device)
        self.shape, self.size = shape, size

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The pixels, averaged down if so chosen."""
        if tuple(seen.shape[1:]) != self.shape:
            raise InputError(f"extractor '{self.id}' takes images {list(self.shape)}; we got {list(seen.shape[1:])}")
        values = seen.float() / 255
        if self.size:
            values = functional.avg_pool2d(values, self.shape[1] // self.size)
        return Outputs(values.flatten(1))
