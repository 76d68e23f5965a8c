"""MNIST and its relatives: IDX files, plain or compressed with gzip.

    images   00 00 08 03, then N, H, W as big-endian int32, then N H W bytes     [N, 1, H, W]
    labels   00 00 08 01, then N, then N bytes                                   [N]

Labels are looked for beside the images: `train-images-idx3-ubyte.gz` has them in `train-labels-idx1-ubyte`, with or
without `.gz`. A plain file is read in place; a compressed one is inflated into memory, to the size that its header
states and not a byte further. EMNIST keeps its images on their side; they are given as they are.

Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from harness.core.errors import InputError
from harness.datasets.image_set import ImageSet, of_array
from harness.denoisers.checkpoints.pickles.torch_file import mapped

HEAD = b"\0\0\x08"
"""Bytes, whatever the number of sides that follows."""

GZIP = b"\x1f\x8b"
MAX_INFLATED = 1 << 30
"""Bytes of a compressed file's images; the largest of the kind, EMNIST ByClass, has 547 million."""


def from_idx(path: Path) -> ImageSet:
    """The images of a file, with their labels where there is a file of those beside it.

    Raises:
        InputError: not such a file, truncated, or with labels that are not one an image.
    """
    images = read_idx(path)
    if images.ndim != 3 or not images.size:
        sides = f"{images.ndim} sides, {list(images.shape)}"
        raise InputError(f"{path}: images have 3 sides, [N, H, W]; the file has {sides}: is it the one of labels?")
    beside = labels_beside(path)
    labels = read_idx(beside) if beside else None
    if labels is not None and labels.shape != (len(images),):
        raise InputError(f"{beside}: {list(labels.shape)} labels for {len(images):,} images; they belong to others")
    return of_array(path.name, images[:, None], labels)


def labels_beside(path: Path) -> Path | None:
    """The file of the labels of a file of images, if it is there."""
    plain = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if plain == path.name.removesuffix(".gz"):
        return None
    return next((found for end in ("", ".gz") if (found := path.with_name(plain + end)).is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """The bytes of a file, in the shape that its header states; read-only.

    Raises:
        InputError: not such a file, of another type of numbers, truncated, or with more bytes than it states.
    """
    data = mapped(path)
    if bytes(data[:2]) == GZIP:
        return _inflated(path)
    shape, start = _header(bytes(data[:64]), path)
    _same(len(data) - start, math.prod(shape), path)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _inflated(path: Path) -> np.ndarray:
    try:
        with gzip.open(path, "rb") as stream:
            shape, start = _header(stream.read(4 + 4 * 3), path)
            size = math.prod(shape)
            if size > MAX_INFLATED:
                raise InputError(f"{path}: states {size:,} bytes, more than {MAX_INFLATED:,}; inflate it yourself")
            stream.seek(start)
            content = stream.read(size + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: cannot be inflated ({error}); truncated or damaged, download it again") from None
    _same(len(content), size, path)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _header(head: bytes, path: Path) -> tuple[tuple[int, ...], int]:
    """Shape, and the byte where the numbers begin."""
    sides = head[3] if len(head) > 3 else 0
    start = 4 + 4 * sides
    if head[:3] != HEAD or sides not in (1, 3) or len(head) < start:
        raise InputError(f"{path}: not an IDX file of bytes with 1 or 3 sides: it begins with {head[:4]!r}")
    return struct.unpack(f">{sides}I", head[4:start]), start


def _same(found: int, stated: int, path: Path) -> None:
    if found != stated:
        more = "more" if found > stated else f"{found:,}"
        raise InputError(f"{path}: states {stated:,} bytes of numbers and has {more}; truncated or damaged")
