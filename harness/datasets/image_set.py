"""Sets of real images as bytes, whatever they are kept in: one interface over files, archives and arrays.

An image is uint8 [C, H, W] with 1 (grey) or 3 (red, green, blue) channels; all images of a set have one shape. Nothing
is decoded before it is asked for, so memory stays flat in the number of images.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.core.errors import InputError

if TYPE_CHECKING:
    from hashlib import _Hash

Shape = tuple[int, int, int]
"""Channels, height, width."""

Read = Callable[[np.ndarray], np.ndarray]
"""Rows [B] int64, each in range, to their images [B, C, H, W] uint8."""

BATCH = 256
MAX_CLASSES = 1 << 20
"""A class is one-hot in a network's input, so a number above this is no class."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape in a fixed order, read when they are asked for.

    Args:
        name: short name for messages, such as the file's.
        shape: (C, H, W) of every image.
        count: number of images, N; at least 1.
        read: gives the images of some rows.
        labels: classes [N] int64, from 0; None where there are none.
        skipped: images that were left out since they cannot be used, each with its name and the reason.

    Raises:
        InputError: no images, or labels that are not one class an image.
    """

    name: str
    shape: Shape
    count: int
    read: Read = field(repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"{self.name}: no images; a data set has at least 1")
        if self.labels is not None:
            object.__setattr__(self, "labels", checked_labels(self.labels, self.count, self.name))

    def __len__(self) -> int:
        return self.count

    @property
    def label_dim(self) -> int:
        """Number of classes: the largest label + 1, or 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max()) + 1

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        """All images in order, [B, C, H, W] uint8 with B = `size`, the last batch with what is left.

        Raises:
            InputError: `size` below 1; an image that cannot be decoded, by its name.
        """
        if size < 1:
            raise InputError(f"a batch holds at least 1 image; we got {size}")
        for start in range(0, self.count, size):
            yield self.read(np.arange(start, min(start + size, self.count)))

    def take(self, rows: Sequence[int] | np.ndarray) -> "ImageSet":
        """The images of some rows, in the order given: indices, from 0, or a boolean mask [N].

        Raises:
            InputError: no rows, or one that the set does not have.
        """
        given = np.asarray(rows)
        if given.dtype == bool:
            if given.shape != (self.count,):
                raise InputError(f"{self.name}: a mask of shape {list(given.shape)} for {self.count:,} images")
            given = np.flatnonzero(given)
        if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
            raise InputError(f"{self.name}: rows must be whole numbers, at least one; we got {brief_rows(given)}")
        if given.min() < 0 or given.max() >= self.count:
            raise InputError(f"{self.name}: has rows 0 to {self.count - 1:,}; we got {brief_rows(given)}")
        chosen = given.astype(np.int64)
        labels = None if self.labels is None else self.labels[chosen]
        return ImageSet(
            self.name, self.shape, len(chosen), lambda wanted: self.read(chosen[wanted]), labels, self.skipped
        )

    def digest(self) -> str:
        """SHA-256, in hex, of the shape and the bytes of all images in order; computed once.

        It identifies the content: a folder, an archive and an array with equal images in equal order have one digest,
        whatever the files are called and however they are compressed. Labels are not in it.

        Raises:
            InputError: an image that cannot be decoded, by its name.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = new_digest(self.shape)
        for batch in self.batches():
            found.update(batch.tobytes())
        return found.hexdigest()


def brief_rows(rows: np.ndarray) -> str:
    """Rows in a message: the first few."""
    said = ", ".join(str(row) for row in rows.ravel()[:4])
    return f"[{said}{', ...' if rows.size > 4 else ''}]"


def new_digest(shape: Shape) -> "_Hash":
    """A SHA-256 that has seen the shape and waits for the images' bytes, [C, H, W] one after the other."""
    return hashlib.sha256("x".join(str(side) for side in shape).encode() + b"\n")


def of_array(name: str, images: np.ndarray, labels: np.ndarray | None = None) -> ImageSet:
    """The set of an array [N, C, H, W] uint8, which may be a view of a file; rows are copied when read.

    Raises:
        InputError: another type of numbers or number of sides, no images, or wrong labels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[1:]:
        raise InputError(
            f"{name}: images are uint8 [N, C, H, W] with 1 or 3 channels; we got {images.dtype} {list(images.shape)}"
        )
    _, channels, height, width = images.shape
    return ImageSet(name, (channels, height, width), len(images), lambda rows: images[rows], labels)


def checked_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels as int64 [N].

    Raises:
        InputError: not one whole number of a class, from 0, for every image.
    """
    if labels.ndim == 2:
        raise InputError(
            f"{name}: labels of shape {list(labels.shape)} are vectors; only class numbers are read: one whole number "
            "an image, so store the argmax of one-hot labels"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise InputError(
            f"{name}: labels are one whole number an image; we got {labels.dtype} {list(labels.shape)} for {count:,} "
            "images"
        )
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise InputError(
            f"{name}: classes are numbers from 0 to {MAX_CLASSES - 1:,}; we got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64)


def said_shape(shape: tuple[int, ...]) -> str:
    """A shape [C, H, W] in a message, as people say it: `32x48 RGB` is 32 high and 48 wide."""
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
