"""One file to bytes: what each mode becomes, and what is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from harness.datasets.decode import MAX_PIXELS, BadImage, decode, read_header
from tests.datasets.sets import encoded, picture, some_images

RGB, GREY = some_images(1)[0], some_images(1, channels=1)[0]


@pytest.mark.parametrize("form", ["PNG", "BMP"])
@pytest.mark.parametrize("image", [RGB, GREY], ids=["RGB", "grey"])
def test_exact_formats_give_the_same_pixels(image, form):
    content = encoded(image, form)
    assert np.array_equal(decode(content), image) and read_header(content).shape == image.shape
    assert decode(content).flags.c_contiguous


def test_lossy_formats_give_what_pillow_gives():
    for form, options in (("JPEG", {"quality": 80}), ("WEBP", {"lossless": False})):
        content = encoded(RGB, form, **options)
        expected = np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        assert np.array_equal(decode(content), expected)


def test_palettes_become_rgb_and_two_levels_grey():
    few = picture(RGB).quantize(8)
    assert np.array_equal(decode(encoded(few)), np.asarray(few.convert("RGB")).transpose(2, 0, 1))
    grey_palette = picture(GREY).convert("P")
    assert decode(encoded(grey_palette)).shape == (3, 5, 7)
    two = picture(GREY).convert("1")
    assert np.array_equal(decode(encoded(two))[0], np.asarray(two) * np.uint8(255))


def with_alpha(image, alpha):
    found = picture(image).convert("LA" if len(image) == 1 else "RGBA")
    found.putalpha(alpha)
    return found


@pytest.mark.parametrize("image", [RGB, GREY], ids=["RGBA", "LA"])
def test_alpha_must_be_opaque(image):
    assert np.array_equal(decode(encoded(with_alpha(image, 255))), image)
    with pytest.raises(BadImage, match="has transparent pixels; put it on a background"):
        decode(encoded(with_alpha(image, 254)))


def test_a_transparent_colour_is_alpha_too():
    colour = tuple(int(level) for level in RGB[:, 0, 0])
    with pytest.raises(BadImage, match="transparent"):
        decode(encoded(RGB, transparency=colour))
    few = picture(RGB).quantize(8)
    with pytest.raises(BadImage, match="transparent"):
        decode(encoded(few, transparency=int(np.asarray(few)[0, 0])))
    assert decode(encoded(few, transparency=b"\xff" * 8)).shape == (3, 5, 7)


def png(width, height, depth, colour, rows):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colour", [0, 2], ids=["grey", "RGB"])
def test_sixteen_bits_are_not_cut_to_eight(colour):
    rows = (b"\0" + b"\x12\x34" * 2 * (3 if colour else 1)) * 2
    for look in (read_header, decode):
        with pytest.raises(BadImage, match="has more than 8 bits a channel"):
            look(png(2, 2, 16, colour, rows))


def test_other_modes_are_refused_by_name():
    with pytest.raises(BadImage, match="has mode CMYK; images are grey or RGB"):
        read_header(encoded(picture(RGB).convert("CMYK"), "JPEG"))


def test_animations_are_refused():
    frames = [picture(RGB), picture(255 - RGB)]
    for form in ("PNG", "WEBP"):
        with pytest.raises(BadImage, match="is an animation"):
            decode(encoded(frames[0], form, save_all=True, append_images=frames[1:]))


def test_of_a_picture_with_a_preview_the_picture_is_read():
    content = encoded(RGB, "MPO", save_all=True, append_images=[picture(RGB[:, :2, :2])])
    assert decode(content).shape == read_header(content).shape == (3, 5, 7)


@pytest.mark.parametrize("sides", [(8193, 8192), (20_000, 20_000), (60_000, 60_000)], ids=["ours", "warned", "error"])
def test_too_many_pixels_are_refused_before_they_are_decoded(sides):
    assert sides[0] * sides[1] > MAX_PIXELS
    for look in (read_header, decode):
        with pytest.raises(BadImage, match="67,108,864"):
            look(png(*sides, 1, 0, b""))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_any_cut_is_an_error_and_never_another(form):
    content = encoded(some_images(1, height=40, width=40)[0], form)
    for length in range(0, len(content) * 9 // 10, 97):
        with pytest.raises(BadImage):
            decode(content[:length])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_any_damage_gives_an_image_or_this_error(form):
    content = bytearray(encoded(RGB, form))
    random = np.random.default_rng(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(300):
            damaged = content.copy()
            for place in random.integers(0, len(content), 3):
                damaged[place] = random.integers(256)
            try:
                assert decode(bytes(damaged)).dtype == np.uint8
            except BadImage as error:
                assert str(error)


def test_formats_that_are_not_read():
    for content in (b"", b"hello", encoded(RGB, "TIFF"), encoded(RGB, "GIF"), b"%!PS-Adobe"):
        with pytest.raises(BadImage, match=r"is not an image of a kind that is read \(PNG, JPEG, BMP, WEBP\)"):
            decode(content)
