"""What generated images are measured against, from a word, a card's name, a file of statistics or a data set.

    digits                     the embedded digits
    digits-mixture             draws of the mixture that is fitted to them
    fid-cifar10-32x32          the card of an official file of statistics, once `harness fetch` got it
    cifar10.npz                a file of statistics, official or of `harness ref build`
    cifar10.zip, folder, ...   a data set, whose features are computed
    VIRTUAL_imagenet256.npz    a reference batch of ADM: images, and statistics of more images

A reference has an identity: the data set's hash, number of images and the extractor; for a file, its own hash, and `?`
in place of what it does not say. Results under unequal identities are not comparable.
"""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.files import read_head
from harness.datasets import digits, numpy_files
from harness.datasets.folders import folder_digest
from harness.datasets.image_bytes import as_values
from harness.datasets.image_set import ImageSet
from harness.datasets.open import open_images, split_part
from harness.hub.cards import ReferenceCard, checked_path, load_cards
from harness.metrics.features.configs import ExtractorConfig, Inception
from harness.metrics.pickled_statistics import read_pickled
from harness.metrics.reference_statistics import REMEDY, Statistics, read_statistics
from harness.metrics.statistics.moments import MomentStream, as_rows
from harness.metrics.statistics.reservoir import Reservoir

if TYPE_CHECKING:
    from harness.metrics.features.extractor import Extractor

BATCH = 128

UNKNOWN = "?"
"""In an identity, what a file does not say."""

KEPT_FEATURES = 10_000
"""Images whose features are kept, for metrics that look at every pair."""

PICKLE = b"\x80"
"""The first byte of a pickle of protocol 2 or later."""

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

    @property
    def names_no_extractor(self) -> bool:
        """Whether it is a file that does not say whose features it holds."""
        return self.id.endswith(f"/{UNKNOWN}")


class Place(NamedTuple):
    """Where a reference is: a file of statistics or a data set.

    Args:
        source: as the user wrote it.
        path: of a file of statistics; None for a data set.
        data: file or folder of a data set; None for one that comes with the package.
        part: of the data set, after `#`; "" without one.
    """

    source: str
    path: Path | None
    data: Path | None = None
    part: str = ""

    @property
    def key(self) -> str:
        """Identity of the content, to remember what was computed by; reads all of it.

        Raises:
            InputError: it cannot be read.
        """
        return self.key_of(folder_digest(self.data) if self.data and self.data.is_dir() else None)

    def key_of(self, folder: str | None) -> str:
        """The same, where the digest of the folder is known."""
        file = self.path or self.data
        if file is None:
            return f"{self.source}:{open_images(self.source).digest()}"
        return (folder or sha256_of(file)) + (f"#{self.part}" if self.part else "")


def find_reference(source: str, extractor: ExtractorConfig, single_images: bool = False) -> Place:
    """Where a reference is, once it is seen to be there; no network is loaded and no image decoded.

    Args:
        source: a word, a card's name, a file or a folder.
        extractor: whose features are compared.
        single_images: single images are compared, not only mean and covariance.

    Raises:
        InputError: nothing is there, it has to be fetched, or it is of another network's features.
    """
    card = load_cards().get(source)
    if isinstance(card, ReferenceCard):
        if not (_is_official(extractor) and card.extractor == Inception.CARD):
            kind = type(extractor).model_fields["kind"].default
            raise InputError(
                f"reference '{source}' holds features of '{card.extractor}', not of extractor '{kind}'; use "
                "extractor 'inception', or build a reference with `harness ref build`"
            )
        return Place(source, checked_path(source, card))
    if card is not None:
        raise InputError(f"reference '{source}': the card of that name is a {card.kind}, not a reference")
    if source in (digits.NAME, digits.MIXTURE):
        if extractor.sees_floats:
            raise _bytes_for_floats(source, extractor)
        return Place(source, None)
    path, part = split_part(source)
    if not path.exists():
        cards = [name for name, card in load_cards().items() if isinstance(card, ReferenceCard)]
        known = ", ".join([digits.NAME, digits.MIXTURE, *cards])
        raise InputError(f"reference '{source}': no such file or folder, nor a card; there are: {known}")
    if path.is_file() and _is_statistics(path, _is_official(extractor) and not single_images, extractor.sees_floats):
        return Place(source, path)
    if extractor.sees_floats and (path.is_dir() or not open_images(source, floats=True).floats):
        raise _bytes_for_floats(source, extractor)
    return Place(source, None, path, part or "")


def _bytes_for_floats(source: str, extractor: ExtractorConfig) -> InputError:
    return InputError(
        f"reference '{source}' holds bytes, and extractor '{extractor.identity}' sees floats as a denoiser gives them; "
        "give a .npy or .npz with an array of floats [N, ...], or a file of statistics"
    )


def _is_official(extractor: ExtractorConfig) -> bool:
    """Whether it is the very network that official statistics were made with."""
    return isinstance(extractor, Inception) and not extractor.title


def read_reference(
    place: Place,
    choice: ExtractorConfig,
    extractor: "Callable[[tuple[int, ...]], Extractor] | None" = None,
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
    images = open_images(place.source, skip_bad, choice.sees_floats)
    ready = extractor(images.shape) if extractor else choice.load(images.shape)
    return of_images(images, ready, progress)


def _from_file(place: Place, choice: ExtractorConfig) -> Reference:
    assert place.path is not None
    is_pickle = place.path.suffix != ".npz" and read_head(place.path, 1) == PICKLE
    statistics = read_pickled(place.path, choice.edm2_metric) if is_pickle else read_statistics(place.path)
    if statistics.extractor is not None and statistics.extractor != choice.identity:
        raise InputError(
            f"{place.path}: made with extractor '{statistics.extractor}', and this metric uses '{choice.identity}'; "
            "build it again with `harness ref build`"
        )
    is_card = place.source in load_cards()
    name = place.source if is_card else place.path.name
    made_with = choice.identity if is_card or statistics.extractor is not None else UNKNOWN
    if statistics.digest is not None and statistics.n is not None:
        return Reference(_id(statistics.dataset or name, statistics.digest, statistics.n, made_with), statistics)
    return Reference(_id(name, sha256_of(place.path), None, made_with), statistics)


def is_same_reference(known: str, row: str, extractor: str) -> bool:
    """Whether an identity that a row was stored under is this one.

    Args:
        known: the reference's identity.
        row: that of a row; earlier versions wrote the row's extractor for one that the file does not name.
        extractor: the row's.
    """
    return row == known or (known.endswith(f"/{UNKNOWN}") and row == known.removesuffix(UNKNOWN) + extractor)


def check_count(images: ImageSet) -> None:
    """See that a data set has enough images for a covariance.

    Raises:
        InputError: it has a single one.
    """
    if len(images) < 2:
        raise InputError(f"{images.name}: a reference needs at least 2 real images; it has {len(images)}")


def of_images(images: ImageSet, extractor: "Extractor", progress: Progress | None = None) -> Reference:
    """The statistics of a data set, streamed; the features of up to 10,000 random images are kept.

    Raises:
        InputError: fewer than 2 images, or ones that the extractor does not take.
        SamplingError: features that are not finite.
    """
    check_count(images)
    stream, kept, at = MomentStream(), Reservoir.empty(extractor.width, KEPT_FEATURES), 0
    for batch in images.batches(BATCH):
        features = extractor(as_values(batch))
        stream.add(features)
        kept.add(np.arange(at, at + len(batch)), as_rows(features))
        at += len(batch)
        if progress:
            progress(at, len(images))
    digest, moments = images.digest(), stream.moments()
    statistics = Statistics(
        moments.mean,
        moments.covariance,
        n=moments.n,
        features=kept.rows,
        extractor=extractor.id,
        dataset=plain_name(images.name),
        digest=digest,
        shape=images.shape,
        formats=images.formats,
    )
    return Reference(_id(images.name, digest, moments.n, extractor.id), statistics)


def all_features(source: str, choice: ExtractorConfig, skip_bad: bool = False) -> np.ndarray:
    """Features [N, d] float32 of every image of a data set, for what has to look at each of them.

    Raises:
        InputError: no data set, or a file of statistics.
    """
    place = find_reference(source, choice, single_images=True)
    if place.path is not None:
        raise InputError(f"reference '{source}' is a file of statistics; this metric needs the images themselves")
    images = open_images(source, skip_bad, choice.sees_floats)
    extractor = choice.load(images.shape)
    parts = [as_rows(extractor(as_values(batch))).astype(np.float32) for batch in images.batches(BATCH)]
    return np.concatenate(parts)


def plain_name(name: str) -> str:
    """A data set's name without folders and endings, for identities."""
    return re.sub(r"[^A-Za-z0-9_.#-]", "-", Path(name).name.removesuffix(".zip").removesuffix(".npz"))[:40]


def _id(name: str, digest: str, n: int | None, extractor: str) -> str:
    return f"{plain_name(name)}:{digest[:12]}/{UNKNOWN if n is None else n}/{extractor}"


def _is_statistics(path: Path, prefers: bool, floats: bool = False) -> bool:
    """Whether a file is one of statistics rather than of images.

    Args:
        path: the file.
        prefers: whether statistics are taken from a file that has both.
        floats: whether an array of floats is a data set.

    Raises:
        InputError: it cannot be read, or holds numbers that are neither.
    """
    if path.suffix == ".zip":  # of images; it may have a million members
        return False
    head = read_head(path, 16)
    if head.startswith(numpy_files.MAGIC):
        _check_images(path, floats)
        return False
    if head[:1] == PICKLE:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            if any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist()):
                raise InputError(f"{path}: a file of torch.save; {REMEDY}")
    except (zipfile.BadZipFile, OSError):
        return path.suffix == ".npz"  # reading it as one says what is wrong
    has_images = not names.isdisjoint(numpy_files.IMAGES)
    if has_images and {"mu", "sigma"} <= names:
        return prefers
    return not has_images and (path.suffix == ".npz" or "mu" in names)


def _check_images(path: Path, floats: bool) -> None:
    """Refuse an array of no images, bytes or floats, with what files of statistics look like."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error).lower():
            raise InputError(
                f"{path}: holds Python objects, which can run code; nothing was read. As a reference, {REMEDY}"
            ) from None
        return  # reading it says what is wrong
    if array.dtype != np.uint8 and not (floats and array.dtype.kind == "f"):
        raise InputError(
            f"{path}: {array.dtype} {list(array.shape)} are no images, which are bytes. If these are features f "
            f"[N, d], mu is f.mean(0) and sigma is numpy.cov(f, rowvar=False): {REMEDY}"
        )
