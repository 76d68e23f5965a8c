"""A denoiser with an error of known size."""

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.load import describe
from harness.hub.digits_mixture import digits_mixture

SIGMA_DATA = 0.752


def made(epsilon, seed=0, denoiser="digits-mixture"):
    spec = {"kind": "with-error", "denoiser": denoiser, "epsilon": epsilon, "seed": seed, "sigma_data": SIGMA_DATA}
    return harness.load_denoiser(spec)


def noisy(sigma, n=500):
    drawn = torch.from_numpy(digits_mixture().draw(n, 1))
    return drawn + sigma * torch.randn(drawn.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5, 2.0, 40.0])
def test_epsilon_is_the_error_of_the_raw_network(sigma):
    level = torch.tensor(sigma, dtype=torch.float64)
    x, exact = noisy(sigma), harness.load_denoiser("digits-mixture")
    c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2) ** 0.5
    for epsilon in (0.1, 0.3):
        error = (made(epsilon)(x, level) - exact(x, level)) / c_out
        assert error.square().mean().sqrt().item() == pytest.approx(epsilon, rel=0.15)
    assert torch.equal(made(0.0)(x, level), exact(x, level))


def test_is_fixed_smooth_and_another_for_another_seed():
    x, level = noisy(0.5, 20), torch.tensor(0.5, dtype=torch.float64)
    one = made(0.1)(x, level)
    assert torch.equal(one, made(0.1)(x, level))
    assert not torch.allclose(one, made(0.1, seed=1)(x, level), atol=1e-3)
    rows = torch.full((20,), 0.5, dtype=torch.float64)
    assert torch.allclose(made(0.1)(x, rows), one, rtol=0, atol=1e-12)
    exact = harness.load_denoiser("digits-mixture")
    step = 1e-5 * torch.ones_like(x)
    there, here = made(0.1)(x + step, level) - exact(x + step, level), one - exact(x, level)
    assert (there - here).abs().max() < 1e-4
    near = level * (1 + 1e-5)
    assert (made(0.1)(x, near) - exact(x, near) - here).abs().max() < 1e-4


def test_at_no_noise_there_is_no_error():
    x, zero = noisy(0.0, 5), torch.tensor(0.0, dtype=torch.float64)
    assert torch.equal(made(0.3)(x, zero), harness.load_denoiser("digits-mixture")(x, zero))


def test_of_a_network_with_classes():
    network, disturbed = harness.load_denoiser("digits-adm"), made(0.1, denoiser="digits-adm")
    harness.check_denoiser(disturbed)
    assert (disturbed.label_dim, disturbed.dtype) == (network.label_dim, torch.float32)
    level = torch.tensor(1.0)
    assert torch.equal(disturbed.round_sigma(level), network.round_sigma(level))
    labels = torch.eye(10)[:4]
    x = noisy(1.0, 4).float()
    assert not torch.equal(disturbed(x, level, labels), disturbed(x, level, labels.flip(0)))


def test_its_identity_is_that_of_the_denoiser_and_the_error():
    spec = {"kind": "with-error", "denoiser": "digits-mixture", "epsilon": 0.1}
    same = describe(spec)
    assert same == describe(spec | {"seed": 0, "denoiser": {"kind": "digits-mixture"}})
    for change in ({"epsilon": 0.2}, {"seed": 1}, {"denoiser": "digits-vp"}, {"sigma_data": 0.7}):
        assert describe(spec | change).identity != same.identity
    with pytest.raises(InputError, match="epsilon"):
        harness.load_denoiser(spec | {"epsilon": -0.1})
