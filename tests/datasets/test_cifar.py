"""CIFAR's archives: both versions, both parts, packed and unpacked; hostile pickles and hostile archives."""

import gzip
import os
import pickle
import tarfile

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.datasets.cifar import BUDGET, VERSIONS, read_batch
from harness.datasets.image_set import of_array
from harness.datasets.open import open_images
from harness.denoisers.checkpoints.pickles.machine import PickleBudget
from tests.datasets.sets import batch, cifar10, python2_batch, some_images, write_folder, write_tar

IMAGES = some_images(15, height=32, width=32)
LABELS = np.arange(15) % 10
WHOLE = of_array("whole", IMAGES, LABELS)


@pytest.fixture(params=["archive", "GNU archive", "folder"])
def write(request, tmp_path):
    """Writes files as the archive or the folder that people have."""

    def written(files, version="10"):
        if request.param == "folder":
            return write_folder(tmp_path / "cifar", files)
        form = tarfile.GNU_FORMAT if request.param == "GNU archive" else tarfile.PAX_FORMAT
        return write_tar(tmp_path / f"cifar-{version}-python.tar.gz", files, form=form)

    return written


@pytest.mark.parametrize("pickled", [batch, python2_batch])
def test_cifar_10(write, pickled):
    source = write(cifar10(IMAGES, LABELS, pickled))
    train, test = open_images(source), open_images(f"{source}#test")
    assert train.digest() == WHOLE.digest() == open_images(f"{source}#train").digest()
    assert train.labels.tolist() == LABELS.tolist() and train.label_dim == 10
    assert test.digest() == WHOLE.take(range(12, 15)).digest() and test.labels.tolist() == LABELS[12:].tolist()
    assert train.name.endswith("#train") and test.name.endswith("#test")
    assert np.array_equal(train.take([14, 0, 7, 3]).read(np.arange(4)), IMAGES[[14, 0, 7, 3]])


@pytest.mark.parametrize("pickled", [batch, python2_batch])
def test_cifar_100_with_fine_labels(write, pickled):
    fine = np.arange(15) + 80
    files = {"train": pickled(IMAGES, fine, "fine_labels"), "meta": b"\x80\x02}."}
    source = write({**files, "test": pickled(IMAGES[:2], fine[:2], "fine_labels")}, "100")
    assert open_images(source).digest() == WHOLE.digest() and open_images(source).labels.tolist() == fine.tolist()
    assert open_images(f"{source}#test").labels.tolist() == [80, 81]


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_later_pythons_write_it_too(protocol):
    found = read_batch(memoryview(batch(IMAGES, LABELS, protocol=protocol)), "x", VERSIONS[0])
    assert np.array_equal(found.images, IMAGES) and found.labels.tolist() == LABELS.tolist()


def test_columns_first_is_understood():
    rows = np.asfortranarray(IMAGES.reshape(15, -1))
    raw = pickle.dumps({b"data": rows, b"labels": LABELS.tolist()}, protocol=2)
    assert np.array_equal(read_batch(memoryview(raw), "x", VERSIONS[0]).images, IMAGES)


class Evil:
    """What a pickle can do when it is loaded."""

    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("evil", [Evil(os.system, "touch pwned"), Evil(eval, "1"), Evil(np.load, "x")])
def test_nothing_of_a_pickle_is_run(write, evil, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = pickle.dumps({b"data": evil, b"labels": [1]}, protocol=2)
    source = write({**cifar10(IMAGES, LABELS), "data_batch_3": raw})
    with pytest.raises(InputError, match=r"data_batch_3: opcode GLOBAL at byte .*; nothing was imported or called"):
        open_images(source)
    assert not (tmp_path / "pwned").exists()


def pickled(**values):
    return pickle.dumps({key.encode(): value for key, value in values.items()}, protocol=2)


ROWS = IMAGES.reshape(15, -1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (pickle.dumps([1], protocol=2), "no 'data' and 'labels' in it"),
        (pickled(data=ROWS), "no 'data' and 'labels' in it"),
        (pickled(data=[1, 2], labels=[1, 2]), "'data' is not an array of NumPy"),
        (pickled(data=ROWS.astype(np.float32), labels=[]), "'data' is float32 .15, 3072., where uint8"),
        (pickled(data=ROWS[:, :1024], labels=[]), "'data' is uint8 .15, 1024."),
        (pickled(data=ROWS.astype("U1"), labels=[]), "a NumPy scalar of a type that is not known"),
        (pickled(data=ROWS.astype(">i4"), labels=[]), "big-endian numbers"),
        (pickled(data=ROWS, labels=[1, 2]), "'labels' is not a list of 15 numbers"),
        (pickled(data=ROWS, labels=[10] * 15), "'labels' has a class that is no number from 0 to 9"),
        (pickled(data=ROWS, labels=["a"] * 15), "'labels' has a class that is no number"),
        (batch(IMAGES, LABELS)[:-20], "truncated|rules of a pickle"),
        (
            python2_batch(IMAGES, LABELS).replace(b"M\x0f\x00M", b"M\x10\x00M"),
            "shape .16, 3072. whose bytes are not as",
        ),
        (b"", "claims 1 bytes"),
    ],
)
def test_batches_that_are_refused(raw, message):
    with pytest.raises(InputError, match=rf"^x: .*({message})"):
        read_batch(memoryview(raw), "x", VERSIONS[0])


def test_a_batch_of_far_more_steps(monkeypatch):
    assert BUDGET.opcodes <= 2_000_000
    monkeypatch.setattr("harness.datasets.cifar.BUDGET", PickleBudget(20_000, BUDGET.text))
    with pytest.raises(InputError, match=r"^x: .*far more steps"):
        read_batch(memoryview(b"\x80\x02" + b"]" * 30_000), "x", VERSIONS[0])


def test_missing_parts(write):
    files = cifar10(IMAGES, LABELS)
    del files["data_batch_2"], files["test_batch"]
    source = write(files)
    with pytest.raises(InputError, match="part 'train' lacks data_batch_2; the copy is not whole"):
        open_images(source)
    with pytest.raises(InputError, match="part 'test' lacks test_batch"):
        open_images(f"{source}#test")
    with pytest.raises(InputError, match="has the parts train and test; we got '#val'"):
        open_images(f"{source}#val")


def test_another_archive(tmp_path):
    with pytest.raises(InputError, match="not the Python version of CIFAR-10"):
        open_images(write_tar(tmp_path / "a.tar.gz", {"a.png": b"x"}))


def link(info):
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard_link(info):
    info.type, info.linkname = tarfile.LNKTYPE, "a"


def sparse(info):
    info.type = tarfile.GNUTYPE_SPARSE


def device(info):
    info.type = tarfile.CHRTYPE


@pytest.mark.parametrize("change", [link, hard_link, device, sparse])
def test_only_plain_files_in_an_archive(tmp_path, change):
    path = write_tar(tmp_path / "a.tar.gz", {"train": b""}, change=change)
    with pytest.raises(InputError, match="'cifar-10-batches-py/train' is a link, or no plain file; refused"):
        open_images(path)


@pytest.mark.parametrize("folder", ["../", "/", "a/../../"])
def test_names_that_leave_an_archive(tmp_path, folder):
    with pytest.raises(InputError, match="has a name that leaves the archive"):
        open_images(write_tar(tmp_path / "a.tar.gz", {"train": b"x"}, folder=folder, form=tarfile.USTAR_FORMAT))


def test_two_members_of_one_name(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("train"))
    with pytest.raises(InputError, match="two members have the name 'train'"):
        open_images(path)
    with tarfile.open(path, "w:gz") as archive:
        for name in ("a/train", "b/train"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(InputError, match="has a/train, b/train: several sets in one"):
        open_images(path)


def test_cut_and_damaged_archives(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", cifar10(IMAGES, LABELS))
    whole = path.read_bytes()
    for length in (20, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot be inflated .*truncated or damaged"):
            open_images(path)
    path.write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    with pytest.raises(InputError, match=r"cannot be inflated .CRC"):
        open_images(path)
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:5000]))
    with pytest.raises(InputError, match=r"not a whole tar file .unexpected end of data"):
        open_images(path)
    path.write_bytes(gzip.compress(b"x" * 2000))
    with pytest.raises(InputError, match=r"not a whole tar file .(invalid header|bad checksum)"):
        open_images(path)


@pytest.mark.parametrize("place", ["in a member", "after the end"])
def test_bombs_are_not_inflated(tmp_path, place):
    path = tmp_path / "a.tar.gz"
    zeros = gzip.compress(bytes(1 << 26)) * 5
    head = tarfile.TarInfo("train")
    head.size = 5 << 26
    path.write_bytes((gzip.compress(head.tobuf()) if place == "in a member" else b"") + zeros)
    with pytest.raises(InputError, match="inflates to more than any archive of CIFAR"):
        open_images(path)


def test_a_chain_of_attributes(tmp_path):
    """tarfile reads each header of attributes inside the one before."""
    head = tarfile.TarInfo("x")
    head.type = tarfile.XHDTYPE
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(head.tobuf() * 5000))
    with pytest.raises(InputError, match=r"not a whole tar file .*recursion"):
        open_images(path)


def test_too_many_members(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(b"".join(tarfile.TarInfo(f"{row}").tobuf() for row in range(10_001)), 1))
    with pytest.raises(InputError, match="more than 10,000 members; refused"):
        open_images(path)
