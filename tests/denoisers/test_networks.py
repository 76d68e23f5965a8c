"""Both U-Nets under all four preconditionings against outputs of the paper's official implementation."""

import functools
import math

import pytest
import torch

from harness.denoisers.preconditioning import EDMPrecond, VPPrecond
from harness.denoisers.preconditioning.discrete import iddpm_levels
from tests.denoisers import nets

TOLERANCE = 1e-5  # per sample, relative to its largest magnitude; the reference's own float32 noise is 1e-6

build = functools.cache(nets.build)
every_net = pytest.mark.parametrize("name", nets.NAMES)


def worst(ours, theirs):
    """Largest error of a sample, relative to that sample's largest magnitude."""
    assert ours.shape == theirs.shape
    error = (ours.double() - theirs.double()).flatten(1).abs().amax(1)
    return float((error / theirs.double().flatten(1).abs().amax(1)).max())


def test_there_are_eleven():
    assert len(nets.NAMES) == 11


@every_net
def test_state_dict_and_range(name):
    meta, net = nets.sidecar(name), build(name)
    shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
    expected = {k: v["shape"] if isinstance(v, dict) else v for k, v in meta["state_dict"].items()}
    assert list(shapes.items()) == list(expected.items())
    assert [key for key, _ in net.named_parameters()] == meta["parameter_names"]
    assert sum(p.numel() for p in net.parameters()) == meta["num_params"]
    assert nets.digest(net) == meta["sha256_of_params_float32_le_in_sorted_key_order"]
    assert (net.sigma_min, net.sigma_max, net.label_dim) == (meta["sigma_min"], meta["sigma_max"], meta["label_dim"])


@every_net
def test_denoised(name):
    io = nets.arrays(name)
    for field, ours in nets.answers(build(name), io).items():
        assert ours.dtype == torch.float32
        assert worst(ours, io[field]) < TOLERANCE, field


@every_net
def test_raw_network(name):
    io, net = nets.arrays(name), build(name)
    with torch.no_grad():
        raw = net.model(io["F.x"], io["F.noise_labels"], io.get("class_labels"), io.get("augment_labels"))
    assert worst(raw, io["F"]) < TOLERANCE


def test_rounding_of_iddpm():
    io, net = nets.arrays("iddpm_adm_cond"), build("iddpm_adm_cond")
    assert worst(iddpm_levels(1000, 0.001, 0.008)[:-1, None], io["u"][:-1, None]) < 2e-6  # of each level
    rounded = net.round_sigma(io["round.sigma"])
    assert rounded.dtype == torch.float64
    assert torch.equal(rounded, io["round.out"])
    assert torch.equal(net.round_sigma(io["round.sigma"].float()), io["round.out_f32in"])
    assert net.round_sigma(torch.tensor(0.0, dtype=torch.float64)) == 0
    assert net.round_sigma(torch.ones(2, 3, dtype=torch.float64)).shape == (2, 3)


@pytest.mark.parametrize("model_type", ["SongUNet", "DhariwalUNet"])
def test_a_new_network_starts_near_zero_and_learns(model_type):
    """The last layers start (almost) at zero, so that a branch adds nothing, yet every parameter can get a gradient."""
    torch.manual_seed(0)
    net = EDMPrecond(
        8, 1, 3, model_type=model_type, model_channels=16, channel_mult=[1, 4], num_blocks=1, attn_resolutions=[4]
    )
    x, labels = torch.randn(4, 1, 8, 8), torch.eye(3)[[0, 1, 2, 0]]
    raw = net.model(x, torch.zeros(4), labels)
    assert raw.abs().max() < 1e-3
    raw.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_dropout_is_off_in_eval_mode():
    io, net = nets.arrays("vp_ddpmpp_uncond"), nets.build("vp_ddpmpp_uncond")
    with torch.no_grad():
        quiet = net(io["x"], io["sigma"])
        assert torch.equal(quiet, net(io["x"], io["sigma"]))
        net.train()
        assert not torch.equal(quiet, net(io["x"], io["sigma"]))


def test_converted_to_double():
    io, net = nets.arrays("edm_ddpmpp_cond_aug"), nets.build("edm_ddpmpp_cond_aug").double()
    with torch.no_grad():
        out = net(io["x"], io["sigma"], io["class_labels"], io["augment_labels"])
    assert out.dtype == net.dtype == torch.float64
    assert worst(out, io["D"]) < TOLERANCE


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"model_type must be one of SongUNet, DhariwalUNet, .*; we got 'UNet'"):
        VPPrecond(8, 1, model_type="UNet")
    with pytest.raises(ValueError, match="encoder_type must be one of standard, skip, residual; we got 'wide'"):
        VPPrecond(8, 1, encoder_type="wide")
    with pytest.raises(ValueError, match="img_resolution 6 cannot be halved 2 times"):
        VPPrecond(6, 1, channel_mult=[1, 1, 1])
    net = VPPrecond(8, 1, model_channels=8, channel_mult=[1], num_blocks=1)
    with pytest.raises(ValueError, match=r"shape \[B, 0\]; we got \(2, 3\)"):
        net(torch.zeros(2, 1, 8, 8), torch.tensor(1.0), torch.zeros(2, 3))
    assert math.isinf(EDMPrecond(8, 1, model_channels=8, channel_mult=[1], num_blocks=1).sigma_max)
