"""Decode one image file to bytes [C, H, W].

    mode of the file              image
    grey, two-level               1 channel
    RGB, palette                  3 channels (a palette always, even one of greys)
    either with alpha             the same, if every pixel is opaque; else refused
    CMYK, 16 bits, float, ...     refused: there is no single right conversion

Pixel values are those in the file: colour profiles, gamma and the orientation of EXIF are not applied, as in the
official tools. Of a picture with a preview (MPO, from phones) the picture is read. Animations are refused.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets.image_set import Shape

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MAX_PIXELS = 1 << 26
"""Pixels allowed in one image; checked in its header, before decoding."""

CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "PA": 3, "RGB": 3, "RGBA": 3}
"""Channels of Pillow's modes that have one obvious meaning in bytes."""

PNG = b"\x89PNG\r\n\x1a\n"


class BadImage(InputError):
    """An image that cannot be used: damaged, or of a kind with no obvious meaning in bytes."""


class ImageHeader(NamedTuple):
    """The shape of an image and the kind of its file (one of FORMATS), from the file's first bytes."""

    channels: int
    height: int
    width: int
    format: str

    @property
    def shape(self) -> Shape:
        """(C, H, W)."""
        return (self.channels, self.height, self.width)


def read_header(content: bytes) -> ImageHeader:
    """Read the shape of an image without decoding its pixels.

    Raises:
        BadImage: the header shows that the image cannot be used.
    """
    with _opened(content) as image:
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        return ImageHeader(CHANNELS[image.mode], image.height, image.width, kind)


def decode(content: bytes) -> np.ndarray:
    """Decode an image to uint8 [C, H, W].

    Raises:
        BadImage: damaged, truncated, too large, or of a kind with no obvious meaning in bytes.
    """
    with _opened(content) as image:
        image.load()
        pixels = np.asarray(_plain(image))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextlib.contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Open an image and check its header; any error in the block becomes a BadImage."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check(image, content)
                yield image
    except (BadImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(f"has more than {MAX_PIXELS:,} pixels; refused") from None
    except Image.UnidentifiedImageError:
        raise BadImage(f"is not an image of a kind that is read ({', '.join(FORMATS)}), or is damaged") from None
    except Exception as error:  # decoders raise many undocumented kinds of error for damaged files
        raise BadImage(f"cannot be decoded ({brief(str(error)) or type(error).__name__}); damaged") from None


def _check(image: Image.Image, content: bytes) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"has {image.height:,}x{image.width:,} pixels, more than {MAX_PIXELS:,}; refused")
    # Pillow reduces colours of 16 bits to 8 silently; byte 24 of a PNG is its bit depth
    if image.mode not in CHANNELS or (content[:8] == PNG and content[24:25] == b"\x10"):
        deep = image.mode in CHANNELS or image.mode.startswith("I")
        raise BadImage(
            f"has {'more than 8 bits a channel' if deep else f'mode {image.mode}'}; images are grey or RGB with 8 bits "
            "a channel, so convert it first as you see fit"
        )
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise BadImage("is an animation; store its frames as images of their own")


def _plain(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB."""
    mode = "L" if CHANNELS[image.mode] == 1 else "RGB"
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
        if lowest != 255:
            raise BadImage("has transparent pixels; put it on a background first, since none is obvious")
        image.info.pop("transparency", None)
    return image if image.mode == mode else image.convert(mode)
