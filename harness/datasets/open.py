"""Opens a data set of any layout, which it recognises by the content of the file or folder."""

import zlib
from pathlib import Path
from typing import NamedTuple

from harness.core.errors import InputError
from harness.core.files import read_head
from harness.datasets import cifar, digits, idx, image_files, numpy_files
from harness.datasets.archives import ZipMembers
from harness.datasets.image_files import ImageFiles
from harness.datasets.image_set import ImageSet
from harness.denoisers.checkpoints.pickles.archive import HEAD as ZIP

UNDERSTOOD = """\
  digits                     the 1,797 digits that come with scikit-learn
  digits-mixture             20,000 draws of the Gaussian mixture that is fitted to them
  FOLDER                     of PNG, JPEG, WebP or BMP files, with dataset.json or a folder a class
  FILE.zip                   the same, packed; the official layout of EDM among them
  cifar-10-python.tar.gz     CIFAR-10 or CIFAR-100, packed or unpacked; #test chooses the other part
  train-images-idx3-ubyte    MNIST and its relatives, or .gz, with the file of labels beside it
  FILE.npy, FILE.npz         arrays of bytes; of floats for metrics of float features"""
"""The sources that `open_images` accepts, for messages."""

PARTS: tuple[cifar.Part, ...] = ("train", "test")


class ImageSource(NamedTuple):
    """A path, and the part that follows `#`; None without one."""

    path: Path
    part: str | None


def open_images(source: str | Path, skip_bad: bool = False, floats: bool = False) -> ImageSet:
    """Open a data set of images of one shape.

    Args:
        source: the words `digits` or `digits-mixture`, or a path (`./digits` for a folder of that name): a folder or
            zip file of images; CIFAR-10 or CIFAR-100 as a `.tar.gz` or a folder, followed by `#train` (default) or
            `#test`; an IDX file; a `.npy` or `.npz` file. Files are recognised by their content.
        skip_bad: leave out image files that cannot be decoded and list them in `skipped`, which decodes every image
            once. Otherwise such a file is an error: now if its header is damaged, else when it is read.
        floats: an array of floats is a set of floats, as it is; otherwise it is refused.

    Raises:
        InputError: no known layout, damaged, images of several shapes, or labels that do not fit.
    """
    images = find_images(source, floats)
    return image_files.image_set(images, skip_bad) if isinstance(images, ImageFiles) else images


def find_images(source: str | Path, floats: bool = False) -> ImageFiles | ImageSet:
    """Find the images of a source: image files of any shapes, not yet read, or a data set of one shape.

    Args:
        source, floats: see `open_images`.

    Raises:
        InputError: no known layout, or damaged.
    """
    if source == digits.NAME:
        return digits.digit_images()
    if source == digits.MIXTURE:
        return digits.mixture_images()
    path, part = split_part(source)
    if path.is_dir():
        if cifar.is_folder(path):
            return cifar.from_folder(path, _cifar_part(part, path))
        _no_part(part, path)
        return image_files.from_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; check the path. What is understood:\n{UNDERSTOOD}")
    return _in_file(path, part, floats)


def _in_file(path: Path, part: str | None, floats: bool) -> ImageFiles | ImageSet:
    head = read_head(path, 512)
    compressed = head[:2] == idx.GZIP
    inner = _inflated_head(head) if compressed else head
    if compressed and inner[:3] != idx.HEAD:
        return cifar.from_archive(path, _cifar_part(part, path))
    _no_part(part, path)
    if inner[:3] == idx.HEAD:
        return idx.from_idx(path)
    if head.startswith(numpy_files.MAGIC):
        return numpy_files.from_npy(path, floats)
    if head.startswith((ZIP, b"PK\x05\x06")):
        archive = ZipMembers(path)
        if path.suffix == ".npz" or numpy_files.is_npz(archive):
            return numpy_files.from_npz(path, archive, floats)
        return image_files.from_zip(path, archive)
    raise InputError(f"{path}: begins with {head[:8]!r}, which is no set of images. What is understood:\n{UNDERSTOOD}")


def split_part(source: str | Path) -> ImageSource:
    """Split a source at `#` into path and part, unless a file has the whole name."""
    text = str(source)
    path, mark, part = text.rpartition("#")
    if not mark or Path(text).exists():
        return ImageSource(Path(text), None)
    return ImageSource(Path(path), part)


def _cifar_part(part: str | None, path: Path) -> cifar.Part:
    for known in PARTS:
        if part == known or (part is None and known == "train"):
            return known
    raise InputError(f"{path}: has the parts {' and '.join(PARTS)}; we got '#{part}'")


def _no_part(part: str | None, path: Path) -> None:
    if part is not None:
        raise InputError(f"{path}: only CIFAR's archives have parts; leave '#{part}' out")


def _inflated_head(head: bytes) -> bytes:
    """The first inflated bytes of a gzip file; empty if it is damaged."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 16)
    except zlib.error:
        return b""
