"""The kernel distance against the sum over all pairs, with every block left out in turn."""

import numpy as np
import pytest

from harness.core.errors import InputError, SamplingError
from harness.metrics.kid import kid
from harness.metrics.statistics import pairs


def brute(x, y):
    """Unbiased MMD^2, pair by pair."""
    xx, yy, xy = ((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    return (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean()


def draw(seed, n, m, d, shift=0.3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d))


@pytest.fixture(params=[2048, 7], ids=["one tile", "many tiles"])
def _tiles(request, monkeypatch):
    monkeypatch.setattr(pairs, "SIDE", request.param)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("sizes", [[10, 10, 10, 10], [3, 20, 1, 16], [40], [1] * 40])
def test_value_and_replicates_are_those_of_all_pairs(sizes):
    fake, real = draw(0, 40, 33, 5)
    found = kid(fake, real, sizes, subsets=0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert found.value == pytest.approx(brute(fake, real), rel=1e-11)
    expected = [brute(fake[labels != j], real) for j in range(len(sizes))] if len(sizes) > 1 else []
    assert found.replicates == pytest.approx(np.array(expected), rel=1e-10)
    assert found.sizes.tolist() == sizes and found.details == {}


def test_a_large_common_part_costs_few_digits():
    fake, real = draw(1, 30, 30, 8, shift=0.0)
    found = kid((fake + 30).astype(np.float32), (real + 30).astype(np.float32), [15, 15], subsets=0)
    longer = brute(*((side + 30).astype(np.float32).astype(np.longdouble) for side in (fake, real)))
    assert found.value == pytest.approx(float(longer), rel=1e-6)


def test_is_unbiased():
    """Sets of one distribution: the mean over draws is zero, whatever the number of samples."""
    values = [kid(*draw(seed, 12, 9, 3, shift=0.0), [12], subsets=0).value for seed in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_interval_holds_what_other_draws_give():
    found = [kid(*draw(seed, 60, 400, 4), [6] * 10, subsets=0) for seed in range(100)]
    values = np.array([one.value for one in found])
    se = np.sqrt(np.mean([one.interval().se ** 2 for one in found]))
    assert 0.75 < se / values.std() < 1.35


class TestSubsets:
    def test_the_same_seed_gives_the_same(self):
        fake, real = draw(2, 50, 40, 4)
        one, again, other = (kid(fake, real, [50], subset=20, subsets=5, seed=seed).details for seed in (3, 3, 4))
        assert one == again != other
        assert (one["subsets"], one["subset"], one["subset_reduced"]) == (5, 20, False)

    def test_too_large_ones_are_reduced_and_said_to_be(self):
        fake, real = draw(3, 50, 40, 4)
        details = kid(fake, real, [50], subsets=3).details
        assert details["subset"] == 40 and details["subset_reduced"]

    def test_of_everything_are_the_value(self):
        fake, real = draw(4, 30, 30, 4)
        found = kid(fake, real, [30], subset=30, subsets=3)
        assert found.details["subset_mean"] == pytest.approx(found.value, rel=1e-12)
        assert found.details["subset_sd"] < 1e-14

    def test_mean_is_that_of_all_pairs(self):
        fake, real = draw(5, 300, 300, 4)
        found = kid(fake, real, [300], subset=100, subsets=100)
        assert abs(found.details["subset_mean"] - found.value) < found.details["subset_sd"]


def test_identical_sets_are_below_zero_and_far_ones_far():
    _, real = draw(6, 2, 50, 6)
    assert kid(real, real, [50], subsets=0).value < 0
    assert kid(real + 10, real, [50], subsets=0).value > 1000


@pytest.mark.parametrize(
    ("fake", "real", "sizes", "options", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), [1], {}, "generated features must be at least 2 vectors; we got 1"),
        (np.ones((4, 3)), np.ones((0, 3)), [4], {}, "real features must be at least 2 vectors; we got 0"),
        (np.ones((4, 3)), np.ones((4, 2)), [4], {}, "one length; we got 3 and 2"),
        (np.ones(4), np.ones((4, 2)), [4], {}, r"numbers \[N, d\]; we got float64 \[4\]"),
        (np.ones((4, 2)), np.ones((4, 2), dtype=complex), [4], {}, "real features must be numbers"),
        (np.ones((4, 2)), np.ones((4, 2)), [3], {}, "add up to the number of samples, 4; we got 3"),
        (np.ones((4, 2)), np.ones((4, 2)), [-1, 5], {}, "whole numbers, at least 0"),
        (np.ones((4, 2)), np.ones((4, 2)), [4.0], {}, "whole numbers, at least 0"),
        (np.ones((4, 2)), np.ones((4, 2)), [4], {"subset": 1}, "subsets of at least 2"),
        (np.ones((4, 2)), np.ones((4, 2)), [4], {"subsets": -1}, "subsets of at least 2"),
    ],
)
def test_refusals(fake, real, sizes, options, message):
    with pytest.raises(InputError, match=message):
        kid(fake, real, sizes, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_counted(bad):
    rows = np.ones((4, 2))
    rows[2, 1] = bad
    with pytest.raises(SamplingError, match="1 of 4 generated feature vectors are not finite"):
        kid(rows, np.ones((4, 2)), [4])
    with pytest.raises(SamplingError, match="1 of 4 real feature vectors are not finite"):
        kid(np.ones((4, 2)), rows, [4])


def test_a_block_that_leaves_one_sample_gives_no_replicates():
    fake, real = draw(7, 5, 6, 2)
    found = kid(fake, real, [0, 4, 1], subsets=0)
    assert not len(found.replicates) and found.sizes.tolist() == [4, 1] and found.interval() is None
