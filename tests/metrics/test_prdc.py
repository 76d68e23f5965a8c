"""Precision, recall, density and coverage against scikit-learn's neighbours, with every block left out in turn."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors

from harness.core.errors import InputError, SamplingError
from harness.metrics.prdc import neighbours
from harness.metrics.statistics import pairs


def radii(rows, k):
    return NearestNeighbors(n_neighbors=k).fit(rows).kneighbors()[0][:, -1]


def brute(fake, real, k=3, k_density=5):
    apart = pairwise_distances(fake, real)
    dense = apart <= radii(real, k_density)
    return (
        (apart <= radii(real, k)).any(1).mean(),
        (apart <= radii(fake, k)[:, None]).any(0).mean(),
        dense.sum() / (k_density * len(fake)),
        dense.any(0).mean(),
    )


def draw(seed, n, m, d=3, spread=1.3, shift=0.4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * spread + shift, rng.normal(size=(m, d))


@pytest.fixture(params=[2048, 7], ids=["one tile", "many tiles"])
def _tiles(request, monkeypatch):
    monkeypatch.setattr(pairs, "SIDE", request.param)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("sizes", [[12] * 5, [3, 30, 1, 26], [60], [1] * 60])
@pytest.mark.parametrize("options", [{}, {"k": 1, "k_density": 1}, {"k": 6, "k_density": 2}])
def test_values_and_replicates_are_those_without_the_block(sizes, options):
    fake, real = draw(0, 60, 45)
    found = neighbours(fake, real, sizes, **options)
    assert [one.value for one in found] == pytest.approx(brute(fake, real, **options), rel=1e-12)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    expected = [brute(fake[labels != j], real, **options) for j in range(len(sizes))] if len(sizes) > 1 else []
    for which, one in enumerate(found):
        assert one.replicates == pytest.approx(np.array([row[which] for row in expected]), rel=1e-12)
        assert one.sizes.tolist() == sizes


def test_recall_grows_where_a_block_held_the_nearest():
    """Pairs of blocks side by side: without one, the other's balls reach further, and cover more."""
    rng = np.random.default_rng(1)
    ring = rng.normal(size=(20, 2))
    fake = np.concatenate((ring, ring + 1e-3 * rng.normal(size=ring.shape)))
    found = neighbours(fake, rng.normal(size=(50, 2)), [20, 20], k=1, k_density=1).recall
    assert found.replicates.min() > found.value


def test_many_draws():
    for seed in range(30):
        fake, real = draw(seed, 25, 20, d=2, spread=0.5 + seed % 3)
        sizes = np.random.default_rng(seed).multinomial(25, [0.2] * 5)
        found = neighbours(fake, real, sizes)
        kept = sizes[sizes > 0]
        labels = np.repeat(np.arange(len(kept)), kept)
        expected = np.array([brute(fake[labels != j], real) for j in range(len(kept))]).T
        assert np.stack([one.replicates for one in found]) == pytest.approx(expected, rel=1e-12)


class TestLimits:
    def test_a_set_and_itself(self):
        _, real = draw(2, 1, 40)
        found = neighbours(real, real, [20, 20])
        assert [found.precision.value, found.recall.value, found.coverage.value] == [1, 1, 1]
        # each point lies in its own ball and in those of the 5 nearest that hold it
        assert found.density.value == pytest.approx(1 + 1 / 5)

    def test_sets_far_apart(self):
        fake, real = draw(3, 40, 40, shift=1e4)
        assert [one.value for one in neighbours(fake, real, [20, 20])] == [0, 0, 0, 0]

    def test_one_distribution(self):
        """Naeem et al. 2020: expected density 1, expected coverage 1 - (N - 1)...(N - k) / (2N - 1)...(2N - k)."""
        found = [neighbours(*draw(seed, 60, 60, d=8, spread=1, shift=0), [60]) for seed in range(40)]
        assert np.mean([one.density.value for one in found]) == pytest.approx(1, abs=0.05)
        low = np.prod([(59 - i) / (119 - i) for i in range(5)])
        assert np.mean([one.coverage.value for one in found]) == pytest.approx(1 - low, abs=0.015)

    def test_a_mode_that_is_missing(self):
        _, real = draw(4, 1, 60)
        both = np.concatenate((real, real + 100))
        found = neighbours(real + 1e-6, both, [30, 30])
        assert found.precision.value == 1 and found.recall.value == 0.5 and found.coverage.value == 0.5


class TestTies:
    def test_copies_count_whatever_rounding_does(self):
        """Every point three times over: radii are zero, and each point lies in its own ball, which is closed."""
        rng = np.random.default_rng(5)
        real = np.repeat(rng.normal(size=(15, 300)).astype(np.float32) + 50, 4, axis=0)
        found = neighbours(real[::-1], real, [30, 30], k_density=3)
        assert [found.precision.value, found.recall.value, found.coverage.value] == [1, 1, 1]

    def test_a_lattice(self):
        """Bytes tie often; the counts agree with exact arithmetic on whole numbers."""
        rng = np.random.default_rng(6)
        fake, real = (rng.integers(0, 4, (40, 3), dtype=np.uint8) for _ in range(2))
        found = neighbours(fake, real, [40])
        squares = np.square(fake[:, None].astype(int) - real).sum(-1)
        ours = np.sort(np.square(real[:, None].astype(int) - real).sum(-1) + 99 * np.eye(40, dtype=int))
        assert found.precision.value == (squares <= ours[:, 2]).any(1).mean()
        assert found.density.value == pytest.approx((squares <= ours[:, 4]).sum() / 200, rel=1e-14)


@pytest.mark.parametrize(
    ("fake", "real", "sizes", "options", "message"),
    [
        (np.ones((5, 2)), np.ones((9, 2)), [5], {}, "generated features must be at least 6 vectors; we got 5"),
        (np.ones((9, 2)), np.ones((5, 2)), [9], {}, "real features must be at least 6 vectors; we got 5"),
        (np.ones((9, 2)), np.ones((9, 3)), [9], {}, "one length; we got 2 and 3"),
        (np.ones((9, 2)), np.ones((9, 2)), [5], {}, "add up to the number of samples, 9; we got 5"),
        (np.ones((9, 2)), np.ones((9, 2)), [9], {"k": 0}, "at least 1 neighbour; we got k 0"),
    ],
)
def test_refusals(fake, real, sizes, options, message):
    with pytest.raises(InputError, match=message):
        neighbours(fake, real, sizes, **options)


def test_features_that_are_not_finite_are_counted():
    rows = np.ones((9, 2))
    rows[3] = np.nan
    with pytest.raises(SamplingError, match="1 of 9 real feature vectors are not finite"):
        neighbours(np.ones((9, 2)), rows, [9])


def test_a_block_that_leaves_too_few_for_a_radius():
    fake, real = draw(7, 10, 10)
    found = neighbours(fake, real, [7, 3])
    assert not len(found.recall.replicates) and len(found.precision.replicates) == 2


def test_the_same_twice():
    fake, real = draw(8, 30, 30)
    one, two = (neighbours(fake, real, [10] * 3) for _ in range(2))
    assert all(np.array_equal(a.replicates, b.replicates) and a.value == b.value for a, b in zip(one, two, strict=True))
