"""What to keep in mind about a number that compares two sets of images, in sentences.

The interval of a metric says how far its value would move with other generated images. It leaves out what a small
reference does, and what two sets do that differ in more than what they show: in size, colour, or the compression of
their files.
"""

from typing import NamedTuple

from harness.datasets.image_set import said_side
from harness.metrics.reference_statistics import Statistics

FEW = 100
"""Images below which a set is small, whatever its features."""

LOSSY = frozenset({"JPEG", "WEBP"})
"""Kinds of files that change pixels, or may."""


class ImageKind(NamedTuple):
    """What a set of images is kept as.

    Args:
        shape: [C, H, W].
        formats: kinds of the images' files; none for images that never were files, or are kept as bytes.
    """

    shape: tuple[int, ...]
    formats: tuple[str, ...] = ()


def is_few(count: int, width: int) -> bool:
    """Whether so many images are few for features of a width."""
    return count <= width or count < FEW


def singular(symbol: str, count: int, width: int, of: str = "images") -> list[str]:
    """The caution that so many images give no covariance of full rank.

    Args:
        symbol: N for generated images, M for real ones.
        count: of images.
        width: of their features.
        of: what they are.
    """
    if count > width:
        return []
    return [
        f"{symbol} = {count:,} {of} are not more than the {width:,} features: their covariance is singular, and the "
        "distance is far too large."
    ]


def known_reference(count: int, width: int) -> list[str]:
    """The caution that a small reference counts as known."""
    if not is_few(count, width):
        return []
    return [
        f"M = {count:,} real images are few for {width:,} features, and count as known: with others the value would "
        "move by more than its interval says."
    ]


def few_neighbours(symbol: str, count: int, width: int, of: str = "images") -> list[str]:
    """The caution that nearest neighbours among few images lie far away; arguments as for `singular`."""
    if not is_few(count, width):
        return []
    return [
        f"{symbol} = {count:,} {of} are few for neighbours in {width:,} features: each ball about one of them is wide."
    ]


def unlike(images: ImageKind, statistics: Statistics) -> list[str]:
    """How the images and those of a reference differ in what they are kept as; what is not known is passed over."""
    told, real = [], statistics.shape
    if real is not None and len(images.shape) == len(real) == 3:
        (channels, *sides), (real_channels, *real_sides) = images.shape, real
        if sides != real_sides:
            same_aspect = sides[0] * real_sides[1] == sides[1] * real_sides[0]
            shape = "" if same_aspect else " and of another aspect"
            told.append(
                f"The images are {said_side(images.shape)} and the reference's {said_side(real)}{shape}: how they are "
                "resized counts as distance."
            )
        if channels != real_channels:
            told.append(f"The images are {_colour(channels)} and the reference's {_colour(real_channels)}.")
    formats = statistics.formats
    if formats is not None and LOSSY & set(images.formats) != LOSSY & set(formats):
        told.append(
            f"The images are {_kept(images.formats)} and the reference's {_kept(formats)}: compression that loses "
            "detail changes features."
        )
    return told


def _colour(channels: int) -> str:
    return "grey" if channels == 1 else "RGB"


def _kept(formats: tuple[str, ...]) -> str:
    return " and ".join(formats) or "not compressed"
