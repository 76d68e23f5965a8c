"""The reservoir: one subset whatever the order, uniform, to a file and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.core.errors import InputError, SamplingError
from harness.metrics.statistics.reservoir import Reservoir


def same(a, b):
    return all(np.array_equal(a.arrays()[name], b.arrays()[name]) for name in a.arrays())


def of(indices, features, capacity, salt=0):
    found = Reservoir.empty(features.shape[1], capacity, salt)
    found.add(indices, features)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(1, 30), st.integers(0, 2**64 - 1))
@settings(max_examples=80)
def test_any_chunks_and_any_merges_give_the_same(seed, count, capacity, salt):
    rng = np.random.default_rng(seed)
    indices = rng.choice(10**6, count, replace=False)
    features = rng.normal(size=(count, 2))
    whole = of(indices, features, capacity, salt)
    assert len(whole.rows) == min(count, capacity) and whole.seen == count

    order = rng.permutation(count)
    cuts = np.sort(rng.integers(0, count + 1, rng.integers(0, 8)))
    chunks = np.split(order, cuts)
    streamed = Reservoir.empty(2, capacity, salt)
    for chunk in chunks:
        streamed.add(indices[chunk], features[chunk])
    assert same(streamed, whole)

    parts = [of(indices[chunk], features[chunk], capacity, salt) for chunk in chunks]
    while len(parts) > 1:  # any tree of merges
        one, two = (parts.pop(rng.integers(len(parts))) for _ in range(2))
        parts.append(one + two)
    assert same(parts[0], whole)
    kept = whole.arrays()
    assert kept["indices"].tolist() == sorted(kept["indices"])
    place = {index: i for i, index in enumerate(indices.tolist())}
    assert np.array_equal(kept["rows"], features[[place[i] for i in kept["indices"].tolist()]].astype(np.float32))


def test_every_index_is_as_likely_alone_and_in_pairs():
    counts, together = np.zeros(20), 0
    for salt in range(4000):
        kept = of(np.arange(20), np.zeros((20, 1)), 5, salt).indices
        counts[kept] += 1
        together += {0, 1} <= set(kept.tolist())
    assert stats.chisquare(counts).pvalue > 0.001
    assert stats.binomtest(together, 4000, 5 * 4 / (20 * 19)).pvalue > 0.001


def test_neighbouring_salts_give_unrelated_subsets():
    """Were the salt not mixed itself, salt s would only swap index i with i ^ s."""
    swapped = {frozenset((of(np.arange(64), np.zeros((64, 1)), 16, salt).indices ^ salt).tolist()) for salt in range(8)}
    assert len(swapped) == 8


def test_the_random_order_is_that_of_splitmix64():
    """The first outputs of the published generator from seed 0 are the mixed multiples of its increment."""
    from harness.metrics.statistics.reservoir import _mixed

    increments = np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [hex(n) for n in _mixed(increments)] == ["0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f"]


def test_merging_changes_neither_side():
    a, b = of([0, 1, 2], np.zeros((3, 1)), 2), of([3, 4], np.ones((2, 1)), 2)
    before = a.arrays()
    total = a + b
    total.rows[:] = 9
    assert all(np.array_equal(before[name], a.arrays()[name]) for name in before)
    assert same(Reservoir.empty(1, 2) + b, b) and same(b + Reservoir.empty(1, 2), b)


class TestRefusals:
    @pytest.mark.parametrize(("capacity", "salt"), [(0, 0), (3, -1), (3, 2**64)])
    def test_options(self, capacity, salt):
        with pytest.raises(InputError, match="capacity >= 1 and salt from 0"):
            Reservoir.empty(2, capacity, salt)

    @pytest.mark.parametrize(
        ("indices", "features", "message"),
        [
            ([0, 1], np.zeros((3, 2)), "each sample needs an index"),
            ([-1], np.zeros((1, 2)), "each sample needs an index"),
            ([0.0], np.zeros((1, 2)), "each sample needs an index"),
            ([1, 1], np.zeros((2, 2)), "second time"),
            ([7], np.zeros((1, 2)), "second time"),
            ([1], np.zeros((1, 3)), "one length; we got 2 and 3"),
            ([1], np.zeros(2), r"\[B, d\]"),
        ],
    )
    def test_samples(self, indices, features, message):
        found = of([7], np.ones((1, 2)), 4)
        with pytest.raises(InputError, match=message):
            found.add(indices, features)
        assert found.seen == 1 and found.indices.tolist() == [7]

    @pytest.mark.parametrize(("value", "message"), [(np.nan, "1 of 1 .* not finite"), (1e39, "too large for float32")])
    def test_values(self, value, message):
        with pytest.raises(SamplingError, match=message):
            Reservoir.empty(1, 4).add([0], np.array([[value]]))

    def test_merges(self):
        with pytest.raises(InputError, match="share capacity and salt; we got 3 and 0, and 3 and 1"):
            _ = Reservoir.empty(2, 3) + Reservoir.empty(2, 3, 1)
        with pytest.raises(InputError, match="second time"):
            _ = of([1], np.zeros((1, 2)), 3) + of([1], np.zeros((1, 2)), 3)


class TestFile:
    reservoir = of([5, 2, 9, 1], np.arange(8.0).reshape(4, 2), 3, salt=2**64 - 1)

    def test_round_trip(self, tmp_path):
        np.savez(tmp_path / "reservoir.npz", **self.reservoir.arrays())
        with np.load(tmp_path / "reservoir.npz", allow_pickle=False) as arrays:
            back = Reservoir.from_arrays(arrays)
        assert same(back, self.reservoir)
        for one in (back, self.reservoir):
            one.add([77, 78], np.ones((2, 2)))
        assert same(back, self.reservoir)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rows": None}, r"lacks \['rows'\]"),
            ({"rows": np.zeros(3, np.float32)}, r"rows cannot be float32 \[3\]"),
            ({"indices": np.zeros(3)}, r"indices cannot be float64 \[3\]"),
            ({"indices": np.array([1, 1, 2])}, "do not fit"),
            ({"seen": np.array(2)}, "do not fit 2 samples"),
            ({"capacity": np.array(9)}, "do not fit"),
            ({"rows": np.full((3, 2), np.nan, np.float32)}, "not finite, or negative"),
            ({"indices": np.array([-1, 1, 2])}, "not finite, or negative"),
        ],
    )
    def test_damage_is_named(self, change, message):
        good = of([5, 2, 9, 1], np.arange(8.0).reshape(4, 2), 3).arrays()
        arrays = {key: value for key, value in {**good, **change}.items() if value is not None}
        with pytest.raises(InputError, match=message):
            Reservoir.from_arrays(arrays)
