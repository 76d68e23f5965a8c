"""Damage of any kind gives images or an InputError, from every layout; nothing else, and in no long time."""

import gzip

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.open import open_images
from tests.datasets.sets import (
    cifar10,
    encoded,
    idx,
    official,
    python2_batch,
    some_images,
    write_folder,
    write_tar,
    write_zip,
)

IMAGES = some_images(5, height=32, width=32)
LABELS = np.arange(5)


def zip_file(path, deflated=False):
    write_zip(path, official(IMAGES[:2, :, :6, :6], LABELS[:2]), deflated)


def tar(path):
    write_tar(path, cifar10(IMAGES, LABELS, python2_batch))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 0))  # so that damage reaches what is inside


def npz(path):
    with path.open("wb") as file:
        np.savez(file, IMAGES[:2, :, :6, :6], LABELS[:2])


def npz_deflated(path):
    with path.open("wb") as file:
        np.savez_compressed(file, IMAGES[:2, :, :6, :6], LABELS[:2])


def npy(path):
    with path.open("wb") as file:
        np.save(file, IMAGES[:1, :, :4, :4])


WRITERS = {
    "zip": zip_file,
    "zip deflated": lambda path: zip_file(path, deflated=True),
    "tar": tar,
    "npz": npz,
    "npz deflated": npz_deflated,
    "npy": npy,
    "idx": lambda path: path.write_bytes(idx(IMAGES[:2, 0, :4, :4])),
    "idx gzip": lambda path: path.write_bytes(gzip.compress(idx(IMAGES[:2, 0, :4, :4]))),
}


def damaged(content, random):
    """The bytes with some of them changed, most of these near either end, where the structure is; or cut."""
    found = bytearray(content)
    if random.random() < 0.15:
        return bytes(found[: random.integers(len(found))])
    near = min(len(found), 600)
    for _ in range(random.integers(1, 5)):
        place = [random.integers(len(found)), random.integers(near), -1 - random.integers(near)][random.integers(3)]
        found[place] = random.choice([0, 0xFF, 0x80, random.integers(256)])
    return bytes(found)


@pytest.mark.parametrize("kind", WRITERS)
def test_files(tmp_path, kind):
    path = tmp_path / "set"
    WRITERS[kind](path)
    assert open_images(path).digest()
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        path.unlink()  # not written over: an opened set has it mapped
        path.write_bytes(damaged(content, random))
        try:
            assert open_images(path, skip_bad=bool(random.integers(2))).digest()
        except InputError as error:
            assert str(error)


def test_a_batch_of_cifar(tmp_path):
    files = cifar10(IMAGES, LABELS, python2_batch)
    random = np.random.default_rng(0)
    for _ in range(150):
        (tmp_path / "data_batch_1").unlink(missing_ok=True)
        write_folder(tmp_path, {**files, "data_batch_1": damaged(files["data_batch_1"], random)})
        try:
            assert open_images(tmp_path).digest()
        except InputError as error:
            assert str(error)


def test_a_table_of_classes(tmp_path):
    members = official(IMAGES[:2], LABELS[:2])
    write_folder(tmp_path, members)
    random = np.random.default_rng(0)
    for _ in range(150):
        (tmp_path / "dataset.json").write_bytes(damaged(members["dataset.json"], random))
        try:
            assert open_images(tmp_path).digest()
        except InputError as error:
            assert str(error)


def test_a_file_that_changes_while_it_is_in_use(tmp_path):
    write_folder(tmp_path, {"a.png": encoded(IMAGES[0]), "b.png": encoded(IMAGES[1])})
    found = open_images(tmp_path)
    (tmp_path / "b.png").write_bytes(encoded(IMAGES[1, :, :8]))
    with pytest.raises(InputError, match=r"'b\.png' was changed while the set was in use"):
        found.digest()
    (tmp_path / "b.png").unlink()
    with pytest.raises(InputError, match=r"'b\.png' cannot be read \(No such file"):
        found.digest()
