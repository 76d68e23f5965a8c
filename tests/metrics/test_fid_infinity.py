"""The distance at infinitely many samples: exact on lines, near the truth on Gaussians, honest intervals."""

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.metrics.fid_infinity import frechet_at_infinity
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.moments import Moments

WIDTH = 8
REFERENCE = FrechetReference(np.zeros(WIDTH), np.eye(WIDTH))


def blocks(rng, n=400, g=10, scale=1.2, shift=0.1):
    features = rng.normal(size=(n, WIDTH)) * scale + shift
    return [Moments.of(part) for part in np.array_split(features, g)]


def truth(scale=1.2, shift=0.1):
    return WIDTH * (shift**2 + (scale - 1) ** 2)


def windows(g):
    shapes = [[(start + i) % g for i in range(k)] for k in range(-(-g // 2), g) for start in range(g)]
    return [*shapes, list(range(g))]


def fitted(parts, chosen):
    """Intercept and slope through the distances of chosen windows, by polynomial fit."""
    merges = [Moments.merge([parts[i] for i in inside]) for inside in chosen]
    distances = [REFERENCE.distance(one.mean, one.covariance) for one in merges]
    slope, intercept = np.polyfit([1 / one.n for one in merges], distances, 1)
    return intercept, slope


@pytest.mark.parametrize("g", [4, 5, 10])
def test_the_value_is_a_fit_through_the_windows(g):
    parts = blocks(np.random.default_rng(0), n=203, g=g)
    found = frechet_at_infinity(parts, REFERENCE)
    value, slope = fitted(parts, windows(g))
    assert (found.value, found.details["slope"]) == pytest.approx((value, slope), rel=1e-9)
    assert found.sizes.tolist() == [part.n for part in parts]
    assert found.details["counts"][-1] == 203 and len(found.details["distances"]) == g - -(-g // 2) + 1


def test_most_of_the_bias_goes():
    rng = np.random.default_rng(1)
    plain, found = [], []
    for _ in range(60):
        parts = blocks(rng)
        whole = Moments.merge(parts)
        plain.append(REFERENCE.distance(whole.mean, whole.covariance) - truth())
        found.append(frechet_at_infinity(parts, REFERENCE).value - truth())
    assert np.mean(plain) > 4 * np.std(plain) / np.sqrt(60)
    assert abs(np.mean(found)) < 0.2 * np.mean(plain)


def test_intervals():
    rng = np.random.default_rng(2)
    found = [frechet_at_infinity(blocks(rng), REFERENCE) for _ in range(100)]
    intervals = [one.interval() for one in found]
    ratio = np.sqrt(np.mean([one.se**2 for one in intervals])) / np.std([one.value for one in found])
    assert 0.85 < ratio < 1.25
    assert np.mean([one.low <= truth() <= one.high for one in intervals]) > 0.89


def test_replicates_of_a_linear_statistic_are_exact(monkeypatch):
    """A distance that is a mean over samples plus c / n: a replicate is the mean over the other blocks."""
    rng = np.random.default_rng(3)
    parts = [Moments.of(rng.normal(size=(n, WIDTH))) for n in (12, 30, 21, 17, 25)]
    count = {0: 0.0}

    def distance(mean, covariance):
        return float(mean[0]) + 5.0 / count[0]

    merge = Moments.merge.__func__

    def counted(cls, some):
        whole = merge(cls, some)
        count[0] = whole.n
        return whole

    monkeypatch.setattr(Moments, "merge", classmethod(counted))
    monkeypatch.setattr(REFERENCE, "distance", distance)
    found = frechet_at_infinity(parts, REFERENCE)
    sizes, means = found.sizes, np.array([part.mean[0] for part in parts])
    rest = (sizes @ means - sizes * means) / (sizes.sum() - sizes)
    moved = found.replicates - found.value
    assert moved == pytest.approx(rest - sizes @ means / sizes.sum(), rel=1e-9)


def test_details_of_a_distance_that_is_all_bias():
    parts = blocks(np.random.default_rng(4), scale=1.0, shift=0.0)
    details = frechet_at_infinity(parts, REFERENCE).details
    assert details["slope"] > 0 and details["distances"] == sorted(details["distances"], reverse=True)
    merges = [Moments.merge([parts[i] for i in inside]) for inside in windows(10)]
    distances = [REFERENCE.distance(one.mean, one.covariance) for one in merges]
    assert details["r2"] == pytest.approx(np.corrcoef([1 / one.n for one in merges], distances)[0, 1] ** 2, rel=1e-9)


def test_refusals():
    parts = blocks(np.random.default_rng(6), g=3)
    with pytest.raises(InputError, match="at least 4 blocks of samples; we got 3"):
        frechet_at_infinity([*parts, Moments.empty(WIDTH)], REFERENCE)
    with pytest.raises(InputError, match="one length; we got 8 and 2"):
        frechet_at_infinity([*parts, Moments.of(np.ones((4, 2)))], REFERENCE)


def test_empty_blocks_are_left_aside():
    parts = blocks(np.random.default_rng(7), g=4)
    one, two = (frechet_at_infinity(some, REFERENCE) for some in (parts, [Moments.empty(WIDTH), *parts]))
    assert one.value == two.value and np.array_equal(one.replicates, two.replicates)
