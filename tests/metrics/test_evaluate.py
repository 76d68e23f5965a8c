"""Metrics of images that were made elsewhere: few images, random blocks, features kept."""

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.datasets.image_set import of_array
from harness.metrics import FID, KID, Precision
from harness.metrics import evaluate as elsewhere
from harness.metrics.evaluate import evaluate, observe
from harness.metrics.features.configs import Pixels
from harness.metrics.statistics.jackknife import BLOCKS
from harness.metrics.statistics.moments import Moments
from tests.datasets.sets import some_images

PIXELS = Pixels(size=2)


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "real.npy", some_images(40, 3, 8, 8))
    return str(tmp_path / "real.npy")


def seen(images, kept=frozenset()):
    extractor = PIXELS.load(images.shape)
    whole = Moments.of(extractor(from_bytes(torch.from_numpy(images.read(np.arange(len(images)))))))
    return observe(images, extractor, kept, batch=7), whole


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 57])
def test_blocks_hold_all_images_however_few(count, monkeypatch):
    monkeypatch.setattr(elsewhere, "AT_ONCE", 13)
    blocks, whole = seen(of_array("a", some_images(count, 3, 8, 8)), frozenset({"features"}))
    assert len(blocks) == min(BLOCKS, count)
    assert max(block.n for block in blocks) - min(block.n for block in blocks) <= 1
    merged = Moments.merge([block.moments for block in blocks])
    assert merged.n == count
    assert np.allclose(merged.mean, whole.mean, rtol=1e-12)
    assert np.allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-12)
    for block in blocks:
        own = Moments.of(block.features)
        assert own.n == block.n
        assert np.allclose(own.mean, block.moments.mean, atol=1e-6)


def test_images_sorted_by_class_are_spread_over_the_blocks():
    images = np.repeat(np.array([0, 255], np.uint8), 50)[:, None, None, None] * np.ones((1, 3, 8, 8), np.uint8)
    blocks, _ = seen(of_array("a", images))
    means = [block.moments.mean[0] for block in blocks]
    assert 0 < min(means) < max(means) < 1


def test_metrics_of_pairs_take_some_images_only(source, monkeypatch):
    monkeypatch.setattr(elsewhere, "KEPT_FEATURES", 12)
    metrics = [FID(extractor=PIXELS, reference=source), KID(extractor=PIXELS, reference=source, subset=4, subsets=2)]
    found = evaluate(of_array("a", some_images(30, 3, 8, 8, seed=1)), metrics)
    assert [one.n for one in found] == [30, 12]
    assert all(np.isfinite(one.estimate.value) for one in found)
    again = evaluate(of_array("a", some_images(30, 3, 8, 8, seed=1)), metrics)
    assert [one.estimate.value for one in again] == [one.estimate.value for one in found]


def test_kept_images_may_leave_a_block_without_any(source, monkeypatch):
    monkeypatch.setattr(elsewhere, "KEPT_FEATURES", 6)
    metric = KID(extractor=PIXELS, reference=source, subset=4, subsets=2)
    (found,) = evaluate(of_array("a", some_images(30, 3, 8, 8, seed=1)), [metric])
    assert found.n == 6
    assert 2 <= len(found.estimate.replicates) <= 6


def test_two_images_are_enough_and_one_is_not(source):
    metric = FID(extractor=PIXELS, reference=source)
    (found,) = evaluate(of_array("a", some_images(2, 3, 8, 8)), [metric])
    assert np.isfinite(found.estimate.value)
    assert found.estimate.interval() is None
    with pytest.raises(InputError, match="a: metrics need at least 2 images; it has 1"):
        evaluate(of_array("a", some_images(1, 3, 8, 8)), [metric])
    with pytest.raises(InputError, match="at least 4"):
        evaluate(of_array("a", some_images(3, 3, 8, 8)), [Precision(extractor=PIXELS, reference=source)])


def test_images_of_another_shape_than_the_reference(source):
    with pytest.raises(InputError, match="has 12 features an image and extractor 'raw:2:mean' gives 4"):
        evaluate(of_array("a", some_images(9, 1, 8, 8)), [FID(extractor=PIXELS, reference=source)])
