"""The floor: what a perfect sampler gets."""

import numpy as np
import pytest

from harness.metrics.fid_infinity import FIDInfinity
from harness.metrics.floor import _draws, _root, floor, gaussian_draw, why_no_floor
from harness.metrics.frechet import FID, FrechetDigits
from harness.metrics.inception_score import InceptionScore
from harness.metrics.kid import KID
from harness.metrics.memorization import Memorisation
from harness.metrics.prdc import Coverage, Precision
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import Reference, find_reference, read_reference
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.moments import Moments


@pytest.fixture(scope="module")
def digits():
    metric = FrechetDigits()
    return read_reference(find_reference("digits", metric.features), metric.features)


def features(n=500, d=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def made(rows, n=None, kept=True):
    of_rows = Moments.of(rows)
    return Reference("made", Statistics(of_rows.mean, of_rows.covariance, n or len(rows), rows if kept else None))


def raw(kind, **fields):
    return kind(extractor="raw", reference="made", **fields)


@pytest.mark.parametrize("n", [384, 1024])
def test_of_the_digits_is_the_mean_of_other_draws(digits, n):
    """Other draws, by another generator."""
    found, rng = floor(FrechetDigits(), digits, n), np.random.RandomState(7)
    rows, reference = digits.statistics.features.astype(float), digits.statistics.frechet()
    others = []
    for _ in range(1000):
        drawn = rows[rng.choice(len(rows), n)]
        others.append(reference.distance(drawn.mean(0), np.cov(drawn, rowvar=False)))
    assert found.mean == pytest.approx(np.mean(others), rel=0.05)
    assert (found.n, found.draws, found.approximate) == (n, 1000, False)
    assert 0.87 < np.mean((found.low < np.array(others)) & (np.array(others) < found.high)) < 0.93


def test_is_repeatable_and_falls_with_n():
    reference = made(features())
    found = floor(raw(FID), reference, 100)
    assert found == floor(raw(FID), reference, 100) != floor(raw(FID), reference, 100, seed=1)
    assert found.low < found.mean < found.high and found.sd > 0
    assert floor(raw(FID), reference, 5_000).high < found.low


def test_moments_alone_lend_a_gaussian():
    """Gaussian features: the two ways agree."""
    rows = features(20_000)
    whole, moments = (floor(raw(FID), made(rows, kept=kept), 300) for kept in (True, False))
    assert (whole.approximate, moments.approximate) == (False, True)
    assert moments.mean == pytest.approx(whole.mean, rel=0.05) and moments.sd == pytest.approx(whole.sd, rel=0.15)


def test_gaussian_draws_have_the_moments_that_they_should():
    covariance = np.cov(features(50, 4), rowvar=False) + np.diag([3.0, 0, 0, 1])
    rng, mean = np.random.default_rng(0), np.arange(4.0)
    every = [gaussian_draw(mean, _root(covariance), 10, rng) for _ in range(4000)]
    assert np.mean([each.mean for each in every], 0) == pytest.approx(mean, abs=0.05)
    assert np.mean([each.covariance for each in every], 0) == pytest.approx(covariance, abs=0.1)
    real = [np.cov(rng.multivariate_normal(mean, covariance, 10), rowvar=False) for _ in range(4000)]
    spread = np.std(real, axis=0)
    assert np.std([each.covariance for each in every], axis=0) == pytest.approx(spread, rel=0.06, abs=0.01)


def test_of_some_images_they_are_measured_against_themselves():
    rows = features(400)
    found = floor(raw(FID), made(rows + 5, n=9_000), 100)
    assert found.source == "the 400 images of the reference whose features are kept"
    assert found.mean == pytest.approx(floor(raw(FID), made(rows), 100).mean, rel=1e-6)


@pytest.mark.parametrize("metric", [raw(KID), raw(Precision), raw(Coverage)])
def test_of_metrics_that_compare_single_images(metric):
    rows = features()
    found = floor(metric, made(rows), 100)
    assert found.low <= found.mean <= found.high and not found.approximate
    if isinstance(metric, KID):
        assert abs(found.mean) < 3 * found.sd
    if isinstance(metric, Precision):
        assert found.mean == 1  # every draw is one of the real images


@pytest.mark.parametrize(
    ("metric", "kept", "n", "words"),
    [
        (raw(KID), False, 100, "compares single images"),
        (raw(Precision), False, 100, "compares single images"),
        (raw(FID), True, 6, "N = 6 is not above the 6 features"),
        (raw(FIDInfinity), True, 100, "of a perfect sampler is 0"),
        (Memorisation(reference="digits"), True, 100, "copies"),
        (InceptionScore(extractor="digits"), True, 100, "compares with nothing"),
        (raw(FID), False, 100, ""),
        (raw(KID), True, 100, ""),
    ],
)
def test_why_there_is_none(metric, kept, n, words):
    why = why_no_floor(metric, made(features(), kept=kept).statistics, n)
    assert words in why and bool(words) == bool(why)


def test_draws_are_fewer_where_one_is_costly():
    assert (_draws(384, 64, 0), _draws(50_000, 2048, 0), _draws(10_000, 2048, 10_000)) == (1000, 12, 12)
    assert 12 < _draws(512, 64, 1797) < 1000


def test_distances_of_the_floor_are_those_of_the_metric():
    rows = features()
    reference = FrechetReference(*(lambda of: (of.mean, of.covariance))(Moments.of(rows)))
    drawn = rows[np.random.default_rng(0).integers(len(rows), size=40)]
    first = reference.distance(*(lambda of: (of.mean, of.covariance))(Moments.of(drawn)))
    found = floor(raw(FID), made(rows), 40)
    assert found.low < first * 3 and first < found.high * 3
