"""A data set of images: one interface over files, archives and arrays.

An image is uint8 [C, H, W] with 1 (grey) or 3 (red, green, blue) channels; all images of a set have one shape. Images
are decoded on demand, so memory does not grow with their number. A set may hold floats of any shape instead, such as
latents, where who opens it asks for them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.core.errors import InputError

if TYPE_CHECKING:
    from hashlib import _Hash

Shape = tuple[int, int, int]
"""Channels, height, width."""

Read = Callable[[np.ndarray], np.ndarray]
"""Maps rows [B] int64, each in range, to their images [B, C, H, W] uint8, or to floats [B, ...]."""

BATCH = 256
MAX_CLASSES = 1 << 20
"""Networks take classes as one-hot vectors, so a larger number cannot be a class."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one shape in a fixed order, read on demand.

    Args:
        name: short name for messages, such as the file's.
        shape: (C, H, W) of every image; of floats any shape.
        count: number of images, N; at least 1.
        read: reads the images of some rows.
        labels: classes [N] int64, from 0; None without classes.
        skipped: name and reason of each image that was left out because it cannot be used.
        formats: kinds of the image files, such as `PNG` and `JPEG`; none for images that are kept as bytes.
        floats: type of the numbers of a set of floats, such as `float32`; "" for a set of bytes.

    Raises:
        InputError: no images, or not one class for each image.
    """

    name: str
    shape: tuple[int, ...]
    count: int
    read: Read = field(repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)
    skipped: list[str] = field(default_factory=list)
    formats: tuple[str, ...] = ()
    floats: str = ""

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
        """Yield all images in order, [B, C, H, W] uint8 or floats, with B = `size`; the last batch may be smaller.

        Raises:
            InputError: `size` below 1; an image that cannot be decoded, by its name.
        """
        if size < 1:
            raise InputError(f"a batch holds at least 1 image; we got {size}")
        for start in range(0, self.count, size):
            yield self.read(np.arange(start, min(start + size, self.count)))

    def take(self, rows: Sequence[int] | np.ndarray) -> "ImageSet":
        """The data set of some rows, in the given order.

        Args:
            rows: indices from 0, or a boolean mask [N].

        Raises:
            InputError: no rows, or a row out of range.
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
        return replace(self, count=len(chosen), read=lambda wanted: self.read(chosen[wanted]), labels=labels)

    def digest(self) -> str:
        """SHA-256, in hex, of the shape and the bytes of all images in order; computed once.

        It identifies the content: a folder, an archive and an array of equal images in equal order have the same
        digest, whatever the names and the compression of the files. It leaves out the labels.

        Raises:
            InputError: an image that cannot be decoded, by its name.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = new_digest(self.shape, self.floats)
        for batch in self.batches():
            digest.update(batch.tobytes())
        return digest.hexdigest()


def brief_rows(rows: np.ndarray) -> str:
    """The first rows, for messages."""
    said = ", ".join(str(row) for row in rows.ravel()[:4])
    return f"[{said}{', ...' if rows.size > 4 else ''}]"


def new_digest(shape: tuple[int, ...], floats: str = "") -> "_Hash":
    """A SHA-256 of the shape, and of the type of floats, to be updated with the bytes of the images in order."""
    return hashlib.sha256(" ".join(filter(None, [floats, "x".join(map(str, shape))])).encode() + b"\n")


def of_array(name: str, images: np.ndarray, labels: np.ndarray | None = None) -> ImageSet:
    """The data set of an array in memory or of a view of a file; rows are copied when read.

    Args:
        name: for messages.
        images: [N, C, H, W] uint8, C 1 or 3.
        labels: classes [N], from 0; None without classes.

    Raises:
        InputError: another type or shape, no images, or wrong labels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[1:]:
        raise InputError(
            f"{name}: images are uint8 [N, C, H, W] with 1 or 3 channels; we got {images.dtype} {list(images.shape)}"
        )
    _, channels, height, width = images.shape
    return ImageSet(name, (channels, height, width), len(images), lambda rows: images[rows], labels)


def of_floats(name: str, values: np.ndarray, labels: np.ndarray | None = None) -> ImageSet:
    """The data set of an array of floats in memory or of a view of a file; rows are copied when read.

    Args:
        name: for messages.
        values: [N, ...], floating, of any range.
        labels: classes [N], from 0; None without classes.

    Raises:
        InputError: another type, no numbers, or wrong labels; when rows are read, numbers that are not finite.
    """
    if values.dtype.name not in ("float16", "float32", "float64") or values.ndim < 2 or not values.size:
        raise InputError(
            f"{name}: floats are an array [N, ...] of 16, 32 or 64 bits; we got {values.dtype} {list(values.shape)}"
        )

    def read(rows: np.ndarray) -> np.ndarray:
        some = values[rows]
        if not np.isfinite(some).all():
            raise InputError(f"{name}: holds numbers that are not finite; make it again")
        return some.astype(some.dtype.newbyteorder("="))

    return ImageSet(name, values.shape[1:], len(values), read, labels, floats=values.dtype.name)


def checked_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels as int64 [N].

    Raises:
        InputError: not one integer from 0 for each image.
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
    """A shape [C, H, W] in words: `32x48 RGB` is 32 high and 48 wide."""
    return f"{said_side(shape)} {'grey' if shape[0] == 1 else 'RGB'}"


def said_side(shape: tuple[int, ...]) -> str:
    """The height and width of a shape [C, H, W] in words."""
    return f"{shape[1]}x{shape[2]}"
