"""Conversion to the official layout: what is written, how images are fitted, and that nothing half is left."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from harness.core.errors import InputError, RunError
from harness.datasets.convert import convert
from harness.datasets.open import open_images
from harness.datasets.resize import resize
from tests.datasets.sets import encoded, official, some_images, write_folder, write_zip

SQUARE = some_images(5, height=8, width=8)
LABELS = [0, 3, 1, 1, 0]


def test_the_layout(tmp_path):
    source = write_zip(tmp_path / "a.zip", official(SQUARE, LABELS))
    told = []
    done = convert(source, tmp_path / "out" / "b.zip", progress=lambda *numbers: told.append(numbers))
    found = open_images(tmp_path / "out" / "b.zip")
    assert done == (5, 4, [], open_images(source).digest()) and found.digest() == done.digest
    assert found.labels.tolist() == LABELS and told == [(n, 5) for n in range(1, 6)]
    with zipfile.ZipFile(tmp_path / "out" / "b.zip") as archive:
        names = archive.namelist()
        assert names == [*(f"00000/img{n:08d}.png" for n in range(5)), "dataset.json"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert json.loads(archive.read("dataset.json")) == {
            "labels": [list(pair) for pair in zip(names[:5], LABELS, strict=True)]
        }
        assert Image.open(io.BytesIO(archive.read(names[0]))).format == "PNG"


def test_equal_images_give_an_equal_file(tmp_path):
    np.savez(tmp_path / "a.npz", SQUARE, np.array(LABELS))
    write_zip(tmp_path / "a.zip", official(SQUARE, LABELS), deflated=True)
    for name in ("a.npz", "a.zip"):
        convert(tmp_path / name, tmp_path / f"{name}.out.zip")
    assert (tmp_path / "a.npz.out.zip").read_bytes() == (tmp_path / "a.zip.out.zip").read_bytes()


def test_a_thousand_images_a_folder_and_null_without_labels(tmp_path):
    np.save(tmp_path / "a.npy", some_images(1001, channels=1, height=4, width=4))
    assert convert(tmp_path / "a.npy", tmp_path / "b.zip").classes == 0
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.namelist()[999:1001] == ["00000/img00000999.png", "00001/img00001000.png"]
        assert json.loads(archive.read("dataset.json")) == {"labels": None}


def test_pixels_of_jpegs_are_kept(tmp_path):
    write_folder(tmp_path / "a", {f"{n}.jpg": encoded(image, "JPEG") for n, image in enumerate(SQUARE)})
    expected = open_images(tmp_path / "a").digest()
    assert convert(tmp_path / "a", tmp_path / "b.zip", resolution=8, crop="center").digest == expected


def test_the_digits(tmp_path):
    done = convert("digits", tmp_path / "a.zip", limit=100)
    assert done.images == 100 and open_images(tmp_path / "a.zip").digest() == done.digest
    assert done.digest == open_images("digits").take(range(100)).digest()


def mixed(path):
    """Images of several sizes and colours, in two classes; one is damaged."""
    members = {
        "a/1.png": encoded(some_images(1, height=9, width=8)[0]),
        "a/2.png": encoded(some_images(1, channels=1, height=8, width=20)[0]),
        "b/1.png": b"no image",
        "b/2.jpg": encoded(some_images(1, height=64, width=40)[0], "JPEG"),
    }
    return write_folder(path, members)


@pytest.mark.parametrize("crop", ["center", "center-dhariwal"])
@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("grey", 1)])
def test_images_of_all_kinds_become_one_set(tmp_path, crop, color, channels):
    done = convert(mixed(tmp_path / "a"), tmp_path / "b.zip", 8, crop, color, skip_bad=True)
    found = open_images(tmp_path / "b.zip")
    assert found.shape == (channels, 8, 8) and found.labels.tolist() == [0, 0, 1]
    assert (done.images, done.classes, len(done.skipped)) == (3, 2, 1) and "'b/1.png'" in done.skipped[0]


def test_limit_counts_images_that_were_written(tmp_path):
    write_folder(tmp_path / "a", {"0.png": b"", **{f"{n}.png": encoded(SQUARE[n]) for n in range(1, 5)}})
    done = convert(tmp_path / "a", tmp_path / "b.zip", limit=2, skip_bad=True)
    assert done.images == 2 and len(done.skipped) == 1
    assert np.array_equal(next(open_images(tmp_path / "b.zip").batches(9)), SQUARE[1:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "image 'a/1.png' is 9x8 RGB, not square; use --crop center"),
        ({"resolution": 8}, "not square; use --crop center"),
        (
            {"resolution": 8, "crop": "center"},
            "'a/2.png' is 8x8 grey, and the first, 'a/1.png', is 8x8 RGB; .*--color rgb",
        ),
        ({"crop": "center", "color": "rgb"}, "'b/1.png' is not an image .*; number 3 of 4 images: .*--skip-bad"),
        ({"crop": "center", "color": "rgb", "skip_bad": True}, "'b/2.jpg' is 40x40 RGB, and .*--resolution N"),
        ({"crop": "center-dhariwal"}, "it needs a resolution: add --resolution"),
        ({"crop": "middle"}, "no crop 'middle'; there are: none, center, center-dhariwal"),
        ({"color": "blue"}, "no color 'blue'; there are: rgb, grey"),
        ({"resolution": 0}, "the resolution is 1 to"),
        ({"limit": 0}, "at least 1 image"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(tmp_path, options, message):
    source = mixed(tmp_path / "a")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / "out" / "b.zip", **options)
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_usable(tmp_path):
    write_folder(tmp_path / "a", {"a.png": b"", "b.png": b""})
    with pytest.raises(
        InputError, match=r"none of its images can be used, the first: a: image 'a.png' is not an image"
    ):
        convert(tmp_path / "a", tmp_path / "b.zip", skip_bad=True)
    assert not (tmp_path / "b.zip").exists()


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path):
    source = write_zip(tmp_path / "a.zip", official(SQUARE))
    (tmp_path / "b.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"is there already; .*--overwrite"):
        convert(source, tmp_path / "b.zip")
    broken = write_folder(tmp_path / "broken", {"a.png": b""})
    with pytest.raises(InputError):
        convert(broken, tmp_path / "b.zip", overwrite=True)
    assert (tmp_path / "b.zip").read_bytes() == b"mine"
    convert(source, tmp_path / "b.zip", overwrite=True)
    assert len(open_images(tmp_path / "b.zip")) == 5
    convert(source, source, overwrite=True)  # onto itself
    assert open_images(source).digest() == open_images(tmp_path / "b.zip").digest()


def test_places_that_cannot_be_written(tmp_path):
    source = write_zip(tmp_path / "a.zip", official(SQUARE))
    with pytest.raises(InputError, match=r"ends in .zip"):
        convert(source, tmp_path / "b.tar")
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        convert(source, tmp_path / "folder.zip", overwrite=True)
    with pytest.raises(RunError, match="cannot be written"):
        convert(source, source / "b.zip")


def gradient(height, width):
    """An image whose levels tell where they came from: 4 y in red, 4 x in green."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 4 * x, 0 * x]).astype(np.uint8)


def test_the_square_in_the_middle_is_cut_out_exactly():
    image = gradient(20, 33)
    assert np.array_equal(resize(image, None, "center", None), image[:, :, 6:26])
    assert np.array_equal(resize(image, 20, "center", None), image[:, :, 6:26])
    assert np.array_equal(resize(image, 20, "center-dhariwal", None), image[:, :, 6:26])
    assert resize(image, 20, "center", None).shape == (3, 20, 20)


def test_resizing_is_pillows_lanczos():
    image = some_images(1, height=16, width=16)[0]
    expected = Image.fromarray(image.transpose(1, 2, 0)).resize((6, 6), Image.Resampling.LANCZOS)
    for crop in ("none", "center"):
        assert np.array_equal(resize(image, 6, crop, None).transpose(1, 2, 0), np.asarray(expected))


def test_the_crop_of_adm_halves_with_a_box_first():
    image = some_images(1, height=32, width=48)[0]
    halved = image.reshape(3, 8, 4, 12, 4)  # twice: 32 to 16 to 8, where the side is the resolution
    found = resize(image, 8, "center-dhariwal", None)
    assert np.abs(found - halved.mean((2, 4))[:, :, 2:10]).max() <= 2  # Pillow rounds four times
    bicubic = Image.fromarray(image.transpose(1, 2, 0)).resize((30, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(resize(image, 20, "center-dhariwal", None).transpose(1, 2, 0), np.asarray(bicubic)[:, 5:25])


def test_colours():
    grey, colour = some_images(1, channels=1, height=4, width=4)[0], some_images(1, height=4, width=4)[0]
    assert np.array_equal(resize(grey, None, "none", "rgb"), grey.repeat(3, 0))
    assert np.array_equal(resize(grey, None, "none", "grey"), grey)
    luma = (colour * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    assert np.abs(resize(colour, None, "none", "grey")[0] - luma).max() <= 1
