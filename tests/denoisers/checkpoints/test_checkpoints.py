"""Checkpoints: there and back, and every way in which a file can be wrong."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.core.errors import InputError
from harness.denoisers.checkpoints.safetensors_file import load, save, without_weights
from harness.denoisers.inspect import as_lines, inspect
from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.hub.header import read_contents, read_header
from tests.denoisers import nets

PROVENANCE = {"recipe": {"name": "small", "seed": 3}, "recipe_fingerprint": "abc", "steps": 5, "images": 10}
SMALL = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4], "label_dim": 3}


def small(kind="edm", model_type="SongUNet"):
    torch.manual_seed(0)
    return PRECONDITIONINGS[kind](8, 1, model_type=model_type, **SMALL, **nets.ARGUMENTS.get(kind, {})).eval()


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "small.safetensors", small(), PROVENANCE)
    return tmp_path / "small.safetensors"


def rewrite(path, **changes):
    """The same file with other texts in its header, or other tensors."""
    tensors = changes.pop("tensors", None)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    save_file(kept if tensors is None else tensors(kept), path, metadata | changes)


def with_arguments(path, **changes):
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    rewrite(path, config=json.dumps(config | {"arguments": config["arguments"] | changes}))


@pytest.mark.parametrize("model_type", ["SongUNet", "DhariwalUNet"])
@pytest.mark.parametrize("kind", PRECONDITIONINGS)
def test_round_trip(tmp_path, kind, model_type):
    net = small(kind, model_type)
    save(tmp_path / "net.safetensors", net, {})
    before = torch.get_rng_state()
    again = load(tmp_path / "net.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 5.0])
    with torch.no_grad():
        assert torch.equal(again(x, sigma, torch.eye(3)[:2]), net(x, sigma, torch.eye(3)[:2]))
    assert (again.sigma_min, again.sigma_max, again.config) == (net.sigma_min, net.sigma_max, net.config)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_fourier_frequencies_and_filters_are_kept(tmp_path):
    net = nets.build("ve_skip_uncond")
    save(tmp_path / "net.safetensors", net, {})
    again = load(tmp_path / "net.safetensors")
    io = nets.arrays("ve_skip_uncond")
    assert torch.equal(again(io["x"], io["sigma"]), net(io["x"], io["sigma"]))


def test_double(path):
    net = load(path, dtype=torch.float64)
    assert net(torch.zeros(1, 1, 8, 8), torch.tensor(1.0)).dtype == net.dtype == torch.float64


def test_equal_contents_give_equal_bytes(path, tmp_path):
    save(tmp_path / "again.safetensors", small(), PROVENANCE)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.safetensors", "small.safetensors"]


def test_header(path):
    header = read_header(path)
    assert header.provenance == PROVENANCE
    assert (header.config.shape, header.config.label_dim, header.config.sigma_max) == ((1, 8, 8), 3, float("inf"))
    assert read_contents(path).metadata["recipe_fingerprint"] == "abc"


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"gone\.safetensors: cannot read the file"):
        load(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="truncated"):
        load(path)


@pytest.mark.parametrize(
    "raw", [b"\x80\x04" + b"x" * 100, (2**62).to_bytes(8, "little") + b"{}", (4).to_bytes(8, "little") + b"[[]]"]
)
def test_not_safetensors(path, raw):
    path.write_bytes(raw)
    with pytest.raises(InputError, match="not a safetensors file"):
        load(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1 << 4000], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 1000, "data_offsets": [0, 4]},
        {"dtype": "F32"},
        7,
    ],
)
def test_header_that_lies(path, entry):
    header = json.dumps({"a": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InputError, match="its header is not as it should be"):
        load(path)


def test_tensors_that_overlap(path):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InputError, match="its header is not as it should be"):
        load(path)


@pytest.mark.parametrize(
    "changes", [{"num_blocks": 3000}, {"config": "x"}, {"img_resolution": True}, {"label_dim": None}]
)
def test_arguments_alone(path, changes):
    """Each is bounded by itself, whatever the others are or are left to."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    few = {"img_resolution": 8, "img_channels": 1, **changes}
    rewrite(path, config=json.dumps(config | {"arguments": few}))
    with pytest.raises(InputError, match=r"cannot build the network that the file describes: (argument|the table)"):
        load(path)


def test_what_training_wrote_is_shown_in_few_words(tmp_path):
    wide = {"k" * 100_000: 1, "list": [[[0] * 100] * 100] * 100, "a": 2}
    save(tmp_path / "net.safetensors", small(), wide)
    lines = list(as_lines(inspect(tmp_path / "net.safetensors")))
    assert sum(map(len, lines)) < 40_000


def test_foreign_format(path):
    rewrite(path, format="other")
    with pytest.raises(InputError, match="format is 'other', not 'harness-denoiser'"):
        load(path)


def test_newer_version(path):
    rewrite(path, version="2")
    with pytest.raises(InputError, match="version '2' of the format is not known"):
        load(path)


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"preconditioning": "rf"}', "null"])
def test_bad_config(path, config):
    rewrite(path, config=config)
    with pytest.raises(InputError, match="config"):
        load(path)


def test_first_differing_tensor_is_named(path):
    with_arguments(path, channel_mult=[1, 1])
    with pytest.raises(
        InputError, match=r"tensor 'model\.dec\.4x4_block0\.affine\.bias': the network has \[8\].*\[16\]"
    ):
        load(path)


def test_missing_tensor_is_named(path):
    rewrite(path, tensors=lambda kept: {k: v for k, v in kept.items() if k != "model.map_layer0.bias"})
    with pytest.raises(InputError, match=r"'model\.map_layer0\.bias': the network has \[32\], the file has no such"):
        load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_blocks": 90_000},
        {"model_channels": 10**9},
        {"model_channels": -8},
        {"channel_mult": 3},
        {"encoder_type": "wide"},
        {"model_type": "Other"},
        {"surprise": 1},
        {"img_resolution": 9},
        {"dropout": {"a": 1}},
    ],
)
def test_network_that_cannot_be_built(path, changes):
    with_arguments(path, **changes)
    with pytest.raises(InputError, match="cannot build the network that the file describes"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('ls')", 'position 12: "\'" is not allowed'),
        ("9**9**9", r"c_out: '9\*\*9\*\*9', position 1: \*\* of 9 and 3\.8742e\+08 has no value"),
        ("1 +", "position 4: invalid syntax"),
        ("log(sigma - 1)", r"c_out 'log\(sigma - 1\)' is nan at sigma = 0.002"),
        ("x" * 5_000_000, "at most 200 characters; we got 5,000,000"),
        (7, "c_out: an expression is text, such as '1'; we got a int"),
        (["sigma"], "argument c_out is far too large, or of a type that no network takes"),
        (None, "c_out: an expression is text"),
    ],
)
@pytest.mark.parametrize("read", [load, inspect, without_weights])
def test_formulas_of_a_file_that_are_none(tmp_path, read, text, message):
    path = tmp_path / "net.safetensors"
    save(path, small("expression"), {})
    with_arguments(path, c_out=text)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: cannot build the network that the file describes: ")
    assert len(str(caught.value)) < 1500 and "\n" not in str(caught.value)


def test_inspect_shows_the_coefficients(tmp_path):
    path = tmp_path / "net.safetensors"
    save(path, small("expression"), {})
    facts = inspect(path)
    assert facts["coefficients"] == nets.ARGUMENTS["expression"]
    assert facts["arguments"]["sigma_data"] == 0.5
    lines = list(as_lines(facts))
    assert "    c_skip   sigma_data**2/(sigma**2 + sigma_data**2)" in lines
    assert sum("c_skip" in line for line in lines) == 1
    save(path, small("flow"), {})
    assert inspect(path)["coefficients"]["c_noise"] == "time_scale*sigma/(sigma + 1)"
    assert (inspect(path)["arguments"]["time_scale"], inspect(path)["sigma_max"]) == (1.0, "inf")


def test_not_finite(path):
    def spoil(kept):
        kept["model.map_layer0.bias"][0] = float("nan")
        return kept

    rewrite(path, tensors=spoil)
    with pytest.raises(InputError, match=r"'model\.map_layer0\.bias' holds a value that is not finite"):
        load(path)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("harness.core.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, small("vp"), {})
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]
