"""Streamed moments: exact against numpy, the same in any order and any chunks, to a file and back."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError, SamplingError
from harness.metrics.statistics.moments import Moments

seeds = st.integers(0, 2**32 - 1)


def close(a, b, tolerance=1e-12):
    spread = np.abs(b.scatter).max() + np.finfo(float).tiny
    return (
        a.n == b.n
        and np.allclose(a.mean, b.mean, rtol=tolerance, atol=tolerance)
        and np.abs(a.scatter - b.scatter).max() <= tolerance * spread
    )


@given(seeds, st.integers(2, 60), st.integers(1, 6), st.sampled_from([0.0, 1.0, 100.0]))
@settings(max_examples=60)
def test_order_and_chunks_do_not_matter(seed, count, width, offset):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, width)) * rng.uniform(0.1, 10, width) + offset
    whole = Moments.of(features)
    assert np.allclose(whole.mean, features.mean(0), rtol=1e-13, atol=1e-13)
    assert np.allclose(whole.covariance, np.atleast_2d(np.cov(features.T)), rtol=1e-12, atol=1e-12)

    cuts = np.sort(rng.integers(0, count + 1, rng.integers(0, 8)))  # empty chunks included
    parts = [Moments.of(part) for part in np.split(features, cuts)]
    assert close(Moments.merge(parts), whole)
    assert close(Moments.merge([parts[i] for i in rng.permutation(len(parts))]), whole)
    assert close(Moments.of(features[rng.permutation(count)]), whole)

    streamed = Moments.empty(width)
    for part in np.split(features, cuts):
        streamed.update(part)
    assert close(streamed, whole)


@given(seeds)
@settings(max_examples=30)
def test_merging_is_commutative_and_empty_is_neutral(seed):
    rng = np.random.default_rng(seed)
    a, b = Moments.of(rng.normal(size=(5, 3))), Moments.of(rng.normal(size=(9, 3)) + 2)
    assert close(a + b, b + a)
    assert close(a + Moments.empty(3), a, 0) and close(Moments.empty(3) + a, a, 0)
    before = a.mean.copy()
    total = a + Moments.empty(3)
    total.update(np.ones((4, 3)))
    assert a.n == 5 and np.array_equal(a.mean, before)


def test_a_large_mean_costs_no_digits():
    features = np.random.default_rng(0).normal(size=(2000, 4))
    parts = Moments.merge([Moments.of(part) for part in np.split(features + 1e6, 10)])
    assert np.abs(parts.covariance - np.cov(features.T)).max() < 1e-8


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_sums_are_float64_whatever_comes_in(dtype):
    features = np.random.default_rng(1).normal(size=(300, 4)).astype(dtype)
    found = Moments.of(features)
    assert found.mean.dtype == found.scatter.dtype == np.float64
    assert close(found, Moments.of(features.astype(np.float64)), 0)
    assert close(found, Moments.of(torch.tensor(features, requires_grad=True)), 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_counted_and_change_nothing(bad):
    moments = Moments.of(np.ones((3, 2)))
    features = np.zeros((5, 2))
    features[1] = bad
    features[4, 0] = bad
    with pytest.raises(SamplingError, match="2 of 5 feature vectors are not finite"):
        moments.update(features)
    assert moments.n == 3 and moments.mean.tolist() == [1.0, 1.0]


def test_refusals():
    with pytest.raises(InputError, match="at least 2 samples; we got 1"):
        _ = Moments.of(np.ones((1, 2))).covariance
    with pytest.raises(InputError, match="one length; we got 2 and 3"):
        _ = Moments.empty(2) + Moments.empty(3)
    with pytest.raises(InputError, match=r"\[B, d\]"):
        Moments.of(np.ones(3))
    with pytest.raises(InputError, match="nothing to merge"):
        Moments.merge([])


class TestFile:
    moments = Moments.of(np.random.default_rng(2).normal(size=(7, 3)))

    def test_round_trip(self, tmp_path):
        np.savez(tmp_path / "moments.npz", **self.moments.arrays())
        with np.load(tmp_path / "moments.npz", allow_pickle=False) as arrays:
            back = Moments.from_arrays(arrays)
        assert close(back, self.moments, 0) and type(back.n) is int

    def test_half_of_the_scatter_is_kept(self):
        arrays = self.moments.arrays()
        assert set(arrays) == {"n", "mean", "half"}
        rows = [self.moments.scatter[row, row:] for row in range(3)]
        assert arrays["half"].tolist() == np.concatenate(rows).tolist()
        back = Moments.from_arrays(arrays)
        assert np.array_equal(back.scatter, back.scatter.T)

    def test_the_earlier_layout_is_read(self):
        arrays = {"n": np.array(7), "mean": self.moments.mean, "scatter": self.moments.scatter}
        assert close(Moments.from_arrays(arrays), self.moments, 0)

    @pytest.mark.parametrize("width", [1, 2, 5])
    def test_any_width_goes_in_and_out(self, width):
        moments = Moments.of(np.random.default_rng(width).normal(size=(9, width)))
        assert close(Moments.from_arrays(moments.arrays()), moments, 0)
        assert close(Moments.from_arrays(Moments.empty(width).arrays()), Moments.empty(width), 0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mean": None}, r"lacks \['mean'\]"),
            ({"half": None}, r"lacks \['half'\]"),
            ({"half": np.zeros(5)}, r"half \[d \(d \+ 1\) / 2\]"),
            ({"half": np.zeros((3, 3))[:2]}, r"half \[d \(d \+ 1\) / 2\]"),
            ({"half": np.zeros(6, np.float32)}, r"half \[d \(d \+ 1\) / 2\]"),
            ({"half": np.full(6, np.inf)}, "not finite"),
            ({"mean": np.array(["a", "b", "c"])}, r"needs float64 mean \[d\]"),
            ({"n": np.array(-1)}, "n must be one integer"),
            ({"n": np.array(1.5)}, "n must be one integer"),
            ({"mean": np.zeros(2)}, r"needs float64 mean \[d\]"),
            ({"mean": np.zeros(3, np.float32)}, r"needs float64 mean \[d\]"),
            ({"scatter": np.full((3, 3), np.nan)}, "not finite"),
        ],
    )
    def test_damage_is_named(self, change, message):
        arrays = {key: value for key, value in {**self.moments.arrays(), **change}.items() if value is not None}
        with pytest.raises(InputError, match=message):
            Moments.from_arrays(arrays)


class TestRoot:
    """Few wide features: a root is kept, and the scatter made of it."""

    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200, 300)) + 3

    def whole(self, rows):
        about = rows - rows.mean(0)
        return Moments(len(rows), rows.mean(0), about.T @ about)

    @pytest.mark.parametrize("n", [1, 2, 40, 75])
    def test_it_is_the_scatter(self, n):
        moments = Moments.of(self.rows[:n])
        assert moments.root.shape == (n - 1, 300)
        assert close(moments, self.whole(self.rows[:n]), 1e-13)
        assert moments.trace == pytest.approx(moments.scatter.trace(), rel=1e-12)

    def test_it_is_kept_while_it_is_thin(self):
        parts = [Moments.of(part) for part in np.split(self.rows, [1, 20, 60, 75, 140])]
        total = parts[0]
        for number, end in enumerate((20, 60, 75), 1):
            total = total + parts[number]
            assert total.root.shape == (end - 1, 300)
            assert close(total, self.whole(self.rows[:end]), 1e-13)
        total = Moments.merge([total, *parts[4:]])
        assert total.root is None
        assert close(total, self.whole(self.rows), 1e-12)
        assert close(total.without(parts[-1]), self.whole(self.rows[:140]), 1e-12)

    def test_others_have_none(self):
        assert Moments.of(self.rows[:76]).root is None
        assert Moments.of(self.rows[:20, :255]).root is None

    def test_one_with_none_at_all(self):
        few = Moments.of(self.rows[:9])
        for total in (few + Moments.empty(300), Moments.empty(300) + few):
            assert close(total, few, 0) and total.root.shape == (8, 300)
            assert not np.shares_memory(total.root, few.root)

    def test_updates(self):
        moments = Moments.of(self.rows[:30])
        assert moments.scatter.shape == (300, 300)
        for end in (70, 200):
            moments.update(self.rows[moments.n : end])
            assert close(moments, self.whole(self.rows[:end]), 1e-12)

    def test_a_file_holds_the_root_alone(self):
        moments = Moments.of(self.rows[:50])
        arrays = moments.arrays()
        assert {name: array.shape for name, array in arrays.items()} == {"n": (), "mean": (300,), "root": (49, 300)}
        assert close(Moments.from_arrays(arrays), moments, 0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"root": np.zeros((4, 299))}, r"root \[r, d\]"),
            ({"root": np.zeros(300)}, r"root \[r, d\]"),
            ({"root": np.zeros((4, 300), np.float32)}, r"root \[r, d\]"),
            ({"root": np.full((4, 300), np.nan)}, "not finite"),
            ({"mean": np.zeros((2, 300))}, r"mean \[d\]"),
        ],
    )
    def test_damage_is_named(self, change, message):
        with pytest.raises(InputError, match=message):
            Moments.from_arrays({**Moments.of(self.rows[:5]).arrays(), **change})


def test_moments_and_distances_load_no_torch():
    code = "import sys, harness.metrics.statistics.jackknife; assert not {'torch', 'scipy.stats'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
