"""MNIST and its relatives: IDX files, plain or compressed with gzip.

    images   00 00 08 03, then N, H, W as big-endian int32, then N H W bytes     [N, 1, H, W]
    labels   00 00 08 01, then N, then N bytes                                   [N]

The labels of `train-images-idx3-ubyte.gz` are in `train-labels-idx1-ubyte` of the same folder, with or without `.gz`. A
plain file is read in place. A compressed file is inflated into memory, up to the size that its header states. EMNIST
stores its images rotated; they are returned as stored.

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
"""The first bytes: numbers of type uint8. The number of dimensions follows."""

GZIP = b"\x1f\x8b"
MAX_INFLATED = 1 << 30
"""Bytes allowed in a compressed file; the largest one, EMNIST ByClass, has 547 million."""


def from_idx(path: Path) -> ImageSet:
    """The images of a file, with labels if the folder has a file of them.

    Raises:
        InputError: not an IDX file, truncated, or not one label for each image.
    """
    images = read_idx(path)
    if images.ndim != 3 or not images.size:
        sides = f"{images.ndim} sides, {list(images.shape)}"
        raise InputError(f"{path}: images have 3 sides, [N, H, W]; the file has {sides}: is it the one of labels?")
    beside = find_labels(path)
    labels = read_idx(beside) if beside else None
    if labels is not None and labels.shape != (len(images),):
        raise InputError(f"{beside}: {list(labels.shape)} labels for {len(images):,} images; they belong to others")
    return of_array(path.name, images[:, None], labels)


def find_labels(path: Path) -> Path | None:
    """The file with the labels of a file of images; None if there is none."""
    plain = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if plain == path.name.removesuffix(".gz"):
        return None
    return next((labels for end in ("", ".gz") if (labels := path.with_name(plain + end)).is_file()), None)


def read_idx(path: Path) -> np.ndarray:
    """The numbers of a file, uint8 in the shape that its header states; read-only.

    Raises:
        InputError: not an IDX file, another type of numbers, or fewer or more bytes than its header states.
    """
    data = mapped(path)
    if bytes(data[:2]) == GZIP:
        return _inflated(path)
    shape, start = _header(bytes(data[:64]), path)
    _check_size(len(data) - start, math.prod(shape), path)
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
    _check_size(len(content), size, path)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _header(head: bytes, path: Path) -> tuple[tuple[int, ...], int]:
    """The shape, and the offset of the first number."""
    sides = head[3] if len(head) > 3 else 0
    start = 4 + 4 * sides
    if head[:3] != HEAD or sides not in (1, 3) or len(head) < start:
        raise InputError(f"{path}: not an IDX file of bytes with 1 or 3 sides: it begins with {head[:4]!r}")
    return struct.unpack(f">{sides}I", head[4:start]), start


def _check_size(size: int, stated: int, path: Path) -> None:
    if size != stated:
        more = "more" if size > stated else f"{size:,}"
        raise InputError(f"{path}: states {stated:,} bytes of numbers and has {more}; truncated or damaged")
