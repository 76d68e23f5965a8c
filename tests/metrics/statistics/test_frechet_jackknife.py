"""Distances without each block: those of the rest's own moments, wide or narrow, with and without full rank."""

import numpy as np
import pytest

from harness.core.errors import InputError, SamplingError
from harness.metrics.frechet import frechet
from harness.metrics.statistics import frechet_distance as module
from harness.metrics.statistics.frechet_distance import FrechetJackknife, FrechetReference
from harness.metrics.statistics.moments import Moments

WIDTH = 300


def skewed(rng, n, width=WIDTH, decay=1.0):
    """Features of an exponential distribution, whose spread falls from one to the next."""
    mix = np.random.default_rng(99).normal(size=(width, width)) / width**0.5
    return 1 + (rng.exponential(size=(n, width)) * np.arange(1, width + 1) ** -(decay / 2)) @ mix


def reference(rows=None):
    moments = Moments.of(skewed(np.random.default_rng(1), 4 * WIDTH) * 1.1 if rows is None else rows)
    return FrechetReference(moments.mean, moments.covariance)


def blocks_of(rows, count=6):
    return [Moments.of(part) for part in np.array_split(rows, count)]


def is_right(blocks, other, tolerance):
    """Against distances of the moments of the other blocks, merged anew."""
    jackknife = FrechetJackknife(other, Moments.merge(blocks))
    for index, block in enumerate(blocks):
        rest = Moments.merge(blocks[:index] + blocks[index + 1 :])
        expected = other.distance(rest.mean, rest.covariance)
        scale = other.trace + rest.covariance.trace()
        assert abs(jackknife.without(block) - expected) < tolerance * scale
    return jackknife


def counted(monkeypatch):
    """How often a distance is computed by itself, with factors of its own."""
    calls, plain = [], FrechetReference.distance
    monkeypatch.setattr(FrechetReference, "distance", lambda *given: calls.append(1) or plain(*given))
    return calls


@pytest.mark.parametrize(
    ("n", "why"),
    [
        (320, "hardly more samples than features, and thin blocks"),
        (420, "thin blocks"),
        (1500, "blocks with as many samples as features or fewer"),
        (3000, "blocks of full rank"),
        (290, "fewer samples than features"),
        (60, "few samples"),
        (13, "blocks of two samples and of three"),
    ],
)
def test_without_a_block(n, why):
    blocks = blocks_of(skewed(np.random.default_rng(n), n))
    jackknife = is_right(blocks, reference(), 1e-11)
    total = Moments.merge(blocks)
    scale = 2 * total.covariance.trace()
    assert abs(jackknife.distance() - reference().distance(total.mean, total.covariance)) < 1e-11 * scale, why


@pytest.mark.parametrize("n", [60, 290, 420, 1500])
def test_no_distance_is_computed_by_itself(n, monkeypatch):
    blocks, other = blocks_of(skewed(np.random.default_rng(n), n)), reference()
    calls = counted(monkeypatch)
    assert len(frechet(blocks, other).replicates) == 6
    assert len(calls) == (n > WIDTH)


def test_unequal_blocks():
    rows = skewed(np.random.default_rng(0), 700)
    is_right([Moments.of(part) for part in np.split(rows, [1, 40, 300])], reference(), 1e-11)


def test_by_products_alone_as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(module, "WIDE", 10_000)
    for n in (60, 420, 1500):
        is_right(blocks_of(skewed(np.random.default_rng(n), n)), reference(), 1e-11)


@pytest.mark.parametrize("decay", [4.0, 8.0])
def test_small_variances(decay):
    """A condition number of 1e10 to 1e20: the distances are good to what theirs alone are."""
    rng = np.random.default_rng(0)
    other = reference(skewed(rng, 1200, decay=decay))
    for n in (200, 900):
        is_right(blocks_of(skewed(rng, n, decay=decay)), other, 2e-9)


def test_copies_of_samples_have_a_lower_rank_than_their_number_says():
    """100 images, each there three times: 300 samples of rank 99; and 400 samples of rank 199."""
    rng, other = np.random.default_rng(0), reference()
    for distinct, times in ((100, 3), (200, 2)):
        rows = np.tile(skewed(rng, distinct), (times, 1))
        is_right(blocks_of(rng.permutation(rows)), other, 1e-9)


def test_features_that_never_vary():
    rows = skewed(np.random.default_rng(0), 900)
    rows[:, 7] = 2.0
    is_right(blocks_of(rows), reference(), 1e-9)
    dead = skewed(np.random.default_rng(1), 900)
    dead[:, 7] = 2.0
    is_right(blocks_of(rows), reference(dead), 1e-9)


def test_a_block_of_equal_samples():
    rows = skewed(np.random.default_rng(0), 900)
    rows[:150] = rows[0]
    is_right(blocks_of(rows), reference(), 1e-11)


def test_refusals():
    other = reference()
    with pytest.raises(InputError, match="at least 2 samples"):
        FrechetJackknife(other, Moments.of(np.ones((1, WIDTH))))
    with pytest.raises(InputError, match="features of length 300"):
        FrechetJackknife(other, Moments.of(np.ones((9, 5))))
    broken = Moments(9, np.full(WIDTH, np.nan), np.eye(WIDTH))
    with pytest.raises(SamplingError, match="finite"):
        FrechetJackknife(other, broken)
