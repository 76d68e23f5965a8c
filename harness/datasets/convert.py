"""Converts a data set to a zip file in the official layout of EDM, which other programs read too.

    00000/img00000000.png ... 00000/img00000999.png, 00001/img00001000.png ...
    dataset.json      {"labels": [["00000/img00000000.png", 3], ...]}, or {"labels": null}

Members and PNG files are not compressed and times are fixed, so equal images give an equal file.

Source: the layout is that of Karras et al. 2022 (arXiv 2206.00364), appendix F.5 and the dataset format of their code.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.core.errors import InputError, RunError
from harness.core.files import writing
from harness.core.text import brief
from harness.datasets.classes import NAME
from harness.datasets.decode import BadImage
from harness.datasets.image_files import ImageFiles, several_shapes
from harness.datasets.image_set import ImageSet, Shape, new_digest
from harness.datasets.open import find_images
from harness.datasets.resize import Color, Crop, check_options, png, resize

Progress = Callable[[int, int], None]
"""Called after every image with the number of images done, and of all."""

FOLDER = 1000
"""Images in one folder."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can store."""


class Converted(NamedTuple):
    """The result of a conversion.

    Attributes:
        images: number of images written.
        classes: the largest class + 1; 0 without labels.
        skipped: name and reason of each image that was left out.
        digest: digest of the images written; see `ImageSet.digest`.
    """

    images: int
    classes: int
    skipped: list[str]
    digest: str


class Picture(NamedTuple):
    """An image [C, H, W] uint8 with its name for messages and its class."""

    name: str
    image: np.ndarray
    label: int | None


def convert(
    source: str | Path,
    dest: str | Path,
    resolution: int | None = None,
    crop: Crop = "none",
    color: Color | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write a data set as a zip file in the official layout. The source may have images of several shapes.

    The file gets its name when it is whole; a failure leaves nothing behind. Images that need no crop, resize or
    recolouring keep their pixels exactly.

    Args:
        source: see `open_images`.
        dest: the zip file to write.
        resolution: sides in pixels; None keeps the size.
        crop: none, center or center-dhariwal; see `resize`.
        color: rgb or grey; None keeps the colours.
        skip_bad: leave out image files that cannot be decoded; otherwise they are an error.
        limit: number of images to write, the first usable ones; None means all.
        overwrite: replace an existing file.
        progress: called after every image.

    Raises:
        InputError: as `open_images`; images that are not square without a crop, or still of several shapes; the file
            exists, or its name does not end in `.zip`.
        RunError: the file cannot be written.
    """
    target = Path(dest)
    check_options(resolution, crop, color)
    _check_target(target, limit, overwrite)
    originals = find_images(source)
    skipped: list[str] = []
    pictures = _pictures(originals, skip_bad, skipped, progress)
    resized = (_resized(picture, resolution, crop, color) for picture in pictures)
    try:
        with writing(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            images, classes, digest = _write(archive, _same_shape(resized, originals.name), limit)
            if not images:
                raise InputError(f"{originals.name}: none of its images can be used, the first: {skipped[0]}")
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{target}: cannot be written ({reason}); make room or choose another place") from None
    return Converted(images, classes, skipped, digest)


class _Written(NamedTuple):
    images: int
    classes: int
    digest: str


def _write(archive: zipfile.ZipFile, pictures: Iterator[Picture], limit: int | None) -> _Written:
    labels: list[tuple[str, int | None]] = []
    digest = None
    for number, picture in enumerate(pictures):
        name = f"{number // FOLDER:05d}/img{number:08d}.png"
        digest = digest or new_digest(_shape(picture.image))
        digest.update(picture.image.tobytes())
        labels.append((name, picture.label))
        _member(archive, name, png(picture.image))
        if len(labels) == limit:
            break
    known = [label for _, label in labels if label is not None]
    _member(archive, NAME, json.dumps({"labels": labels if known else None}).encode())
    return _Written(len(labels), max(known, default=-1) + 1, digest.hexdigest() if digest else "")


def _member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # Unix, also where it is not: the file is to be the same everywhere
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def _check_target(target: Path, limit: int | None, overwrite: bool) -> None:
    if target.suffix.lower() != ".zip":
        raise InputError(f"{target}: a zip file is written; choose a name that ends in .zip")
    if target.is_dir():
        raise InputError(f"{target}: is a folder; choose another name")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: is there already; choose another name, or replace it with --overwrite")
    if limit is not None and limit < 1:
        raise InputError(f"the limit is at least 1 image; we got {limit}")


def _pictures(
    originals: ImageFiles | ImageSet, skip_bad: bool, skipped: list[str], progress: Progress | None
) -> Iterator[Picture]:
    tell = progress or (lambda done, total: None)
    total = len(originals.names) if isinstance(originals, ImageFiles) else len(originals)
    labels = [None] * total if originals.labels is None else originals.labels.tolist()
    images = _of_files(originals, skip_bad, skipped) if isinstance(originals, ImageFiles) else _of_set(originals)
    for row, (name, image) in enumerate(images):
        tell(row + 1, total)
        if image is not None:
            yield Picture(name, image, labels[row])


def _of_files(files: ImageFiles, skip_bad: bool, skipped: list[str]) -> Iterator[tuple[str, np.ndarray | None]]:
    for row, name in enumerate(files.names):
        image = None
        try:
            image = files.decode(row)
        except BadImage as error:
            if not skip_bad:
                raise InputError(
                    f"{error}; number {row + 1:,} of {len(files.names):,} images: mend or remove it, or leave such "
                    "images out with --skip-bad"
                ) from None
            skipped.append(str(error))
        yield name, image


def _of_set(originals: ImageSet) -> Iterator[tuple[str, np.ndarray | None]]:
    row = 0
    for batch in originals.batches():
        for image in batch:
            yield f"number {row}", image
            row += 1


def _resized(picture: Picture, resolution: int | None, crop: Crop, color: Color | None) -> Picture:
    try:
        return picture._replace(image=resize(picture.image, resolution, crop, color))
    except InputError as error:
        raise InputError(f"image '{brief(picture.name)}' {error}") from None


def _same_shape(pictures: Iterator[Picture], where: str) -> Iterator[Picture]:
    first: Picture | None = None
    for picture in pictures:
        first = first or picture
        shape, other = _shape(first.image), _shape(picture.image)
        if shape != other:
            raise InputError(several_shapes(where, first.name, shape, picture.name, other))
        yield picture


def _shape(image: np.ndarray) -> Shape:
    channels, height, width = image.shape
    return (channels, height, width)
