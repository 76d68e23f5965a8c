"""CIFAR-10 and CIFAR-100 in their Python version: pickles in a `.tar.gz`, or an unpacked folder.

    cifar-10-batches-py/   data_batch_1 ... data_batch_5, test_batch    'data' [10000, 3072] uint8, 'labels'
    cifar-100-python/      train, test                                  'data' [N, 3072] uint8, 'fine_labels'

A row of `data` is an image: 1024 values of red, then green, then blue, each row by row. The pickles are of Python 2;
our reader imports and calls nothing that they name. A folder is read in place. Of an archive the requested part is
inflated into memory, 154 MB for 50,000 images. Labels of CIFAR-100 are the fine ones.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.datasets.archives import read_tar
from harness.datasets.image_set import ImageSet
from harness.denoisers.checkpoints.pickles.machine import PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.numpy_arrays import NUMPY_ARRAYS, array_of
from harness.denoisers.checkpoints.pickles.torch_file import mapped
from harness.denoisers.checkpoints.pickles.torch_names import encoded

Part = Literal["train", "test"]
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
ALLOWED = {**NUMPY_ARRAYS, "_codecs.encode": encoded}
BUDGET = PickleBudget(opcodes=2_000_000, text=128 << 20)
"""Limits for one batch: 50,000 names and classes, or 10,000 images as Python 3 writes them in protocol 2."""


class CifarVersion(NamedTuple):
    """CIFAR-10 or CIFAR-100: the files of each part in order, the key of the labels, the number of classes."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    classes: int

    def files(self, part: Part) -> tuple[str, ...]:
        return self.train if part == "train" else self.test


VERSIONS = (
    CifarVersion(tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",), "labels", 10),
    CifarVersion(("train",), ("test",), "fine_labels", 100),
)


class CifarBatch(NamedTuple):
    """Images [N, 3, 32, 32] uint8 and their classes [N] int64."""

    images: np.ndarray
    labels: np.ndarray


def is_folder(path: Path) -> bool:
    """Whether a folder is an unpacked archive: it holds a list of class names and a file of either version."""
    named = (path / "batches.meta").is_file() or (path / "meta").is_file()
    return named and any((path / name).is_file() for version in VERSIONS for name in version.train + version.test)


def from_folder(path: Path, part: Part = "train") -> ImageSet:
    """A part of an unpacked archive, read in place.

    Raises:
        InputError: a file is missing, damaged, or holds something other than images and labels.
    """
    names = {file.name for file in path.iterdir() if file.is_file()}
    version = _version(names, str(path))
    return _joined(_present(version, part, names, str(path)), version, path, part, lambda name: mapped(path / name))


def from_archive(path: Path, part: Part = "train") -> ImageSet:
    """A part of a `.tar.gz`, inflated into memory.

    Raises:
        InputError: not such an archive, or as `from_folder`.
    """
    asked = {name for version in VERSIONS for name in version.files(part)}
    tar = read_tar(path, lambda name: _last(name) in asked)
    files = {_last(name): content for name, content in tar.contents.items()}
    if len(files) != len(tar.contents):
        raise InputError(f"{path}: has {', '.join(sorted(tar.contents)[:4])}: several sets in one; pack one alone")
    names = {_last(name) for name in tar.names}
    version = _version(names, str(path))
    return _joined(_present(version, part, names, str(path)), version, path, part, lambda name: memoryview(files[name]))


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _version(names: set[str], where: str) -> CifarVersion:
    versions = [version for version in VERSIONS if names & {*version.train, *version.test}]
    if len(versions) != 1:
        raise InputError(
            f"{where}: not the Python version of CIFAR-10 (data_batch_1 ... test_batch) or CIFAR-100 (train, test); "
            "download it again, or give a zip file or folder of images"
        )
    return versions[0]


def _present(version: CifarVersion, part: Part, names: set[str], where: str) -> tuple[str, ...]:
    missing = [name for name in version.files(part) if name not in names]
    if missing:
        raise InputError(f"{where}: part '{part}' lacks {', '.join(missing)}; the copy is not whole, download it again")
    return version.files(part)


def _joined(
    files: tuple[str, ...], version: CifarVersion, path: Path, part: Part, content: Callable[[str], memoryview]
) -> ImageSet:
    batches = [read_batch(content(name), f"{path}: {name}", version) for name in files]
    starts = np.cumsum([0, *(len(batch.images) for batch in batches)])

    def read(rows: np.ndarray) -> np.ndarray:
        which = np.searchsorted(starts, rows, side="right") - 1
        images = np.empty((len(rows), *SHAPE), np.uint8)
        for number in np.unique(which):
            here = which == number
            images[here] = batches[number].images[rows[here] - starts[number]]
        return images

    labels = np.concatenate([batch.labels for batch in batches])
    return ImageSet(f"{path.resolve().name}#{part}", SHAPE, int(starts[-1]), read, labels)


def read_batch(content: memoryview, where: str, version: CifarVersion) -> CifarBatch:
    """Read the images and labels of one pickle.

    Args:
        content: the pickle; the images are a view of it if it stores them as plain bytes.
        where: name of the file in errors.
        version: CIFAR-10 or CIFAR-100.

    Raises:
        InputError: damaged, of another form, or asks for something that no batch needs.
    """
    budget = PickleBudget(BUDGET.opcodes, BUDGET.text)
    root = unpickle(content, where, ALLOWED, budget, python2=True).value
    if not isinstance(root, dict) or "data" not in root or version.labels not in root:
        raise InputError(f"{where}: not a batch of CIFAR: no 'data' and '{version.labels}' in it; download it again")
    try:
        rows = array_of(root["data"])
    except ValueError as error:
        raise InputError(f"{where}: 'data' is {error}") from None
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != PIXELS or not len(rows):
        raise InputError(f"{where}: 'data' is {rows.dtype} {list(rows.shape)}, where uint8 [N, {PIXELS}] is expected")
    return CifarBatch(rows.reshape(-1, *SHAPE), _labels(root[version.labels], len(rows), where, version))


def _labels(given: Any, count: int, where: str, version: CifarVersion) -> np.ndarray:
    if not isinstance(given, list) or len(given) != count:
        raise InputError(f"{where}: '{version.labels}' is not a list of {count:,} numbers, one an image; damaged")
    if not all(type(number) is int and 0 <= number < version.classes for number in given):
        raise InputError(f"{where}: '{version.labels}' has a class that is no number from 0 to {version.classes - 1}")
    return np.array(given, dtype=np.int64)
