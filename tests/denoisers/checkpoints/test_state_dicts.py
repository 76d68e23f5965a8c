"""Wrappings of state dicts: prefixes, one level down, shards; and files that hold no network."""

import json

import pytest
import torch
from safetensors.torch import save_file

from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import load_foreign
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.checkpoints.state_dicts import read_weights
from tests.denoisers import families
from tests.denoisers.snapshots import Persistent, original_modules

OPTIONS = {"image_size": 16, "num_heads": 2}
PLAIN = families.openai_state("guided_plain")
OTHER = families.openai_state("improved_plain")


def prefixed(prefix, state=PLAIN):
    return {prefix + name: tensor for name, tensor in state.items()}


def same(path, options=None):
    """Whether the file gives the weights of PLAIN."""
    weights = load_foreign(path, options=OPTIONS | (options or {})).model.state_dict()
    return all(torch.equal(weights[name], tensor) for name, tensor in PLAIN.items())


@pytest.mark.parametrize(
    ("state", "key"),
    [
        (prefixed("module."), ""),
        (prefixed("_orig_mod."), ""),
        ({"state_dict": prefixed("model.module."), "epoch": 3}, "state_dict"),
        ({"model": PLAIN, "optimizer": {"state": {}, "param_groups": []}}, "model"),
        ({"ema": PLAIN, "step": 4}, "ema"),
        ({"model": prefixed("module.", OTHER), "model_ema": prefixed("module.")}, "model_ema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value)[:20],
)
def test_wrapped(tmp_path, state, key):
    path = families.write(tmp_path / "net.pt", state)
    assert same(path)
    read = read_checkpoint(path, OPTIONS)
    assert read.format == "guided- or improved-diffusion checkpoint" + (f", its '{key}'" if key else "")
    assert read.ignored == [name for name in state if key and name != key]
    assert read.assumed.get("weights") == (key if key == "model_ema" else None)


def test_of_several_networks_the_user_says_which(tmp_path):
    path = families.write(tmp_path / "net.pt", {"model_ema": OTHER, "model": PLAIN})
    assert same(path, {"weights": "model"})
    with pytest.raises(InputError, match="option weights is one of model_ema, model; we got 'net'"):
        load_foreign(path, options=OPTIONS | {"weights": "net"})
    path = families.write(tmp_path / "two.pt", {"first": OTHER, "second": PLAIN})
    with pytest.raises(InputError, match="holds 2 networks, first, second; say which by --set weights=KEY"):
        load_foreign(path, options=OPTIONS)
    assert same(path, {"weights": "second"})


def test_as_safetensors(tmp_path):
    save_file(prefixed("module."), tmp_path / "net.safetensors")
    assert same(tmp_path / "net.safetensors")


def test_a_header_that_begins_like_a_pickle(tmp_path):
    """The first byte of a safetensors file is the low byte of a length, and may be that of a pickle."""
    save_file(PLAIN, tmp_path / "net.safetensors")
    raw = (tmp_path / "net.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].rstrip() + b" " * ((0x80 - len(raw[8 : 8 + length].rstrip())) % 256)
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
    assert (tmp_path / "net.safetensors").read_bytes()[0] == 0x80
    assert same(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"state": {}, "param_groups": []}, "an optimiser's state, not a network; the weights lie in another file"),
        ({"x_embedder.proj.weight": torch.ones(1)}, "a DiT, which denoises latents"),
        ({"state_dict": {"first_stage_model.encoder.weight": torch.ones(1)}}, "latent models are not known here"),
    ],
)
def test_what_is_something_else(tmp_path, state, message):
    with pytest.raises(InputError, match=message):
        read_checkpoint(families.write(tmp_path / "net.pt", state))


def test_a_training_state_of_edm(tmp_path):
    with original_modules():
        state = {"net": Persistent("EDMPrecond", {"_modules": {}}), "optimizer_state": {"state": {}}}
        path = families.write(tmp_path / "training-state-000100.pt", state)
    with pytest.raises(
        InputError, match=r"a training state of EDM.*take the network-snapshot-\*\.pkl of the same step"
    ):
        read_checkpoint(path)


def index(folder, names):
    (folder / "net.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder / "net.safetensors.index.json"


def test_shards(tmp_path):
    save_file({"a": torch.ones(2), "spare": torch.ones(1)}, tmp_path / "1.safetensors")
    families.write(tmp_path / "2.bin", {"b": torch.zeros(3)})
    found = read_weights(index(tmp_path, {"a": "1.safetensors", "b": "2.bin"}))
    assert {name: tensor.read().tolist() for name, tensor in found.items()} == {"a": [1, 1], "b": [0, 0, 0]}
    for names, message in [
        ({"a": "3.safetensors"}, r"3\.safetensors: missing, and net\.safetensors\.index\.json names it"),
        ({"b": "1.safetensors"}, "tensor 'b' is not in it"),
        ({"a": "../1.safetensors"}, "shards are files in the same folder"),
        ({}, "no 'weight_map'"),
    ]:
        with pytest.raises(InputError, match=message):
            read_weights(index(tmp_path, names))
