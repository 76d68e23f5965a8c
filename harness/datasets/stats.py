"""What is in a set of images: counts, levels, duplicates and the digest, in one pass over it."""

import hashlib
from typing import NamedTuple

import numpy as np

from harness.datasets.image_set import BATCH, ImageSet, Shape, new_digest


class Stats(NamedTuple):
    """A description of a set of images.

    Args:
        images: how many.
        shape: (C, H, W).
        classes: images of each class, [label_dim] int64, also where there are none; None without labels.
        mean: of each channel in bytes, [C].
        std: of each channel in bytes, [C]; over all pixels, divided by their number.
        unit_mean: of each channel in [-1, 1], where a byte b is b/127.5 - 1.
        unit_std: likewise.
        duplicates: images that are equal to an earlier one.
        digest: see `ImageSet.digest`.
        skipped: images that were left out when the set was opened.
    """

    images: int
    shape: Shape
    classes: np.ndarray | None
    mean: np.ndarray
    std: np.ndarray
    unit_mean: np.ndarray
    unit_std: np.ndarray
    duplicates: int
    digest: str
    skipped: list[str]


def stats(images: ImageSet, batch: int = BATCH) -> Stats:
    """Describe a set of images; memory grows by 16 bytes an image.

    Levels are counted, one counter for each byte of a channel, so a mean has no rounding but its own.

    Raises:
        InputError: an image that cannot be decoded, by its name.
    """
    counts = np.zeros((images.shape[0], 256), np.int64)
    prints = bytearray()
    digest = new_digest(images.shape)
    for part in images.batches(batch):
        digest.update(part.tobytes())
        for channel, row in enumerate(counts):
            row += np.bincount(part[:, channel].ravel(), minlength=256)
        for image in part:
            prints += hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    mean, std = _moments(counts)
    return Stats(
        images=len(images),
        shape=images.shape,
        classes=None if images.labels is None else np.bincount(images.labels),
        mean=mean,
        std=std,
        unit_mean=mean / 127.5 - 1,
        unit_std=std / 127.5,
        duplicates=len(images) - _distinct(prints),
        digest=digest.hexdigest(),
        skipped=images.skipped,
    )


def _moments(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [C] of levels that were counted, [C, 256]."""
    levels = np.arange(256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    spread = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    return mean, np.sqrt(spread)


def _distinct(prints: bytearray) -> int:
    """How many of the fingerprints, 16 bytes each, differ."""
    pairs = np.frombuffer(bytes(prints), "<u8").reshape(-1, 2)
    ordered = pairs[np.lexsort(pairs.T)]
    return 1 + int((ordered[1:] != ordered[:-1]).any(axis=1).sum())
