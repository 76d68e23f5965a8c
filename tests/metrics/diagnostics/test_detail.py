"""Detail and contrast of images against the digits'."""

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.hub.digits import load_digits
from harness.metrics.diagnostics import Detail, PixelContrast, TruncationUnevenness
from harness.metrics.diagnostics.base import profile
from harness.metrics.diagnostics.detail import _of_the_digits
from harness.report.figures.noise_levels import LevelLine, LevelPanel, plot
from harness.report.figures.style import styles
from harness.sampling.sampler import Sampler


def test_the_digits_have_as_much_as_the_digits():
    images = load_digits().images.double()
    for metric in (Detail, PixelContrast):
        assert (metric.quantity(images) / _of_the_digits(metric)).mean().item() == pytest.approx(1)


def test_power_of_the_high_frequencies_alone():
    """A wave of the largest frequency has all of its power, a slow one and a constant none; Parseval's sum is kept."""
    at = torch.arange(8, dtype=torch.float64)
    fast = (-1.0) ** at * torch.ones(8, 1, dtype=torch.float64)
    slow = torch.cos(2 * torch.pi * at / 8) * torch.ones(8, 1, dtype=torch.float64)
    images = torch.stack([fast, slow, torch.ones(8, 8, dtype=torch.float64), fast / 2])[:, None]
    expected = torch.tensor([64.0, 0, 0, 16], dtype=torch.float64)
    assert torch.allclose(Detail.quantity(images), expected, atol=1e-12)


def test_blurred_digits_have_less_detail_and_contrast_and_noisy_ones_more_detail():
    images = load_digits().images.double()[:200]
    blurred = torch.nn.functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    noisy = images + 0.3 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert Detail.quantity(blurred).mean() < 0.3 * Detail.quantity(images).mean() < Detail.quantity(noisy).mean()
    assert PixelContrast.quantity(blurred).mean() < PixelContrast.quantity(images).mean()


def test_images_of_another_shape_are_refused_while_planning():
    with pytest.raises(InputError, match=r"'detail' compares with 'digits' \[1, 8, 8\]; we got \[3, 32, 32\]"):
        Detail().check(Sampler(), (3, 32, 32))


def test_unevenness_is_the_spread_of_the_logarithm_over_levels():
    levels = np.array([3.0, 2.0, 1.0])
    even = {"values": np.zeros(4), "levels": levels, "profile": np.full((4, 3), 0.2)}
    assert TruncationUnevenness().compute([even], None).value == pytest.approx(0, abs=1e-12)
    rows = np.array([[1.0, 1, 1], [3.0, 1, 1], [2.0, 1, 1], [2.0, 1, 1]])
    found = TruncationUnevenness().compute([even | {"profile": rows}], None)
    assert found.value == pytest.approx(np.std([np.log(2), 0, 0]))
    without_first = np.std([np.log(7 / 3), 0, 0])
    assert found.replicates[0] == pytest.approx(without_first) and list(found.sizes) == [1, 1, 1, 1]


def test_a_single_sample_has_no_interval_by_level():
    levels, rows = np.array([2.0, 1.0]), np.array([[0.1, 0.2], [0.3, 0.6]])
    both, one = profile(levels, rows), profile(levels, rows[:1])
    assert both["mean"] == pytest.approx([0.2, 0.4])
    assert both["low"][0] < 0.2 < both["high"][0]
    assert one["mean"] == [0.1, 0.2] and not {"low", "high"} & set(one)
    line = LevelLine("one", styles([{"name": "one"}])["one"], one)
    plot(LevelPanel("title", "about", [line]))
