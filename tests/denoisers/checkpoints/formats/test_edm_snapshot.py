"""Snapshots: the golden ones give the official implementation's numbers; what a hostile file could try is refused."""

import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.checkpoints.pickles.stored import Storage, StorageType, view
from harness.denoisers.inspect import as_lines, inspect
from tests.denoisers import nets
from tests.denoisers.snapshots import Persistent, original_modules, persistent, small, write_snapshot
from tests.denoisers.test_networks import TOLERANCE, worst

PICKLES = Path(__file__).parents[3] / "golden" / "pickles"
NAMES = sorted(path.stem for path in PICKLES.glob("*.pkl"))
every_pickle = pytest.mark.parametrize("name", NAMES)


def expected(name):
    with np.load(PICKLES / f"{name}.expected.npz", allow_pickle=False) as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def test_there_are_five():
    assert len(NAMES) == 5


@every_pickle
def test_golden(name, tmp_path):
    """The file itself, and what is imported from it, agree with the official forward pass."""
    io = expected(name)
    written = import_file(PICKLES / f"{name}.pkl", tmp_path / "net.safetensors")
    for net in (load_foreign(PICKLES / f"{name}.pkl"), harness.load_denoiser(written.path)):
        for field, ours in nets.answers(net, io).items():
            assert worst(ours, io[field]) < TOLERANCE, field
        if "F" in io:
            raw = net.model(io["F.x"], io["F.noise_labels"], io.get("class_labels"), io.get("augment_labels"))
            assert worst(raw, io["F"]) < TOLERANCE


@every_pickle
def test_facts_and_the_file_is_only_looked_at(name):
    found = read_checkpoint(PICKLES / f"{name}.pkl")
    assert found.format == "EDM snapshot"
    assert found.facts["dataset_kwargs"]["path"] == "datasets/toy.zip"
    assert found.facts["loss_fn"]["class"] in ("EDMLoss", "VPLoss", "VELoss")
    assert "source code embedded in the file" in found.ignored
    if name in nets.NAMES:
        meta = nets.sidecar(name)
        shapes = {key: list(tensor.shape) for key, tensor in found.tensors.items()}
        assert list(shapes.items()) == [
            (key, value["shape"] if isinstance(value, dict) else value) for key, value in meta["state_dict"].items()
        ]
        assert (found.sigma_min, found.sigma_max) == (meta["sigma_min"], meta["sigma_max"])


def test_importing_twice_gives_equal_bytes(tmp_path):
    path = PICKLES / "vp_ddpmpp_uncond.pkl"
    written = [import_file(path, tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    assert written[0].sha256 == written[1].sha256
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    header = harness.hub.header.read_header(tmp_path / "a.safetensors")
    assert header.provenance["source"] == "vp_ddpmpp_uncond.pkl"
    assert len(header.provenance["source_sha256"]) == 64


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("version", [1, 6])
def test_other_writers(tmp_path, protocol, version):
    """Every protocol that a snapshot can have been written in, and earlier versions of persistent objects."""
    net = small()
    path = write_snapshot(tmp_path / "net.pkl", net, protocol, version)
    again = load_foreign(path)
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 5.0])
    with torch.no_grad():
        assert torch.equal(again(x, sigma), net(x, sigma))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_become_float32(tmp_path, dtype):
    net = small().to(dtype)
    again = load_foreign(write_snapshot(tmp_path / "net.pkl", net))
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32}
    for name, tensor in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.float()), name


def test_every_architecture_and_preconditioning(tmp_path):
    """Arguments that the official constructors take, beyond those of the golden files."""
    from harness.denoisers.preconditioning import PRECONDITIONINGS

    torch.manual_seed(0)
    common = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4], "dropout": 0.3}
    song = {"encoder_type": "skip", "decoder_type": "skip", "embedding_type": "fourier", "channel_mult_noise": 2}
    cases = [
        ("vp", "SongUNet", {"beta_d": 15.0, "beta_min": 0.2, "M": 500, "epsilon_t": 1e-4, "augment_dim": 3}),
        ("ve", "SongUNet", {**song, "sigma_min": 0.01, "sigma_max": 50, "resample_filter": [1, 3, 3, 1]}),
        ("iddpm", "DhariwalUNet", {"C_1": 0.002, "C_2": 0.01, "M": 300, "label_dropout": 0.1, "channel_mult_emb": 2}),
        ("edm", "DhariwalUNet", {"sigma_min": 0.1, "sigma_max": 20.0, "sigma_data": 0.7, "use_fp16": True}),
    ]
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 5.0])
    for kind, model_type, changes in cases:
        net = PRECONDITIONINGS[kind](8, 1, 2, model_type=model_type, **common, **changes).eval()
        again = load_foreign(write_snapshot(tmp_path / "net.pkl", net))
        with torch.no_grad():
            assert torch.equal(again(x, sigma, torch.eye(2)), net(x, sigma, torch.eye(2))), kind
        assert again.config == net.config
        assert (again.sigma_min, again.sigma_max) == (net.sigma_min, net.sigma_max)


def test_edm2_is_recognised_and_refused(tmp_path):
    """The metadata of EDM2's snapshots, whose network is not built here."""
    unet = Persistent("UNet", {"_parameters": {"out_gain": torch.nn.Parameter(torch.zeros([]).half())}, "_modules": {}})
    net = Persistent(
        "Precond",
        {
            "_parameters": {},
            "_modules": {"unet": unet},
            "_init_args": (),
            "_init_kwargs": {"img_resolution": 64, "img_channels": 4, "label_dim": 1000, "use_fp16": True},
        },
    )
    encoder = Persistent("StabilityVAEEncoder", {"scale": np.ones(4, dtype=np.float32), "_init_kwargs": {"a": 1}})
    path = tmp_path / "edm2.pkl"
    with original_modules(), path.open("wb") as file:
        pickle.dump({"encoder": encoder, "dataset_kwargs": {}, "ema": net}, file, protocol=4)
    found = read_checkpoint(path)
    assert (found.format, found.arguments["img_channels"]) == ("EDM2 snapshot", 4)
    assert found.facts["encoder"] == {"class": "StabilityVAEEncoder", "a": 1}
    assert list(found.tensors) == ["unet.out_gain"]
    for use in (load_foreign, lambda path: import_file(path, tmp_path / "net.safetensors")):
        with pytest.raises(
            InputError, match=r"EDM2 snapshot: the magnitude-preserving network .* is not built here yet"
        ):
            use(path)
    assert not (tmp_path / "net.safetensors").exists()


class Bomb:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.system, (f"touch {self.trace}",)


def test_a_bomb_anywhere_is_refused_by_name_and_byte(tmp_path):
    trace = tmp_path / "executed"
    path = write_snapshot(tmp_path / "net.pkl", small(), bomb=Bomb(trace))
    raw = path.read_bytes()
    with pytest.raises(
        InputError, match=r"net\.pkl: opcode STACK_GLOBAL at byte ([\d,]+): asks for 'posix.system'"
    ) as e:
        read_checkpoint(path)
    at = int(str(e.value).split("at byte ")[1].split(":")[0].replace(",", ""))
    assert raw[at] == 0x93 and raw.rfind(b"system", 0, at) > at - 20
    assert not trace.exists()


def test_a_bomb_inside_a_storage(tmp_path):
    """The little file that holds a tensor's numbers is a pickle too."""
    trace = tmp_path / "executed"
    path = write_snapshot(tmp_path / "net.pkl", small())
    raw = path.read_bytes()
    inner = raw.index(b"ctorch\nFloatStorage\n")
    fake = b"cposix\nsystem\n" + b" " * 6
    path.write_bytes(raw[:inner] + fake + raw[inner + len(fake) :])
    with pytest.raises(InputError, match=f"GLOBAL at byte {inner:,}: asks for 'posix.system'"):
        read_checkpoint(path)
    assert not trace.exists()


def test_a_storage_that_claims_a_terabyte(tmp_path):
    path = write_snapshot(tmp_path / "net.pkl", small())
    raw = path.read_bytes()
    at = raw.index(b"ctorch\nFloatStorage\n")
    count = raw.index(b"cpu", at)
    numel = raw.index(b"N", count) - 2
    changed = {0x4B: b"\x8a\x05"}[raw[numel]] + struct.pack("<Q", 1 << 38)[:5]  # BININT1 becomes LONG1
    grown = raw[:numel] + changed + raw[numel + 2 :]
    path.write_bytes(grown)
    with pytest.raises(InputError, match=r"damaged|refused|truncated|where .* bytes are left"):
        load_foreign(path)


@pytest.mark.parametrize("keep", [0, 1, 2, 50, 500, 5_000, 0.5, 0.99, -1])
def test_truncated(tmp_path, keep):
    path = write_snapshot(tmp_path / "net.pkl", small())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"net\.pkl"):
        load_foreign(path)


def root_of(path, root):
    with original_modules(), path.open("wb") as file:
        pickle.dump(root, file, protocol=4)
    return path


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ([1, 2], "not a snapshot: its pickle holds no dict"),
        ({"G": 1, "D": 2}, "no network is kept as 'ema'; it has: G, D"),
        ({"ema": Persistent("Generator", {"_init_kwargs": {}})}, "its network is a 'Generator', which is not known"),
        ({"ema": Persistent("EDMPrecond", {"_init_kwargs": {}})}, "the network's part 'model' is missing"),
        ({"ema": Persistent("EDMPrecond", {"_init_kwargs": 3})}, "does not say how it was built"),
        (
            {"ema": Persistent("EDMPrecond", {"_init_kwargs": {}, "_modules": {"model": Persistent("VGG", {})}})},
            "inside its 'EDMPrecond' is a 'VGG', which is not known here; known: SongUNet, DhariwalUNet",
        ),
        ({"ema": Persistent("EDMPrecond", {}, version=7)}, "a persistent object of version 7; known: 1 to 6"),
        ({"ema": torch.nn.Identity}, r"asks for 'torch\.nn\.modules\.linear\.Identity'"),
    ],
)
def test_other_pickles(tmp_path, root, message):
    with pytest.raises(InputError, match=message):
        load_foreign(root_of(tmp_path / "other.pkl", root))


def test_networks_within_networks_without_end(tmp_path):
    """Thirty levels of two references each to one part below: a file of a few kB that has a billion names."""
    state = {"_parameters": {}}
    for _ in range(30):
        below = Persistent("UNetBlock", state)
        state = {"_modules": {"a": below, "b": below}}
    net = Persistent("EDMPrecond", {"_init_kwargs": {}, "_modules": {"model": Persistent("SongUNet", state)}})
    path = root_of(tmp_path / "deep.pkl", {"ema": net})
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match="more parts than any checkpoint has"):
        load_foreign(path)


def test_a_name_of_a_megabyte(tmp_path):
    """A long prefix before thousands of names would take gigabytes."""
    one = torch.nn.Parameter(torch.ones(1))
    inner = Persistent("UNetBlock", {"_parameters": {str(n): one for n in range(4000)}})
    net = small()
    with original_modules():
        root = persistent(net, net.config)
    root.meta["state"]["_modules"]["x" * 800_000] = inner
    with pytest.raises(InputError, match="more parts than any checkpoint has"):
        load_foreign(root_of(tmp_path / "net.pkl", {"ema": root}))


def test_a_stride_that_no_machine_can_count():
    """Of a side of one a stride means nothing, however large."""
    storage = Storage(StorageType("F32"), 1, lambda: memoryview(bytes(4)))
    with pytest.raises(ValueError, match="no count"):
        view(storage, 0, (1,), (1 << 70,))
    assert view(storage, 0, (1,), (1 << 39,)).read().shape == (1,)


def test_weights_of_another_architecture(tmp_path):
    net = small()
    net.config["channel_mult"] = [1, 1]
    path = write_snapshot(tmp_path / "net.pkl", net)
    message = r"tensor 'model\.dec\.4x4_block0\.affine\.bias': the network has \[8\], the file has \[16\]"
    with pytest.raises(InputError, match=message):
        load_foreign(path)
    with pytest.raises(InputError, match=message):
        import_file(path, tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pkl"]


@pytest.mark.parametrize(
    "changes",
    [
        {"num_blocks": 10**9},
        {"num_blocks": 3000},
        {"label_dim": None},
        {"label_dim": False},
        {"img_resolution": True},
        {"config": "x"},
        {"dropout": "x"},
        {"model_channels": 10**12},
        {"img_resolution": -8},
        {"surprise": 1},
        {"dropout": [{}]},
        {"resample_filter": [1.0] * 10_000},
        {"channel_mult": [1] * 10_000},
        {"sigma_data": float("nan")},
        {"embedding_type": "x" * 10_000},
        {"dropout": 10**400},
        {3: 4},
    ],
    ids=lambda changes: str(changes)[:30],
)
def test_arguments_that_cannot_be(tmp_path, changes):
    net = small()
    net.config.update(changes)
    with pytest.raises(InputError, match="cannot build the network that the file describes"):
        load_foreign(write_snapshot(tmp_path / "net.pkl", net))


@pytest.mark.parametrize(
    "change",
    [
        {"_modules": [1]},
        {"_init_kwargs": {"a": Persistent("Loss", {"_init_kwargs": "text"})}},
        {"sigma_min": 10**400, "sigma_max": 10**401},
        {"sigma_min": float("nan"), "sigma_max": 3.0},
        {"_parameters": {"a": 3}},
        {"_buffers": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_states_that_contradict_themselves(tmp_path, change):
    with original_modules():
        net = persistent(small(), small().config)
    net.meta["state"].update(change)
    path = root_of(tmp_path / "net.pkl", {"ema": net, "loss_fn": Persistent("Loss", {"_init_kwargs": "text"})})
    with pytest.raises(InputError, match=r"net\.pkl"):
        load_foreign(path)
    with pytest.raises(InputError, match=r"net\.pkl"):
        import_file(path, tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pkl"]


@pytest.mark.parametrize("steps", [0, 1])
def test_discrete_models_without_a_range(tmp_path, steps):
    from harness.denoisers.preconditioning import IDDPMPrecond

    net = IDDPMPrecond(8, 1, M=steps, model_type="SongUNet", model_channels=8, channel_mult=[1], num_blocks=1)
    path = write_snapshot(tmp_path / "net.pkl", net)
    for use in (load_foreign, lambda path: import_file(path, tmp_path / "net.safetensors")):
        with pytest.raises(InputError, match="are no range; damaged"):
            use(path)


def test_inspect_never_fails_on_what_a_snapshot_says_of_itself(tmp_path):
    """Deep, long, infinite or escape-ridden values are shown as text that a terminal takes for text."""
    deep = []
    for _ in range(300):
        deep = [deep]
    said = {"deep": deep, "long": "x" * 10_000, "escape": "\x1b[2J\x07", "big": 10**300, "nan": float("nan"), 7: None}
    net = small()
    net.config["surprise"] = deep
    path = write_snapshot(tmp_path / "net.pkl", net, dataset_kwargs=said)
    facts = inspect(path)
    assert facts["usable"].startswith("no: ")
    text = "\n".join(as_lines(facts))
    assert len(text) < 5_000
    assert "\x1b" not in text and "?[2J?" in text
    assert json.dumps(facts, allow_nan=False)


def test_weights_that_are_not_finite_leave_no_file(tmp_path):
    net = small()
    net.model.map_layer0.bias.data[0] = float("nan")
    path = write_snapshot(tmp_path / "net.pkl", net)
    with pytest.raises(InputError, match=r"'model\.map_layer0\.bias' holds a value that is not finite"):
        import_file(path, tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pkl"]


def test_a_run_asks_for_an_import(tmp_path):
    path = write_snapshot(tmp_path / "net.pkl", small())
    with pytest.raises(InputError, match=r"harness import .*net\.pkl -o net\.safetensors"):
        harness.denoisers.load.describe(path)


def test_sidecars_of_the_golden_files_are_what_is_read():
    for name in NAMES:
        meta = json.loads((PICKLES / f"{name}.json").read_text())
        found = read_checkpoint(PICKLES / f"{name}.pkl")
        if "init_kwargs" in meta:
            assert {**found.arguments, **meta["init_kwargs"]} == found.arguments
