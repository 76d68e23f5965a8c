"""What generated images are measured against, from a word, a card's name, a file of statistics or a data set.

    digits                     the embedded digits
    digits-mixture             draws of the mixture that is fitted to them
    fid-cifar10-32x32          the card of an official file of statistics, once `harness fetch` got it
    cifar10.npz                a file of statistics, official or of `harness ref build`
    cifar10.zip, folder, ...   a data set, whose features are computed

A reference has an identity: the data set's hash, number of images and the extractor; for a file, its own hash. Results
under unequal identities are not comparable.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.datasets import digits
from harness.datasets.image_bytes import from_bytes
from harness.datasets.image_set import ImageSet
from harness.datasets.open import open_images, split_part
from harness.hub.cards import ReferenceCard, checked_path, load_cards
from harness.metrics.features.configs import ExtractorConfig, Inception
from harness.metrics.reference_statistics import Statistics, read_statistics
from harness.metrics.statistics.moments import MomentStream, as_rows
from harness.metrics.statistics.reservoir import Reservoir

if TYPE_CHECKING:
    from harness.metrics.features.extractor import Extractor

BATCH = 128

KEPT_FEATURES = 10_000
"""Images whose features are kept, for metrics that look at every pair."""

Progress = Callable[[int, int], None]
"""Told of images done, and of how many there are."""


class Reference(NamedTuple):
    """What generated images are compared with.

    Args:
        id: identity of the content.
        statistics: of the real images' features.
        training: gives the features [M, d] of every real image; None where no metric needs them.
    """

    id: str
    statistics: Statistics
    training: Callable[[], np.ndarray] | None = None


class Place(NamedTuple):
    """Where a reference is: a file of statistics or a data set.

    Args:
        source: as the user wrote it.
        path: of a file of statistics; None for a data set.
        key: identity of the content that is cheap to have, to remember what was computed by.
    """

    source: str
    path: Path | None
    key: str


def find_reference(source: str, extractor: ExtractorConfig) -> Place:
    """Where a reference is, once it is seen to be there; no network is loaded and no image decoded.

    Raises:
        InputError: nothing is there, it has to be fetched, or it is of another network's features.
    """
    card = load_cards().get(source)
    if isinstance(card, ReferenceCard):
        if not (isinstance(extractor, Inception) and card.extractor == Inception.CARD):
            kind = type(extractor).model_fields["kind"].default
            raise InputError(
                f"reference '{source}' holds features of '{card.extractor}', not of extractor '{kind}'; use "
                "extractor 'inception', or build a reference with `harness ref build`"
            )
        path = checked_path(source, card)
        return Place(source, path, sha256_of(path))
    if card is not None:
        raise InputError(f"reference '{source}': the card of that name is a {card.kind}, not a reference")
    if source in (digits.NAME, digits.MIXTURE):
        return Place(source, None, source)
    path, part = split_part(source)
    chosen = f"#{part}" if part else ""
    if path.is_dir():
        return Place(source, None, _listing(path) + chosen)
    if not path.is_file():
        cards = [name for name, card in load_cards().items() if isinstance(card, ReferenceCard)]
        known = ", ".join([digits.NAME, digits.MIXTURE, *cards])
        raise InputError(f"reference '{source}': no such file or folder, nor a card; there are: {known}")
    is_statistics = path.suffix == ".npz" and _has_statistics(path)
    return Place(source, path if is_statistics else None, sha256_of(path) + chosen)


def read_reference(
    place: Place,
    choice: ExtractorConfig,
    extractor: "Callable[[tuple[int, int, int]], Extractor] | None" = None,
    progress: Progress | None = None,
    skip_bad: bool = False,
) -> Reference:
    """The statistics of a reference under an extractor, read or computed.

    Args:
        place: where it is.
        choice: the extractor.
        extractor: makes it for images of a shape; by default on the CPU.
        progress: told of images while features are computed.
        skip_bad: leave out images that cannot be decoded.

    Raises:
        InputError: damaged, or made with another extractor.
    """
    if place.path is not None:
        return _from_file(place, choice)
    images = open_images(place.source, skip_bad)
    ready = extractor(images.shape) if extractor else choice.load(images.shape)
    return of_images(images, ready, progress)


def _from_file(place: Place, choice: ExtractorConfig) -> Reference:
    assert place.path is not None
    statistics = read_statistics(place.path)
    if statistics.extractor is not None and statistics.extractor != choice.identity:
        raise InputError(
            f"{place.path}: made with extractor '{statistics.extractor}', and this metric uses '{choice.identity}'; "
            "build it again with `harness ref build`"
        )
    name = place.source if place.source in load_cards() else place.path.name
    if statistics.digest is not None and statistics.n is not None:
        return Reference(_id(statistics.dataset or name, statistics.digest, statistics.n, choice.identity), statistics)
    return Reference(_id(name, sha256_of(place.path), None, choice.identity), statistics)


def of_images(images: ImageSet, extractor: "Extractor", progress: Progress | None = None) -> Reference:
    """The statistics of a data set, streamed; the features of up to 10,000 random images are kept.

    Raises:
        InputError: fewer than 2 images, or ones that the extractor does not take.
        SamplingError: features that are not finite.
    """
    import torch

    stream, kept, at = MomentStream(), Reservoir.empty(extractor.width, KEPT_FEATURES), 0
    for batch in images.batches(BATCH):
        features = extractor(from_bytes(torch.from_numpy(batch)))
        stream.add(features)
        kept.add(np.arange(at, at + len(batch)), as_rows(features))
        at += len(batch)
        if progress:
            progress(at, len(images))
    digest, moments = images.digest(), stream.moments()
    statistics = Statistics(
        moments.mean, moments.covariance, moments.n, kept.rows, extractor.id, plain_name(images.name), digest
    )
    return Reference(_id(images.name, digest, moments.n, extractor.id), statistics)


def all_features(source: str, choice: ExtractorConfig, skip_bad: bool = False) -> np.ndarray:
    """Features [N, d] float32 of every image of a data set, for what has to look at each of them.

    Raises:
        InputError: no data set, or a file of statistics.
    """
    import torch

    place = find_reference(source, choice)
    if place.path is not None:
        raise InputError(f"reference '{source}' is a file of statistics; this metric needs the images themselves")
    images = open_images(source, skip_bad)
    extractor = choice.load(images.shape)
    parts = [
        as_rows(extractor(from_bytes(torch.from_numpy(batch)))).astype(np.float32) for batch in images.batches(BATCH)
    ]
    return np.concatenate(parts)


def plain_name(name: str) -> str:
    """A data set's name without folders and endings, for identities."""
    return re.sub(r"[^A-Za-z0-9_.#-]", "-", Path(name).name.removesuffix(".zip").removesuffix(".npz"))[:40]


def _id(name: str, digest: str, n: int | None, extractor: str) -> str:
    return f"{plain_name(name)}:{digest[:12]}/{n if n is not None else '?'}/{extractor}"


def _has_statistics(path: Path) -> bool:
    """Whether an .npz is a file of statistics rather than of images."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "mu.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return True  # reading it as one says what is wrong


def _listing(folder: Path) -> str:
    """A hash of names, sizes and times of change under a folder."""
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            digest.update(f"{path.relative_to(folder)}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
