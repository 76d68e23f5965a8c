"""MNIST and its relatives."""

import gzip
import struct

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from tests.datasets.sets import idx, some_images

IMAGES = some_images(6, channels=1)
LABELS = np.array([3, 1, 4, 1, 5, 9], np.uint8)
EXPECTED = of_array("x", IMAGES).digest()


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("labels_end", ["", ".gz"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-images.idx3-ubyte"])
def test_images_and_labels(tmp_path, name, end, labels_end):
    pack = {"": bytes, ".gz": gzip.compress}
    path = tmp_path / (name + end)
    path.write_bytes(pack[end](idx(IMAGES[:, 0])))
    assert open_images(path).labels is None and open_images(path).digest() == EXPECTED
    beside = name.replace("images", "labels").replace("idx3", "idx1") + labels_end
    (tmp_path / beside).write_bytes(pack[labels_end](idx(LABELS)))
    found = open_images(str(path))
    assert found.digest() == EXPECTED and found.shape == (1, 5, 7)
    assert found.labels.tolist() == LABELS.tolist() and found.label_dim == 10


def test_another_name_has_no_labels(tmp_path):
    (tmp_path / "digits.bin").write_bytes(idx(IMAGES[:, 0]))
    assert open_images(tmp_path / "digits.bin").labels is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(IMAGES[:, 0])[:-1], "states 210 bytes of numbers and has 209; truncated"),
        (idx(IMAGES[:, 0]) + b"x", "states 210 bytes of numbers and has more"),
        (b"\0\0\x08\x03\0\0\0", "not an IDX file of bytes"),
        (b"\0\0\x08\x02" + bytes(60), "not an IDX file of bytes with 1 or 3 sides"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated|more than 1,073,741,824; inflate it yourself"),
        (idx(LABELS), "is it the one of labels"),
        (idx(IMAGES[:0, 0]), "images have 3 sides"),
    ],
)
def test_what_is_refused(tmp_path, pack, content, message):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(pack(content))
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "a-images-idx3-ubyte")


def test_labels_of_others(tmp_path):
    (tmp_path / "images-idx3").write_bytes(idx(IMAGES[:, 0]))
    (tmp_path / "labels-idx1").write_bytes(idx(LABELS[:4]))
    with pytest.raises(InputError, match=r"labels-idx1: \[4\] labels for 6 images; they belong to others"):
        open_images(tmp_path / "images-idx3")


def test_no_more_is_inflated_than_the_header_states(tmp_path):
    path = tmp_path / "images-idx3.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(50_000_000)))
    with pytest.raises(InputError, match="states 24 bytes of numbers and has more"):
        open_images(path)


def test_a_cut_gzip(tmp_path):
    path = tmp_path / "images-idx3.gz"
    path.write_bytes(gzip.compress(idx(some_images(20, channels=1)[:, 0]))[:-30])
    with pytest.raises(InputError, match="cannot be inflated"):
        open_images(path)
