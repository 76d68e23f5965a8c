"""The loss by noise level, and the argument of eq. 8: unit variance and effective weight 1 for EDM."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.training.levels import level_profile, levels, loss_by_level
from harness.training.losses import DenoisingLoss
from harness.training.noise_distributions import NOISE_DISTRIBUTIONS, IDDPMNoise, LogNormal, LogUniform, VPNoise
from harness.training.weights import EDMWeight, Power
from tests.conftest import relative_error

SIZE = {"model_channels": 32, "channel_mult": [1], "num_blocks": 1}
DISTRIBUTIONS = [VPNoise(), LogUniform(), IDDPMNoise(), LogNormal(), NOISE_DISTRIBUTIONS.read("flow")]


@given(st.floats(1e-2, 1e2))
def test_edm_has_unit_variance_and_weight_1_at_every_level_whatever_sigma_data(sigma_data):
    network = PRECONDITIONINGS["edm"](8, 1, sigma_data=sigma_data, **SIZE)
    images = torch.randn([400, 1, 8, 8], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images = 0.3 * sigma_data + sigma_data * (images - images.mean()) / images.std(correction=0)
    profile = level_profile(DenoisingLoss(LogNormal(), EDMWeight(), sigma_data=sigma_data), network, images)
    assert np.allclose(profile.effective_weight, 1, rtol=1e-6)
    # 25,600 pixels: the variance of the noise and its product with the images scatter by less than 5 %
    assert np.allclose(profile.input_variance, 1, atol=0.05)
    assert np.allclose(profile.target_variance, 1, atol=0.05)


def test_other_columns_are_what_the_paper_says():
    images = torch.randn([400, 1, 8, 8], generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.5
    sigma = levels().numpy()
    ve = level_profile(DenoisingLoss(LogUniform(), Power()), PRECONDITIONINGS["ve"](8, 1, **SIZE), images)
    assert np.allclose(ve.input_variance, 0.25 + sigma**2, rtol=0.05)  # c_in = 1: a range of 10^8
    assert np.allclose(ve.effective_weight, 1, rtol=1e-6)  # 1/sigma^2 sigma^2
    vp = level_profile(DenoisingLoss(VPNoise(), Power()), PRECONDITIONINGS["vp"](8, 1, **SIZE), images)
    assert np.allclose(vp.input_variance, (0.25 + sigma**2) / (1 + sigma**2), rtol=0.05)
    assert np.allclose(vp.target_variance, 1, rtol=0.05)  # the noise itself


@pytest.mark.parametrize("noise", DISTRIBUTIONS, ids=lambda noise: noise.kind)
def test_densities_are_those_of_the_draws(noise):
    low, high = noise.ends()
    edges = np.linspace(np.log(low), np.log(high), 25)
    drawn = noise.draw(100_000, torch.Generator().manual_seed(0)).log().flatten().double().numpy()
    counts, _ = np.histogram(drawn, edges)
    fine = np.exp(np.linspace(np.log(low), np.log(high), 24 * 200 + 1)[:-1] + (edges[1] - edges[0]) / 400)
    expected = noise.density(fine).reshape(24, 200).mean(1) * (edges[1] - edges[0])
    # four binomial standard deviations; a discrete level may fall on the other side of an edge
    room = 4 * np.sqrt(expected * 1e5) + (1e5 * 2 / 1000 if isinstance(noise, IDDPMNoise) else 10)
    assert (abs(counts - expected * 1e5) <= room).all()
    assert expected.sum() == pytest.approx(1, abs=0.01)
    assert noise.density(np.array([high * 10**6]))[0] < 1e-6


class Perfect(torch.nn.Module):
    """Knows the images, but for an error of a tenth of the noise."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, x, sigma, labels=None, augment_labels=None):
        assert not self.training
        return self.images + 0.1 * (x - self.images)


def test_loss_by_level_is_the_weighted_error():
    images = torch.randn([64, 1, 4, 4], generator=torch.Generator().manual_seed(3))
    network = Perfect(images).train()
    found = loss_by_level(DenoisingLoss(LogNormal(), Power()), network, images)
    assert relative_error(found, np.full(len(levels()), 0.01)) < 0.1  # |0.1 sigma n|^2 / sigma^2
    plain = loss_by_level(DenoisingLoss(LogNormal(), Power(exponent=0.0)), network, images)
    assert relative_error(plain / levels().numpy() ** 2, found) < 1e-5
    assert network.training
    again = loss_by_level(DenoisingLoss(LogNormal(), Power()), network, images)
    assert np.array_equal(found, again)


def test_an_untrained_edm_network_has_loss_1_at_every_level():
    """Its output is zero at the start, and the target has unit variance (App. B.6)."""
    torch.manual_seed(0)
    network = PRECONDITIONINGS["edm"](8, 1, model_type="SongUNet", **SIZE)
    images = torch.randn([256, 1, 8, 8], generator=torch.Generator().manual_seed(1)) * 0.5
    found = loss_by_level(DenoisingLoss(LogNormal(), EDMWeight()), network, images)
    assert np.allclose(found, 1, atol=0.06)
