"""Conversion between images in [-1, 1] and the bytes that a PNG file stores.

    byte  = trunc(clip(127.5 x + 128, 0, 255))        value = byte / 127.5 - 1

The offset is 128, not 127.5, so that truncation rounds to the nearest level and byte -> value -> byte is the identity.
The arithmetic runs in the dtype of the images, as in the official generate.py (Karras et al. 2022). Pass the float64
images of the sampler: float32 may fall on the other side of a rounding boundary.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from harness.core.data_range import DataRange
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
    check_finite(levels)
    clipped = levels.clip(0, 255)
    if isinstance(clipped, np.ndarray):
        return clipped.astype(np.uint8)
    import torch

    return clipped.to(torch.uint8)


def check_finite(images: Array) -> None:
    """Refuse images with values that are no numbers.

    Raises:
        SamplingError: NaN or infinite values; with their number.
    """
    bad = int((~(abs(images) < float("inf"))).sum())
    if bad:
        raise SamplingError(f"{bad} of {int(np.prod(images.shape))} image values are not finite")


def to_picture(images: np.ndarray, data_range: DataRange) -> np.ndarray:
    """Bytes that show images of any range, for the eye alone: no metric sees them.

    Args:
        images: of any shape, floating.
        data_range: what is black and white; None for the least and the greatest value of these images.

    Raises:
        SamplingError: as `to_bytes`.
    """
    check_finite(images)
    low, high = (float(images.min()), float(images.max())) if data_range is None else data_range
    if (low, high) == (-1.0, 1.0):
        return to_bytes(images)
    return to_bytes((images - low) * (2 / ((high - low) or 1.0)) - 1)


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


def as_values(images: np.ndarray) -> "torch.Tensor":
    """Images of a data set as a denoiser would give them: bytes as values in [-1, 1], floats as they are."""
    import torch

    given = torch.from_numpy(images)
    return from_bytes(given) if images.dtype == np.uint8 else given
