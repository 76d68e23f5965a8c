"""Image files in a folder or a zip file, and the data set that they make.

Images are sorted by name. Classes come from `dataset.json` at the top, else from the first folder of each name if every
image is in a folder. The official layout (Karras et al. 2022) has `dataset.json`.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets import classes
from harness.datasets.archives import ZipMembers
from harness.datasets.decode import SUFFIXES, BadImage, ImageHeader, decode, read_header
from harness.datasets.folders import is_hidden, walk
from harness.datasets.image_set import ImageSet, Shape, said_shape

OTHER_PICTURES = frozenset(
    {".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".heic", ".tga", ".ico", ".psd", ".exr", ".jfif"}
)
"""Suffixes of pictures that are not read. They are refused, since leaving them out would give another data set."""

MAX_FILE = 256 << 20
"""Bytes allowed in one image file: MAX_PIXELS in RGB, and some more."""

HEAD = 4096
"""Bytes in which the header is looked for before the whole file is read."""

Read = Callable[[int, int | None], bytes]


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files of any sizes and modes.

    Args:
        name: name of the folder or archive, for messages.
        names: names of the images, sorted, with `/` between folders.
        content: `content(row, None)` gives the bytes of an image file, `content(row, n)` the first n of them.
        labels: classes [N] int64; None without classes.
    """

    name: str
    names: list[str]
    content: Read
    labels: np.ndarray | None

    def decode(self, row: int) -> np.ndarray:
        """Decode an image to uint8 [C, H, W].

        Raises:
            BadImage: it cannot be used; with its name.
        """
        try:
            return decode(self.content(row, None))
        except InputError as error:
            raise self._bad(row, error) from None

    def header(self, row: int) -> ImageHeader:
        """Read the shape of an image without decoding it.

        Raises:
            BadImage: its header shows that it cannot be used; with its name.
        """
        try:
            try:
                return read_header(self.content(row, HEAD))
            except BadImage:  # the header may be longer than HEAD
                return read_header(self.content(row, None))
        except InputError as error:
            raise self._bad(row, error) from None

    def _bad(self, row: int, error: InputError) -> BadImage:
        if not isinstance(error, BadImage):  # of the archive, which names the member
            return BadImage(str(error))
        return BadImage(f"{self.name}: image '{brief(self.names[row])}' {error}")


def from_folder(path: Path) -> ImageFiles:
    """Find the images in a folder and all folders below it; links are followed.

    Raises:
        InputError: no images, a picture of a kind that is not read, or a bad `dataset.json`.
    """
    files = dict(walk(path))
    names = _image_names(files, str(path))

    def content(row: int, most: int | None) -> bytes:
        try:
            with files[names[row]].open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_FILE:
                    raise BadImage(f"has {size:,} bytes, more than {MAX_FILE:,}; refused")
                return file.read(size if most is None else most)
        except OSError as error:
            raise BadImage(f"cannot be read ({error.strerror})") from None

    _no_table_below(files, str(path))
    table = files.get(classes.NAME)
    try:
        given = table.read_bytes() if table else None
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror}); check its permissions") from None
    return ImageFiles(path.resolve().name, names, content, _labels(given, names, str(path)))


def from_zip(path: Path, archive: ZipMembers) -> ImageFiles:
    """Find the images in a zip file.

    Raises:
        InputError: no images, a picture of a kind that is not read, or a bad `dataset.json`.
    """
    names = _image_names(archive.members, str(path))

    def content(row: int, most: int | None) -> bytes:
        return archive.read(names[row], MAX_FILE) if most is None else archive.head(names[row], most)

    _no_table_below(archive.members, str(path))
    given = archive.read(classes.NAME, classes.MAX_BYTES) if classes.NAME in archive.members else None
    return ImageFiles(path.name, names, content, _labels(given, names, str(path)))


def image_set(files: ImageFiles, skip_bad: bool = False) -> ImageSet:
    """The data set of image files of one shape.

    The headers of all images are read now, pixels on demand. With `skip_bad` every image is decoded once now; those
    that cannot be decoded are left out, with their labels, and listed in `skipped`.

    Raises:
        InputError: images that cannot be used (names the first and counts them), images of several shapes (names the
            first that differs), or no image left.
    """
    shapes: list[Shape] = []
    formats: set[str] = set()
    good: list[int] = []
    bad: list[str] = []
    for row in range(len(files.names)):
        try:
            header = files.header(row)
            shapes.append(_shape(files.decode(row)) if skip_bad else header.shape)
            formats.add(header.format)
            good.append(row)
        except BadImage as error:
            bad.append(str(error))
    if bad and not (skip_bad and good):
        remedy = "mend or remove them" if skip_bad else "mend or remove them, or leave them out with --skip-bad"
        raise InputError(f"{bad[0]}; {len(bad):,} of {len(files.names):,} images cannot be used: {remedy}")
    _one_shape(files, good, shapes)
    rows = np.array(good)
    labels = None if files.labels is None else files.labels[rows]
    return ImageSet(
        files.name, shapes[0], len(good), _reader(files, rows, shapes[0]), labels, bad, tuple(sorted(formats))
    )


def _reader(files: ImageFiles, good: np.ndarray, shape: Shape) -> Callable[[np.ndarray], np.ndarray]:
    def read(rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *shape), np.uint8)
        for place, row in enumerate(good[rows]):
            images[place] = _decoded(files, int(row), shape)
        return images

    return read


def _decoded(files: ImageFiles, row: int, shape: Shape) -> np.ndarray:
    try:
        image = files.decode(row)
    except BadImage as error:
        raise InputError(
            f"{error}; number {row + 1:,} of {len(files.names):,} images: mend or remove it, or leave such images out "
            "with --skip-bad"
        ) from None
    if image.shape != shape:
        raise InputError(f"{files.name}: image '{brief(files.names[row])}' was changed while the set was in use")
    return image


def _one_shape(files: ImageFiles, good: list[int], shapes: list[Shape]) -> None:
    for row, shape in zip(good, shapes, strict=True):
        if shape != shapes[0]:
            raise InputError(several_shapes(files.name, files.names[good[0]], shapes[0], files.names[row], shape))


def several_shapes(where: str, first: str, shape: Shape, name: str, other: Shape) -> str:
    """The error text for an image `name` of shape `other` in a data set whose `first` image has another `shape`."""
    colour = "--color rgb (or grey)" if shape[0] != other[0] else ""
    sides = "--resolution N --crop center" if shape[1:] != other[1:] else ""
    return (
        f"{where}: image '{brief(name)}' is {said_shape(other)}, and the first, '{brief(first)}', is "
        f"{said_shape(shape)}; a set has one shape: `harness data convert` with "
        f"{' '.join(part for part in (colour, sides) if part)} makes one"
    )


def _shape(image: np.ndarray) -> Shape:
    channels, height, width = image.shape
    return (channels, height, width)


def _labels(given: bytes | None, names: list[str], where: str) -> np.ndarray | None:
    if given is None:
        return classes.from_folders(names)
    return classes.from_json(given, names, f"{where}/{classes.NAME}")


def _no_table_below(files: Collection[str], where: str) -> None:
    """Refuse a `dataset.json` below the top: its folder would be taken for the one class of all images."""
    below = [name for name in files if name.endswith("/" + classes.NAME)]
    if below and classes.NAME not in files:
        raise InputError(
            f"{where}: '{brief(below[0])}' is not at the top, where it would give the classes; open the folder that it "
            "is in, or pack that folder's content without the folder itself"
        )


def _image_names(files: Collection[str], where: str) -> list[str]:
    """The names of the images among files, sorted. Hidden files and files that are no pictures are ignored.

    Raises:
        InputError: no images, or a picture of a kind that is not read.
    """
    names = []
    for name in files:
        if is_hidden(name):
            continue
        suffix = "." + name.rpartition("/")[2].rpartition(".")[2].lower()
        if suffix in OTHER_PICTURES:
            raise InputError(
                f"{where}: '{brief(name)}' is a picture of a kind that is not read ({', '.join(sorted(SUFFIXES))} "
                "are); convert it, or take it away"
            )
        if suffix in SUFFIXES:
            names.append(name)
    if not names:
        raise InputError(f"{where}: no images in it; files that end in {', '.join(sorted(SUFFIXES))} are images")
    return sorted(names)
