"""Arrays of images: `.npy`, and `.npz` as samplers write their results.

    one array      uint8 [N, H, W], [N, H, W, C] or [N, C, H, W], with C 1 or 3
    .npz           images in `arr_0` or `images`, classes in `arr_1` or `labels`; other arrays are ignored

Where floats are asked for, one array is floats [N, ...] of any shape, which stays as it is.

A `.npy` file and an uncompressed `.npz` are read in place, so memory does not grow with the number of images. A
compressed `.npz` is inflated into memory when it is opened. Nothing is unpickled.

Source: NumPy Enhancement Proposal 1; sample files of guided-diffusion (Dhariwal and Nichol 2021) for the names.
"""

import io
import math
import tokenize
import warnings
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets.archives import ZipMembers
from harness.datasets.image_set import ImageSet, of_array, of_floats
from harness.denoisers.checkpoints.pickles.torch_file import mapped

MAGIC = b"\x93NUMPY"
MAX_HEADER = 16 << 10
MAX_INFLATED = 2 << 30
"""Bytes allowed in a compressed array."""

IMAGES, LABELS = ("arr_0", "images"), ("arr_1", "labels")
TO_BYTES = "store bytes: (x * 127.5 + 128).clip(0, 255).astype(numpy.uint8) for x in [-1, 1]"


def from_npy(path: Path, floats: bool = False) -> ImageSet:
    """The images of a `.npy` file, read in place.

    Args:
        path: the file.
        floats: an array of floats is taken as it is.

    Raises:
        InputError: not a `.npy` file, truncated, not uint8, or a shape that is ambiguous.
    """
    return _set_of(path.name, array_in(mapped(path), str(path)), str(path), None, floats)


def from_npz(path: Path, archive: ZipMembers, floats: bool = False) -> ImageSet:
    """The images of a `.npz` file, with their classes if it has them.

    Args:
        path: the file.
        archive: the same, open.
        floats: an array of floats is taken as it is.

    Raises:
        InputError: as `from_npy`; no array of images, or two; not one class for each image.
    """
    images = _chosen(archive, IMAGES, path)
    labels = _chosen(archive, LABELS, path)
    if images is None:
        there = ", ".join(brief(name) for name in sorted(archive.members)[:8])
        raise InputError(f"{path}: no array of images, 'arr_0' or 'images'; it has {there or 'none'}")
    classes = None if labels is None else _array(archive, labels, path)
    return _set_of(path.name, _array(archive, images, path), f"{path}: {images}", classes, floats)


def _set_of(name: str, array: np.ndarray, where: str, labels: np.ndarray | None, floats: bool) -> ImageSet:
    if floats and array.dtype.kind == "f":
        return of_floats(name, array, labels)
    return of_array(name, as_images(array, where), labels)


def is_npz(archive: ZipMembers) -> bool:
    """Whether a zip file holds arrays only."""
    return bool(archive.members) and all(name.endswith(".npy") for name in archive.members)


def as_images(array: np.ndarray, where: str) -> np.ndarray:
    """An array of images as [N, C, H, W], a view.

    Raises:
        InputError: not uint8, or a shape that is ambiguous or not one of images.
    """
    shape = array.shape
    if array.dtype != np.uint8:
        remedy = TO_BYTES if array.dtype.kind == "f" else "store them as numpy.uint8"
        raise InputError(f"{where}: {array.dtype} numbers; images are bytes, 0 to 255: {remedy}")
    if not array.size:
        raise InputError(f"{where}: an array of shape {list(shape)} has no images")
    last, first = len(shape) == 4 and shape[3] in (1, 3), len(shape) == 4 and shape[1] in (1, 3)
    if len(shape) == 3 and shape[2] not in (1, 3):
        return array[:, None]
    if last and not first:
        return array.transpose(0, 3, 1, 2)
    if first and not last:
        return array
    meaning = "may be read in more than one way" if (last and first) or len(shape) == 3 else "is not one of images"
    raise InputError(
        f"{where}: shape {list(shape)} {meaning}; [N, H, W], [N, H, W, C] and [N, C, H, W] are read, with C 1 or 3 and "
        "no other side that small"
    )


def array_in(data: memoryview, where: str) -> np.ndarray:
    """The array of a `.npy` file, a view of its bytes.

    Raises:
        InputError: not a `.npy` file, truncated, or an array of Python objects.
    """
    head = io.BytesIO(bytes(data[:MAX_HEADER]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of headers written by Python 2
            version = npy.read_magic(head)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version[0]}.{version[1]}")
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(head)
    except (ValueError, TypeError, SyntaxError, EOFError, OverflowError, RecursionError, tokenize.TokenError) as error:
        raise InputError(f"{where}: not an array of NumPy that is read here ({brief(str(error))})") from None
    if dtype.hasobject:
        raise InputError(
            f"{where}: an array of Python objects, which asks for a pickle, and pickles run code; refused. Store an "
            "array of numbers"
        )
    count, start = math.prod(shape), head.tell()
    if min(shape, default=0) < 0 or not dtype.itemsize or len(data) - start != count * dtype.itemsize:
        raise InputError(
            f"{where}: states {dtype} {list(shape)} and has {len(data) - start:,} bytes of numbers; truncated or "
            "damaged"
        )
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if by_columns else "C")


def _chosen(archive: ZipMembers, names: tuple[str, ...], path: Path) -> str | None:
    arrays = [f"{name}.npy" for name in names if f"{name}.npy" in archive.members]
    if len(arrays) > 1:
        raise InputError(f"{path}: has both {' and '.join(arrays)}; leave one of them out")
    return arrays[0] if arrays else None


def _array(archive: ZipMembers, name: str, path: Path) -> np.ndarray:
    in_place, size = archive.stored(name), archive.members[name].file_size
    if in_place is None and size > MAX_INFLATED:
        raise InputError(
            f"{path}: {name} is compressed and has {size:,} bytes; above {MAX_INFLATED:,}, store it with "
            "numpy.savez, uncompressed, so that it is read in place"
        )
    data = memoryview(archive.read(name, MAX_INFLATED)) if in_place is None else in_place
    return array_in(data, f"{path}: {name}")
