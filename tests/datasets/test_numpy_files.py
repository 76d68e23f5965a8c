"""Arrays on disk: layouts, types, and that nothing is unpickled."""

import os
import zipfile

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from tests.datasets.sets import some_images

IMAGES, GREY = some_images(6), some_images(6, channels=1)
LABELS = np.array([1, 0, 2, 2, 1, 0])


def saved(path, array):
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("array", "images"),
    [
        (IMAGES, IMAGES),
        (IMAGES.transpose(0, 2, 3, 1), IMAGES),
        (np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1)), IMAGES),
        (np.asfortranarray(IMAGES), IMAGES),
        (GREY, GREY),
        (GREY[:, 0], GREY),
        (GREY[:, 0, :, :, None], GREY),
    ],
)
def test_layouts(tmp_path, array, images):
    found = open_images(saved(tmp_path / "a.npy", array))
    assert found.digest() == of_array("x", images).digest() and found.labels is None and found.name == "a.npy"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("images", "labels"), ("arr_0", None)])
def test_samples_of_others(tmp_path, save, names):
    arrays = {names[0]: IMAGES.transpose(0, 2, 3, 1), "mu": np.zeros(3)}
    save(tmp_path / "a.npz", **arrays, **({names[1]: LABELS} if names[1] else {}))
    found = open_images(tmp_path / "a.npz")
    assert found.digest() == of_array("x", IMAGES).digest()
    assert found.labels is None if names[1] is None else found.labels.tolist() == LABELS.tolist()


def test_a_stored_array_is_read_in_place(tmp_path):
    np.savez(tmp_path / "a.npz", IMAGES)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.npz").read_bytes())
    assert open_images(tmp_path / "a.zip").digest() == of_array("x", IMAGES).digest()  # by its content
    opened = open_images(saved(tmp_path / "a.npy", IMAGES))
    with (tmp_path / "a.npy").open("r+b") as file:
        file.seek(-IMAGES.size, os.SEEK_END)
        file.write(b"\x07")
    assert opened.read(np.array([0]))[0, 0, 0, 0] == 7


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGES / 127.5 - 1, r"float64 numbers; images are bytes.*store bytes: \(x \* 127\.5 \+ 128\)"),
        (IMAGES.astype(np.int64), "int64 numbers; .*store them as numpy.uint8"),
        (some_images(6, height=4, width=3), r"shape \[6, 3, 4, 3\] may be read in more than one way"),
        (some_images(6)[0, 0][..., None].repeat(3, 2), r"shape \[5, 7, 3\] may be read in more than one way"),
        (np.zeros((6, 5, 7, 4), np.uint8), "is not one of images"),
        (np.zeros((6, 5), np.uint8), "is not one of images"),
        (np.zeros((0, 5, 7), np.uint8), "has no images"),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        open_images(saved(tmp_path / "a.npy", array))
    np.savez(tmp_path / "a.npz", array)
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "a.npz")


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_pickles_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Evil(), Evil()], dtype=object)
    np.save(tmp_path / "a.npy", objects)
    np.savez(tmp_path / "a.npz", objects)
    np.savez(tmp_path / "b.npz", IMAGES, objects)
    for name in ("a.npy", "a.npz", "b.npz"):
        with pytest.raises(InputError, match="asks for a pickle, and pickles run code; refused"):
            open_images(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY", "not an array of NumPy"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "version 3.0"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')", "not an array of NumPy"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': '|u1' ", "not an array of NumPy"),
    ],
)
def test_headers_that_are_refused(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "a.npy")


def test_a_cut_array(tmp_path):
    path = saved(tmp_path / "a.npy", IMAGES)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"states uint8 .6, 3, 5, 7. and has 629 bytes of numbers; truncated"):
        open_images(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"no array of images, 'arr_0' or 'images'; it has x\.npy"),
        ({"arr_0": IMAGES, "images": IMAGES}, "has both arr_0.npy and images.npy"),
        ({"arr_0": IMAGES, "arr_1": np.eye(6)}, "store the argmax of one-hot labels"),
        ({"arr_0": IMAGES, "arr_1": LABELS[:2]}, "for 6 images"),
    ],
)
def test_npz_that_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "a.npz")


def test_a_compressed_array_is_bounded(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", IMAGES)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = b"\xf0\xff\xff\xff"
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"store it with numpy\.savez, uncompressed"):
        open_images(tmp_path / "a.npz")


def test_a_zip_file_of_images_is_no_npz(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.png", b"")
    with pytest.raises(InputError, match="no array of images"):
        open_images(tmp_path / "a.npz")
