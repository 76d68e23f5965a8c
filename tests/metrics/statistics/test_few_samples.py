"""Distances of fewer samples than features, without each block: those of the rest's own moments."""

import numpy as np
import pytest

from harness.metrics.frechet import frechet
from harness.metrics.statistics.few_samples import FewSamples
from harness.metrics.statistics.frechet_distance import FrechetJackknife, FrechetReference
from harness.metrics.statistics.moments import Moments

WIDTH = 120


def skewed(rng, n, decay=1.0):
    """Features of an exponential distribution, whose spread falls from one to the next."""
    mix = np.random.default_rng(99).normal(size=(WIDTH, WIDTH)) / WIDTH**0.5
    return 1 + (rng.exponential(size=(n, WIDTH)) * np.arange(1, WIDTH + 1) ** -(decay / 2)) @ mix


def reference(real=600, rows=None):
    moments = Moments.of(skewed(np.random.default_rng(1), real) * 1.1 if rows is None else rows)
    return FrechetReference(moments.mean, moments.covariance)


def blocks_of(rows, cuts=6):
    return [Moments.of(part) for part in np.array_split(rows, cuts)]


def expected(blocks, other):
    total = Moments.merge(blocks)
    return other.distance(total.mean, total.covariance)


def is_right(blocks, other, tolerance=1e-11):
    few, scale = FewSamples(other, blocks), other.trace + Moments.merge(blocks).covariance.trace()
    assert abs(few.distance() - expected(blocks, other)) < tolerance * scale
    for number in range(len(blocks)):
        rest = blocks[:number] + blocks[number + 1 :]
        assert abs(few.without(number) - expected(rest, other)) < tolerance * scale


@pytest.mark.parametrize("n", [12, 13, 40, 84, 110])
@pytest.mark.parametrize("real", [600, 120, 50, 9])
def test_without_a_block(n, real):
    """Real images of full rank, and fewer than features: fewer than samples too, and more."""
    is_right(blocks_of(skewed(np.random.default_rng(n), n)), reference(real))


def test_unequal_blocks_and_one_of_a_single_sample():
    rows = skewed(np.random.default_rng(0), 70)
    is_right(blocks_of(rows, [1, 4, 50]), reference())


def test_two_blocks():
    is_right(blocks_of(skewed(np.random.default_rng(0), 20), 2), reference())


def test_a_block_of_equal_samples():
    rows = skewed(np.random.default_rng(0), 80)
    rows[:20] = rows[0]
    is_right(blocks_of(rows, 4), reference())


def test_where_rounding_is_not_small_it_says_so():
    """Copies in several blocks: 75 samples of rank 24, whose eigenvalues of 0 the Gram matrix does not tell."""
    rng, other = np.random.default_rng(0), reference()
    rows = rng.permutation(np.tile(skewed(rng, 25), (3, 1)))
    blocks = blocks_of(rows)
    assert FewSamples(other, blocks).distance() is None
    estimate, scale = frechet(blocks, other), other.trace
    assert abs(estimate.value - expected(blocks, other)) < 1e-9 * scale
    for number, found in enumerate(estimate.replicates):
        assert abs(found - expected(blocks[:number] + blocks[number + 1 :], other)) < 1e-9 * scale


@pytest.mark.parametrize("decay", [4.0, 8.0])
def test_small_variances(decay):
    """A condition number of 1e8 to 1e16: right, or not said."""
    rng = np.random.default_rng(0)
    other, blocks = reference(rows=skewed(rng, 600, decay)), blocks_of(skewed(rng, 60, decay))
    found = FewSamples(other, blocks).distance()
    assert found is None or abs(found - expected(blocks, other)) < 2e-9 * other.trace
    assert abs(frechet(blocks, other).value - expected(blocks, other)) < 2e-9 * other.trace


@pytest.mark.parametrize(("n", "is_few"), [(84, True), (85, False)])
def test_a_metric_takes_it_for_few_samples(monkeypatch, n, is_few):
    asked = []
    without, plain = FewSamples.without, FrechetJackknife.without
    monkeypatch.setattr(FewSamples, "without", lambda self, number: asked.append("few") or without(self, number))
    monkeypatch.setattr(FrechetJackknife, "without", lambda self, block: asked.append("many") or plain(self, block))
    estimate = frechet(blocks_of(skewed(np.random.default_rng(0), n)), reference())
    assert asked == ["few" if is_few else "many"] * 6
    assert np.isfinite(estimate.replicates).all()


@pytest.mark.parametrize("is_equal", [False, True], ids=["different samples", "with equal ones"])
def test_blocks_that_keep_roots(is_equal):
    rng = np.random.default_rng(3)
    rows, real = rng.exponential(size=(120, 300)), rng.exponential(size=(900, 300)) * 1.1
    if is_equal:
        rows[20:30] = rows[20]
    parts = [Moments.of(part) for part in np.array_split(rows, 12)]
    blocks = [one + other for one, other in zip(parts[::2], parts[1::2], strict=True)]
    assert all(block.root is not None for block in blocks)
    is_right(blocks, reference(rows=real))
    other = reference(rows=real)
    assert frechet(blocks, other).value == pytest.approx(expected(blocks, other), rel=1e-11)


def test_a_reference_of_zeros():
    other = FrechetReference(np.zeros(WIDTH), np.zeros((WIDTH, WIDTH)))
    blocks = blocks_of(skewed(np.random.default_rng(0), 30))
    total = Moments.merge(blocks)
    assert frechet(blocks, other).value == pytest.approx(np.square(total.mean).sum() + total.covariance.trace())
