"""What every denoiser promises (harness.sampling.denoiser), over the golden networks."""

import functools

import pytest
import torch

from harness.sampling.denoiser import Denoiser
from tests.denoisers import nets

build = functools.cache(nets.build)
ROUNDING = 1e-5  # batch shapes and broadcasting change the order of float32 sums


@pytest.fixture(params=nets.NAMES, scope="module")
def net(request):
    return build(request.param)


@pytest.fixture
def batch(net):
    """x [4, C, H, W], sigma [4] inside the range, labels [4, label_dim] or None."""
    generator = torch.Generator().manual_seed(0)
    sigma = torch.tensor([0.05, 0.7, 3.0, 60.0], dtype=torch.float64)
    x = torch.randn(4, *net.shape, generator=generator, dtype=torch.float64) * sigma.view(-1, 1, 1, 1)
    labels = torch.eye(net.label_dim)[torch.arange(4) % net.label_dim] if net.label_dim else None
    return x, sigma, labels


def call(net, x, sigma, labels):
    with torch.no_grad():
        return net(x, sigma, labels)


def close(a, b):
    return float((a - b).abs().max() / b.abs().max()) < ROUNDING


def test_is_a_denoiser(net):
    assert isinstance(net, Denoiser)
    assert len(net.shape) == 3 and net.cost == 1
    assert 0 <= net.sigma_min < net.sigma_max
    assert type(net.sigma_min) is type(net.sigma_max) is float
    assert (net.dtype, net.device) == (torch.float32, torch.device("cpu"))


def test_shape_dtype_and_input_untouched(net, batch):
    x, sigma, labels = batch
    before = x.clone()
    out = call(net, x, sigma, labels)
    assert (out.shape, out.dtype) == (x.shape, net.dtype)
    assert torch.equal(x, before)
    assert torch.equal(out, call(net, x, sigma, labels))


def test_scalar_and_vector_sigma_agree(net, batch):
    x, sigma, labels = batch
    scalar = call(net, x, sigma[1], labels)
    assert close(scalar, call(net, x, sigma[1].expand(4), labels))
    assert torch.equal(scalar, call(net, x, sigma[1].float(), labels))


def test_no_labels_means_zeros(net, batch):
    x, sigma, labels = batch
    if labels is None:
        assert torch.equal(call(net, x, sigma, None), call(net, x, sigma, torch.zeros(4, 0)))
        return
    assert close(call(net, x, sigma, None), call(net, x, sigma, torch.zeros_like(labels)))
    assert not close(call(net, x, sigma, None), call(net, x, sigma, labels))


def test_round_sigma_is_idempotent_and_keeps_shape(net):
    sigma = torch.logspace(-2, 1.5, 12, dtype=torch.float64).reshape(3, 4)
    rounded = net.round_sigma(sigma)
    assert (rounded.shape, rounded.dtype) == (sigma.shape, sigma.dtype)
    assert torch.equal(net.round_sigma(rounded), rounded)
    assert net.round_sigma(sigma[0, 0]).shape == ()


def test_a_row_does_not_depend_on_its_neighbours(net, batch):
    x, sigma, labels = batch
    whole = call(net, x, sigma, labels)
    x[1:], sigma[1:] = x[1:].flip(0) * 3, sigma[1:].flip(0)
    assert torch.equal(call(net, x, sigma, labels)[0], whole[0])
