"""Files of torch.save in both layouts: the same numbers as torch reads, and every way in which a file can lie."""

import io
import os
import pickle
import stat
import struct
import zipfile

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.machine import PickleBudget
from harness.denoisers.checkpoints.pickles.stored import LazyTensor, Storage, StorageType, view
from harness.denoisers.checkpoints.pickles.torch_file import read_torch_file
from harness.denoisers.checkpoints.pickles.torch_names import TORCH_FILE

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    def write(value):
        path = tmp_path / f"{request.param}.pt"
        torch.save(value, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    write.layout = request.param
    return write


def test_tensors_of_every_type_and_view(save):
    base = torch.arange(24).reshape(2, 3, 4)
    tensors = {str(dtype): (base % 2 if dtype == torch.bool else base).to(dtype) for dtype in TYPES}
    tensors |= {
        "transposed": base.float().permute(2, 1, 0),
        "part": base.float()[1, 1:, ::2],
        "scalar": torch.tensor(3.5),
    }
    tensors |= {"empty": torch.zeros(0, 5), "parameter": torch.nn.Parameter(torch.ones(2))}
    found = read_torch_file(save(tensors))
    assert found.layout == save.layout
    assert list(found.root) == list(tensors)
    for name, tensor in tensors.items():
        wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        assert found.root[name].shape == tuple(tensor.shape)
        assert np.array_equal(found.root[name].read(), wide.numpy()), name


def test_what_checkpoints_hold_besides_tensors(save):
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2)).sum().backward()
    optimizer.step()
    value = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": 7,
        "rate": np.float64(0.5),
        "size": torch.Size([1, 2]),
    }
    root = read_torch_file(save(value)).root
    assert root["step"] == 7 and root["rate"] == 0.5 and root["size"] == (1, 2)
    assert np.array_equal(root["model"]["weight"].read(), net.weight.detach().numpy())
    assert np.array_equal(root["optimizer"]["state"][0]["exp_avg"].read(), optimizer.state[net.weight]["exp_avg"])


def test_nothing_is_called(save, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    path = save({"model": Bomb()})
    with pytest.raises(InputError, match=r"at byte \d+: asks for 'posix.system'"):
        read_torch_file(path)
    assert not (tmp_path / "executed").exists()


def test_a_module_is_not_a_state_dict(save):
    path = save(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_torch_file(path)


def test_truncated_anywhere(save):
    path = save({"a": torch.arange(300.0), "b": "text"})
    raw = path.read_bytes()
    for keep in [0, 1, 4, 20, 60, 100, len(raw) // 2, len(raw) - 100, len(raw) - 1]:
        path.write_bytes(raw[:keep])
        with pytest.raises(InputError, match=str(path)):
            read_torch_file(path)


def test_other_files_are_told_apart(tmp_path):
    path = tmp_path / "x.pt"
    for raw, message in [(b"", "is empty"), (b"hello", "begins with b'hello'"), (pickle.dumps({}), "begins with")]:
        path.write_bytes(raw)
        with pytest.raises(InputError, match=message):
            read_torch_file(path)
    with pytest.raises(InputError, match="cannot read the file"):
        read_torch_file(tmp_path / "gone.pt")


def rezip(path, change):
    """The same archive with members changed: `change(info, data)` gives a new pair, or None to leave one out."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, data in members:
            changed = change(info, data)
            if changed is not None:
                archive.writestr(*changed)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"a": torch.arange(1000.0)}, path)
    return path


def test_an_archive_written_anew_is_still_read(archive):
    rezip(archive, lambda info, data: (info, data))
    assert read_torch_file(archive).root["a"].read()[-1] == 999


def member(name, **attributes):
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda info, data: (member(info.filename, compress_type=zipfile.ZIP_DEFLATED), data),
            "is compressed .*torch.save does not",
        ),
        (lambda info, data: (member(f"../{info.filename}"), data), "has a name that leaves the archive"),
        (lambda info, data: (member(f"/{info.filename}"), data), "has a name that leaves the archive"),
        (lambda info, data: (member(f"C:\\{info.filename}"), data), "has a name that leaves the archive"),
        (
            lambda info, data: (member(info.filename, external_attr=(stat.S_IFLNK | 0o777) << 16), data),
            "is a symbolic link",
        ),
        (lambda info, data: None if "/data/0" in info.filename else (info, data), "and the archive has none"),
        (lambda info, data: None if "data.pkl" in info.filename else (info, data), "without a data.pkl"),
        (
            lambda info, data: (info, data[:-4]) if "/data/0" in info.filename else (info, data),
            "claims 4,000 bytes, and the archive has 3,996",
        ),
        (
            lambda info, data: (info, b"big") if "byteorder" in info.filename else (info, data),
            "written on a big-endian machine",
        ),
        (
            lambda info, data: (
                (member("net/constants.pkl"), data) if info.filename.endswith("/version") else (info, data)
            ),
            "TorchScript, which is code",
        ),
    ],
)
def test_archives_that_torch_does_not_write(archive, change, message):
    rezip(archive, change)
    with pytest.raises(InputError, match=message):
        read_torch_file(archive)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(archive):
    bomb = b"\0" * (64 << 20)
    packed = member("net/data/0", compress_type=zipfile.ZIP_DEFLATED)
    rezip(archive, lambda info, data: (packed, bomb) if "/data/0" in info.filename else (info, data))
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"compressed \(67,108,864 bytes from"):
        read_torch_file(archive)


def test_members_that_overlap(archive):
    """A directory in which two names mean the same bytes, as in a bomb without compression."""
    raw = bytearray(archive.read_bytes())
    places = [at for at in range(len(raw) - 4) if raw[at : at + 4] == b"PK\x01\x02"]
    first, second = places[:2]
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    archive.write_bytes(raw)
    with pytest.raises(InputError, match=r"overlaps another|not a whole zip|not where the archive says|claims"):
        read_torch_file(archive)


def test_a_directory_of_millions(archive):
    raw = bytearray(archive.read_bytes())
    end = raw.rfind(b"PK\x05\x06")
    raw[end + 10 : end + 12] = b"\xff\xff"
    if raw[end - 76 : end - 72] == b"PK\x06\x06":  # the longer end that large archives have
        raw[end - 44 : end - 36] = struct.pack("<Q", 65_535)
    archive.write_bytes(raw)
    with pytest.raises(InputError, match="an archive of 65,535 members"):
        read_torch_file(archive)


def test_a_zip_format_of_the_future(archive):
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"PK\x01\x02")
    raw[at + 6 : at + 8] = (255).to_bytes(2, "little")  # the version that is needed to read the first member
    archive.write_bytes(raw)
    with pytest.raises(InputError, match=r"not a whole zip file \(zip file version 25\.5\)"):
        read_torch_file(archive)


def test_altered_numbers_are_noticed(archive):
    raw = archive.read_bytes()
    at = raw.index(np.arange(1000, dtype="<f4")[10:20].tobytes())
    archive.write_bytes(raw[:at] + b"\xff" + raw[at + 1 :])
    tensor = read_torch_file(archive).root["a"]
    with pytest.raises(InputError, match="has another checksum"):
        tensor.read()


def test_a_legacy_storage_that_claims_a_terabyte(tmp_path):
    path = tmp_path / "net.pt"
    torch.save({"a": torch.arange(10.0)}, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    assert raw.count(b"K\x0aN") == 1  # the count, 10, and the view, None, of the persistent id
    path.write_bytes(raw.replace(b"K\x0aN", b"\x8a\x05" + struct.pack("<Q", 1 << 38)[:5] + b"N"))
    with pytest.raises(InputError, match=r"at byte \d+: .*does not lie|a storage of 274,877,906,944 numbers"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),
        (5, (2,), (1,)),
        (0, (2, 3), (6, 1)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (1 << 40,), (0,)),
        (0, (2,), (1 << 60,)),
        (0, (2,), (1, 1)),
        (0, [2], (1,)),
        (0, (True,), (1,)),
        (0, (1,) * 20, (1,) * 20),
    ],
)
def test_a_view_never_leaves_its_storage(offset, size, stride):
    storage = Storage(StorageType("F32"), 6, lambda: memoryview(bytes(24)))
    with pytest.raises(ValueError, match="damaged"):
        view(storage, offset, size, stride)


def test_a_tensor_without_its_storage():
    with pytest.raises(ValueError, match="without a storage"):
        view("storage", 0, (1,), (1,))


def test_the_table_of_globals_is_what_it_should_be():
    """Whoever adds one here thinks twice: every function must only make data."""
    assert sorted(name for name in TORCH_FILE if not name.endswith("Storage")) == [
        "_codecs.encode",
        "collections.OrderedDict",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "torch.Size",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
    ]
    assert all(callable(value) or isinstance(value, StorageType) for value in TORCH_FILE.values())
    assert isinstance(PickleBudget().opcodes, int) and LazyTensor("F32", (2, 3), lambda: np.zeros((2, 3))).numel == 6
