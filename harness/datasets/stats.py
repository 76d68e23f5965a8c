"""Statistics of a data set: counts, mean and standard deviation, duplicates and the digest, in one pass."""

import hashlib
from typing import NamedTuple

import numpy as np

from harness.datasets.image_set import BATCH, ImageSet, new_digest


class Stats(NamedTuple):
    """Statistics of a data set.

    Attributes:
        images: number of images.
        shape: (C, H, W).
        classes: number of images of each class, [label_dim] int64; None without labels.
        mean: mean of each channel in bytes, [C].
        std: standard deviation of each channel in bytes over all pixels, [C]; divided by their number.
        unit_mean: mean in [-1, 1], where a byte b is b/127.5 - 1, [C].
        unit_std: standard deviation in the same unit, [C].
        duplicates: number of images that are equal to an earlier one.
        digest: see `ImageSet.digest`.
        skipped: images that were left out when the set was opened.
    """

    images: int
    shape: tuple[int, ...]
    classes: np.ndarray | None
    mean: np.ndarray
    std: np.ndarray
    unit_mean: np.ndarray
    unit_std: np.ndarray
    duplicates: int
    digest: str
    skipped: list[str]

    @property
    def sigma_data(self) -> float:
        """Standard deviation over all pixels of all channels, in [-1, 1]: sigma_data of the paper's preconditioning.

        The mean of the squares, less the square of the mean.
        """
        mean = self.unit_mean.mean()
        return float(np.sqrt((self.unit_std**2 + self.unit_mean**2).mean() - mean**2))


def stats(images: ImageSet, batch: int = BATCH) -> Stats:
    """Compute the statistics of a data set; memory grows by 16 bytes per image.

    Each channel has 256 counters, so mean and standard deviation come from exact counts.

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
    """Mean and standard deviation [C] from counts [C, 256] of the 256 levels."""
    levels = np.arange(256)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    spread = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    return mean, np.sqrt(spread)


def _distinct(prints: bytearray) -> int:
    """Number of distinct fingerprints of 16 bytes."""
    pairs = np.frombuffer(bytes(prints), "<u8").reshape(-1, 2)
    ordered = pairs[np.lexsort(pairs.T)]
    return 1 + int((ordered[1:] != ordered[:-1]).any(axis=1).sum())
