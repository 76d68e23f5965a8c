"""One door: every layout of the same images has one digest, and what is no set of images is told what is."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.datasets.convert import convert
from harness.datasets.image_bytes import to_bytes
from harness.datasets.open import UNDERSTOOD, open_images
from harness.hub.digits import load_digits
from tests.datasets.sets import (
    cifar10,
    encoded,
    idx,
    official,
    some_images,
    write_folder,
    write_tar,
    write_zip,
)

IMAGES = some_images(10, height=32, width=32)
LABELS = np.arange(10)


def test_equal_images_have_one_digest_wherever_they_are(tmp_path):
    write_tar(tmp_path / "cifar-10-python.tar.gz", cifar10(IMAGES, LABELS))
    write_folder(tmp_path / "cifar", cifar10(IMAGES, LABELS))
    write_zip(tmp_path / "a.zip", official(IMAGES, LABELS))
    write_folder(tmp_path / "folder", {f"{row}/x.bmp": encoded(image, "BMP") for row, image in enumerate(IMAGES)})
    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "a.npz", IMAGES.transpose(0, 2, 3, 1), LABELS)
    convert(tmp_path / "cifar", tmp_path / "b.zip")
    names = ["cifar-10-python.tar.gz", "cifar", "a.zip", "folder", "a.npy", "a.npz", "b.zip"]
    found = [open_images(tmp_path / name) for name in names]
    assert len({each.digest() for each in found}) == 1
    assert all(each.labels is None or each.labels.tolist() == LABELS.tolist() for each in found)


def test_grey_images_too(tmp_path):
    grey = some_images(4, channels=1)
    (tmp_path / "images-idx3.gz").write_bytes(gzip.compress(idx(grey[:, 0])))
    np.save(tmp_path / "a.npy", grey[:, 0])
    write_zip(tmp_path / "a.zip", official(grey))
    assert len({open_images(tmp_path / name).digest() for name in ("images-idx3.gz", "a.npy", "a.zip")}) == 1


def test_digits_are_the_floats_in_bytes():
    found, floats = open_images("digits"), load_digits()
    assert np.array_equal(next(found.batches(2000)), to_bytes(floats.images.numpy()))
    assert torch.equal(torch.from_numpy(found.labels), floats.labels)
    assert (len(found), found.shape, found.label_dim) == (1797, (1, 8, 8), 10)


def test_a_folder_called_digits_needs_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "digits", {"a.png": encoded(IMAGES[0])})
    assert len(open_images("digits")) == 1797 and len(open_images("./digits")) == 1


def test_a_hash_in_the_name_of_something_there_is_no_part(tmp_path):
    assert len(open_images(write_zip(tmp_path / "a#test", official(IMAGES)))) == 10


def test_only_cifar_has_parts(tmp_path):
    write_zip(tmp_path / "a.zip", official(IMAGES))
    write_folder(tmp_path / "a", {"a.png": encoded(IMAGES[0])})
    for name in ("a.zip", "a"):
        with pytest.raises(InputError, match="only CIFAR's archives have parts; leave '#test' out"):
            open_images(f"{tmp_path / name}#test")


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF", b"\x7fELF"])
def test_other_things_are_told_what_is_understood(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_images(tmp_path / "a")
    assert "which is no set of images" in str(caught.value) and UNDERSTOOD in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="no such file or folder; check the path") as caught:
        open_images(tmp_path / "a")
    assert "cifar-10-python.tar.gz" in str(caught.value)


def test_sets_of_images_load_no_torch(tmp_path):
    code = f"""
from harness.datasets.open import open_images
from harness.datasets.convert import convert
from harness.datasets.stats import stats
stats(open_images('digits')); convert('digits', {str(tmp_path / "a.zip")!r})
import sys; assert 'torch' not in sys.modules and 'torchvision' not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
