"""Memorised samples against differences taken one by one, and planted copies."""

import json

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from harness.core.errors import InputError, SamplingError
from harness.metrics.memorization import memorisation, nearest_training
from harness.metrics.statistics import pairs


@pytest.fixture(params=[2048, 7], ids=["one tile", "many tiles"])
def _tiles(request, monkeypatch):
    monkeypatch.setattr(pairs, "SIDE", request.param)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8"])
def test_distances_are_those_of_differences(kind):
    rng = np.random.default_rng(0)
    fake, training = ((rng.uniform(size=(n, 12)) * 255).astype(kind) for n in (30, 50))
    found = nearest_training(fake, training)
    apart = np.sqrt(np.square(fake[:, None].astype(float) - training.astype(float)).sum(-1))
    assert np.array_equal(found.which, apart.argmin(1))
    assert np.stack((found.first, found.second)) == pytest.approx(np.sort(apart)[:, :2].T, rel=1e-14)
    theirs, _ = NearestNeighbors(n_neighbors=2).fit(training.astype(float)).kneighbors(fake.astype(float))
    assert np.stack((found.first, found.second)) == pytest.approx(theirs.T, rel=1e-9)


def planted(rng, copies=10):
    """Training images, and samples of which the first `copies` are near copies, at a tenth of the usual distance."""
    training = rng.integers(0, 256, (80, 48)).astype(np.float32)
    fake = rng.integers(0, 256, (40, 48)).astype(np.float32)
    fake[:copies] = training[:copies] + rng.normal(size=(copies, 48)).astype(np.float32) * 5
    return fake, training


def test_value_replicates_and_pairs():
    fake, training = planted(np.random.default_rng(1))
    sizes = [5, 15, 20]
    found = memorisation(fake, training, sizes)
    assert found.value == 10 / 40 and found.details["copies"] == 0
    assert found.replicates == pytest.approx([5 / 35, 5 / 25, 10 / 20], rel=1e-14)
    listed = found.details["pairs"]
    assert len(listed) == 16 and {(pair["fake"], pair["training"]) for pair in listed[:10]} == {
        (i, i) for i in range(10)
    }
    assert [pair["distance"] for pair in listed] == sorted(pair["distance"] for pair in listed)
    assert all(pair["ratio"] < 1 / 3 for pair in listed[:10]) and all(pair["ratio"] > 1 / 3 for pair in listed[10:])
    assert json.loads(json.dumps(found.details)) == found.details
    assert len(memorisation(fake, training, sizes, pairs=2).details["pairs"]) == 2


def test_the_third_of_the_second_distance_is_where_it_starts():
    training = np.array([[0.0], [4.0]])
    found = nearest_training(np.array([[0.5], [0.99], [1.0], [1.01], [3.5]]), training)
    assert found.memorised.tolist() == [True, True, False, False, True]
    assert found.ratio[2] == pytest.approx(1 / 3)


def test_copies_count_even_of_images_that_stand_twice():
    training = np.array([[7, 7], [7, 7], [0, 90]], dtype=np.uint8)
    found = memorisation(np.array([[7, 7], [0, 90], [40, 40]], dtype=np.uint8), training, [1, 2])
    assert found.value == pytest.approx(2 / 3) and found.details["copies"] == 2
    assert found.details["pairs"][:2] == [
        {"fake": 0, "training": 0, "distance": 0.0, "ratio": 0.0},
        {"fake": 1, "training": 2, "distance": 0.0, "ratio": 0.0},
    ]


def test_a_near_copy_far_from_the_origin_loses_no_digits():
    """From products alone a distance of 1e-6 at length 1e5 would be noise."""
    rng = np.random.default_rng(2)
    training = rng.normal(size=(30, 200)) * 1e4
    training[1:3] = training[0] + 1e-3 * rng.normal(size=(2, 200))
    fake = training[:1] + 1e-6
    found = nearest_training(fake, training)
    exact = np.sqrt(np.square(fake[0] - training[0]).sum())
    assert found.which[0] == 0 and found.first[0] == exact and found.memorised[0]


def test_limits():
    rng = np.random.default_rng(3)
    training = rng.integers(0, 256, (40, 30), dtype=np.uint8)
    assert memorisation(training, training, [20, 20]).value == 1
    assert memorisation(rng.integers(0, 256, (40, 30), dtype=np.uint8), training, [20, 20]).value == 0


@pytest.mark.parametrize(
    ("fake", "training", "sizes", "message"),
    [
        (np.ones((0, 2)), np.ones((4, 2)), [], "generated features must be at least 1 vectors; we got 0"),
        (np.ones((3, 2)), np.ones((1, 2)), [3], "training features must be at least 2 vectors; we got 1"),
        (np.ones((3, 2)), np.ones((4, 3)), [3], "one length; we got 2 and 3"),
        (np.ones((3, 2)), np.ones((4, 2)), [4], "add up to the number of samples, 3; we got 4"),
    ],
)
def test_refusals(fake, training, sizes, message):
    with pytest.raises(InputError, match=message):
        memorisation(fake, training, np.array(sizes, dtype=int))


def test_values_that_are_not_finite_are_counted():
    with pytest.raises(SamplingError, match="3 of 3 generated feature vectors are not finite"):
        memorisation(np.full((3, 2), np.inf), np.ones((4, 2)), [3])
