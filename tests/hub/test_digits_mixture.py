"""The mixture that is fitted to the digits: a known truth."""

import hashlib

import numpy as np
import pytest
import torch

import harness
from harness.datasets.open import open_images
from harness.hub.digits import read_digits
from harness.hub.digits_mixture import digits_mixture


def test_is_a_fixed_point_of_k_means_and_the_same_everywhere():
    mixture = digits_mixture()
    points = read_digits()[0].reshape(1797, 64) / 8 - 1
    distances = np.square(points[:, None] - mixture.means).sum(2)
    nearest = distances.argmin(1)
    for component, mean in enumerate(mixture.means):
        assert points[nearest == component].mean(0) == pytest.approx(mean, abs=1e-12)
    assert np.bincount(nearest, minlength=100) / 1797 == pytest.approx(mixture.weights)
    assert np.sqrt(distances.min(1).sum() / 64 / 1797) == pytest.approx(mixture.std)
    counts = np.round((mixture.means + 1) * 8 * np.round(mixture.weights * 1797)[:, None])
    assert hashlib.sha256(counts.astype(np.int64).tobytes()).hexdigest()[:16] == "de9bea6bce6e8538"


def test_draws_have_its_moments():
    mixture = digits_mixture()
    drawn = mixture.draw(200_000, seed=3).reshape(-1, 64)
    assert drawn.mean(0) == pytest.approx(mixture.mean, abs=0.01)
    assert np.cov(drawn, rowvar=False) == pytest.approx(mixture.covariance, abs=0.015)
    assert (mixture.draw(5, 0) == mixture.draw(5, 0)).all() and (mixture.draw(5, 0) != mixture.draw(5, 1)).any()


def test_its_denoiser_is_the_best_one_for_its_draws():
    """The mean squared error of D over fresh draws rises whichever way D is changed."""
    denoiser = harness.load_denoiser("digits-mixture")
    clean = torch.from_numpy(digits_mixture().draw(4000, 1))
    sigma = torch.tensor(0.4, dtype=torch.float64)
    noisy = clean + sigma * torch.randn(clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    denoised = denoiser(noisy, sigma)
    error = (denoised - clean).square().mean()
    for other in (denoised * 1.02, denoised * 0.98, denoised + 0.02, 0.95 * denoised + 0.05 * noisy):
        assert (other - clean).square().mean() > error
    residue = (clean - denoised).flatten(1)
    assert (residue.mean(0).abs() < 5 * residue.std(0) / len(clean) ** 0.5).all()


def test_is_a_data_set_and_a_reference():
    images = open_images("digits-mixture")
    assert (images.shape, len(images)) == ((1, 8, 8), 20_000)
    first = next(images.batches(8))
    assert (first == np.clip(np.round(digits_mixture().draw(20_000, 0)[:8] * 127.5 + 127.5), 0, 255)).mean() > 0.99
