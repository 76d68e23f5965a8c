"""Conversion between images in [-1, 1] and the bytes that a PNG file stores.

    byte  = trunc(clip(127.5 x + 128, 0, 255))        value = byte / 127.5 - 1

The offset is 128, not 127.5, so that truncation rounds to the nearest level and byte -> value -> byte is the identity.
The arithmetic runs in the dtype of the images, as in the official generate.py (Karras et al. 2022). Pass the float64
images of the sampler: float32 may fall on the other side of a rounding boundary.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from harness.core.errors import SamplingError

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def to_bytes(images: Array) -> Array:
    """Convert floating images, nominally in [-1, 1], to bytes.

    Args:
        images: a numpy array or torch tensor of any shape, floating.

    Returns:
        uint8 of the same shape, a numpy array or torch tensor like `images`.

    Raises:
        SamplingError: NaN or infinite values; with their number.
    """
    levels = images * 127.5 + 128
    bad = int((~(abs(levels) < float("inf"))).sum())
    if bad:
        raise SamplingError(f"{bad} of {int(np.prod(images.shape))} image values are not finite")
    clipped = levels.clip(0, 255)
    if isinstance(clipped, np.ndarray):
        return clipped.astype(np.uint8)
    import torch

    return clipped.to(torch.uint8)


def from_bytes(levels: Array) -> Array:
    """Convert bytes to the values that training sees.

    Args:
        levels: a numpy array or torch tensor of any shape, uint8.

    Returns:
        float32 in [-1, 1] of the same shape, a numpy array or torch tensor like `levels`.
    """
    if isinstance(levels, np.ndarray):
        return levels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return levels.float() / 127.5 - 1
