"""Crops, resizes and recolours images of a data set, uint8 [C, H, W].

    none               no crop; the image must be square
    center             the largest central square, then Lanczos (Pillow) to the resolution
    center-dhariwal    box filter by 2 while the smaller side is at least twice the resolution, bicubic until that side
                       is the resolution, then the central square: the crop of ADM for ImageNet

Under `none` and `center` an image smaller than the resolution is enlarged, and one of that resolution stays unchanged.

Source: Dhariwal and Nichol 2021 (arXiv 2105.05233) for the last; the names are those of Karras et al. 2022.
"""

import io
from typing import Literal

import numpy as np
from PIL import Image

from harness.core.errors import InputError
from harness.datasets.image_set import said_shape

Crop = Literal["none", "center", "center-dhariwal"]
Color = Literal["rgb", "grey"]
CROPS: tuple[Crop, ...] = ("none", "center", "center-dhariwal")
COLORS: tuple[Color, ...] = ("rgb", "grey")
MAX_RESOLUTION = 1 << 13


def check_options(resolution: int | None, crop: str, color: str | None) -> None:
    """Check the arguments of `resize`.

    Raises:
        InputError: an unknown crop or color, or a resolution that is missing or out of range.
    """
    if crop not in CROPS:
        raise InputError(f"no crop '{crop}'; there are: {', '.join(CROPS)}")
    if color is not None and color not in COLORS:
        raise InputError(f"no color '{color}'; there are: {', '.join(COLORS)}")
    if resolution is not None and not 1 <= resolution <= MAX_RESOLUTION:
        raise InputError(f"the resolution is 1 to {MAX_RESOLUTION:,} pixels; we got {resolution}")
    if crop == "center-dhariwal" and resolution is None:
        raise InputError("crop 'center-dhariwal' resizes, so it needs a resolution: add --resolution")


def resize(image: np.ndarray, resolution: int | None, crop: Crop, color: Color | None) -> np.ndarray:
    """Crop, resize and recolour an image.

    Args:
        image: [C, H, W] uint8, C 1 or 3.
        resolution: sides of the result in pixels; None keeps the size.
        crop: see above.
        color: `rgb` repeats grey three times, `grey` is luma 0.299 R + 0.587 G + 0.114 B; None keeps the colours.

    Returns:
        [C', resolution, resolution] uint8.

    Raises:
        InputError: the image is not square, and there is no crop.
    """
    if crop == "none" and image.shape[1] != image.shape[2]:
        raise InputError(f"is {said_shape(image.shape)}, not square; use --crop center")
    coloured = _coloured(image, color)
    if crop == "center-dhariwal" and resolution is not None:
        return _center_dhariwal(coloured, resolution)
    square = center(coloured, min(coloured.shape[1:]))
    if resolution is None or square.shape[1] == resolution:
        return square
    return _array(_picture(square).resize((resolution, resolution), Image.Resampling.LANCZOS))


def center(image: np.ndarray, side: int) -> np.ndarray:
    """The central square of `side` pixels, half a pixel up or left if it cannot be central."""
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    return image[:, top : top + side, left : left + side]


def _center_dhariwal(image: np.ndarray, resolution: int) -> np.ndarray:
    picture = _picture(image)
    while min(picture.size) >= 2 * resolution:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = resolution / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return center(_array(picture), resolution)


def _coloured(image: np.ndarray, color: Color | None) -> np.ndarray:
    if color == "rgb" and len(image) == 1:
        return image.repeat(3, axis=0)
    if color == "grey" and len(image) == 3:
        return _array(_picture(image).convert("L"))
    return image


def _picture(image: np.ndarray) -> Image.Image:
    """[C, H, W] for Pillow."""
    return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def _array(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def png(image: np.ndarray) -> bytes:
    """Encode an image [C, H, W] as PNG without compression: fast, and the same bytes every time."""
    file = io.BytesIO()
    _picture(image).save(file, format="PNG", compress_level=0)
    return file.getvalue()
