"""Reference statistics of the digits and the floor of real images."""

import numpy as np
import pytest
import torch

from harness.datasets.digits import load_digits
from harness.datasets.reference import floor, images_hash, of_images, reference
from harness.errors import InputError


class Pixels:
    """An extractor without a network: the first eight pixels of the middle rows."""

    def __init__(self, name="pixels"):
        self.id, self.calls = name, 0

    def __call__(self, images):
        self.calls += 1
        return images.flatten(1)[:, 27:35]


def test_is_of_all_images_and_kept():
    extractor = Pixels("pixels-kept")
    first = reference(extractor)
    calls = extractor.calls
    assert reference(extractor) is first and extractor.calls == calls
    features = load_digits().images.flatten(1)[:, 27:35].numpy().astype(np.float64)
    assert first.n == 1797 and np.array_equal(first.features, features)
    assert np.allclose(first.mu, features.mean(0)) and np.allclose(first.sigma, np.cov(features.T))
    assert first.id == f"digits:{first.dataset_hash[:12]}/1797/pixels-kept"
    assert abs(first.frechet.distance(first.mu, first.sigma)) < 1e-9
    assert reference(Pixels("another")) is not first


def test_hash_covers_values_and_shape():
    images = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    assert images_hash(images) == images_hash(images.double()) != images_hash(images.view(4, 1, 2, 2))
    assert images_hash(images) != images_hash(images.flip(-1))


def test_unknown_data_set():
    with pytest.raises(InputError, match="'imagenet'; there is one for: digits"):
        reference(Pixels(), "imagenet")


def test_needs_two_images():
    with pytest.raises(InputError, match="at least 2 samples"):
        of_images(torch.zeros(1, 1, 8, 8), Pixels(), "one")


class TestFloor:
    features = np.random.default_rng(0).normal(size=(1797, 8))

    def test_is_repeatable_and_ordered(self):
        found = floor(self.features, 500)
        assert found == floor(self.features, 500) != floor(self.features, 500, seed=1)
        assert found.low < found.mean < found.high and found.sd > 0 and found.draws == 20
        assert (found.n, found.rest) == (500, 1297)

    def test_takes_half_at_most(self):
        found = floor(self.features, 50_000)
        assert (found.n, found.rest) == (898, 899) and found == floor(self.features, 898)

    def test_falls_with_n(self):
        assert floor(self.features, 100).low > floor(self.features, 800).high

    def test_one_draw_has_no_spread(self):
        found = floor(self.features, 100, draws=1)
        assert found.low == found.mean == found.high and found.sd == 0

    @pytest.mark.parametrize(("rows", "n", "draws"), [(3, 10, 5), (100, 1, 5), (100, 10, 0)])
    def test_too_little(self, rows, n, draws):
        with pytest.raises(InputError, match="at least 2 images a side and 1 draw"):
            floor(self.features[:rows], n, draws)
