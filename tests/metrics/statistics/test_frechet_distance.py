"""The Frechet distance against the official implementation's values, and by its properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from harness.core.errors import InputError, SamplingError
from harness.metrics.frechet import frechet
from harness.metrics.statistics import frechet_distance as module
from harness.metrics.statistics.frechet_distance import FrechetReference, frechet_distance
from harness.metrics.statistics.moments import Moments
from tests.conftest import golden

GOLDEN = golden("frechet")
CASES = {case["name"]: case for case in GOLDEN.meta["cases"]}
seeds = st.integers(0, 2**32 - 1)
widths = st.integers(1, 8)


def allowed(case):
    """1e-9 relative where both covariances have full rank, 1e-5 absolute where not."""
    full_rank = min(case["n1"], case["n2"]) > case["d"]
    return 1e-9 * max(abs(case["fid_reference"]), 1e-3) if full_rank else 1e-5


def gaussian(seed, width, rank=None):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(width, rank or width))
    return rng.normal(size=width), root @ root.T


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    mu1, sigma1, mu2, sigma2 = (GOLDEN.arrays[f"{name}.{field}"] for field in ("mu1", "sigma1", "mu2", "sigma2"))
    case = CASES[name]
    assert abs(frechet_distance(mu1, sigma1, mu2, sigma2) - case["fid_reference"]) < allowed(case)
    assert abs(frechet_distance(mu2, sigma2, mu1, sigma1) - case["fid_reference_swapped"]) < allowed(case)


@pytest.mark.parametrize("name", [name for name in CASES if f"{name}.f1" in GOLDEN.arrays])
def test_golden_from_features(name):
    one, two = (Moments.of(GOLDEN.arrays[f"{name}.{side}"]) for side in ("f1", "f2"))
    assert np.allclose(one.mean, GOLDEN.arrays[f"{name}.mu1"], rtol=0, atol=1e-13)
    assert np.allclose(one.covariance, GOLDEN.arrays[f"{name}.sigma1"], rtol=0, atol=1e-13)
    found = frechet_distance(one.mean, one.covariance, two.mean, two.covariance)
    assert abs(found - CASES[name]["fid_reference"]) < allowed(CASES[name])


@given(seeds, widths)
@settings(max_examples=60)
def test_symmetric_and_not_negative(seed, width):
    one, two = gaussian(seed, width), gaussian(seed + 1, width)
    there, back = frechet_distance(*one, *two), frechet_distance(*two, *one)
    scale = np.trace(one[1]) + np.trace(two[1])
    assert abs(there - back) < 1e-6 * scale and there > -1e-6 * scale


@given(seeds, widths, st.integers(1, 8))
@settings(max_examples=60)
def test_zero_on_identical_even_without_full_rank(seed, width, rank):
    one = gaussian(seed, width, rank)
    assert abs(frechet_distance(*one, *one)) < 1e-6 * np.trace(one[1])


@given(seeds, widths)
@settings(max_examples=60)
def test_rotation_shift_and_scale(seed, width):
    (mu1, sigma1), (mu2, sigma2) = gaussian(seed, width), gaussian(seed + 1, width)
    rng = np.random.default_rng(seed)
    turn, shift = np.linalg.qr(rng.normal(size=(width, width)))[0], rng.normal(size=width)
    plain = frechet_distance(mu1, sigma1, mu2, sigma2)
    turned = frechet_distance(turn @ mu1 + shift, turn @ sigma1 @ turn.T, turn @ mu2 + shift, turn @ sigma2 @ turn.T)
    scale = np.trace(sigma1) + np.trace(sigma2)
    assert abs(turned - plain) < 1e-6 * scale
    assert abs(frechet_distance(3 * mu1, 9 * sigma1, 3 * mu2, 9 * sigma2) - 9 * plain) < 9e-6 * scale


def test_closed_form_of_commuting_covariances():
    """For diagonal covariances, sum (mu1 - mu2)^2 + (sd1 - sd2)^2."""
    rng = np.random.default_rng(0)
    mu1, mu2, sd1, sd2 = rng.uniform(0.1, 2, (4, 20))
    expected = np.square(mu1 - mu2).sum() + np.square(sd1 - sd2).sum()
    assert abs(frechet_distance(mu1, np.diag(sd1**2), mu2, np.diag(sd2**2)) - expected) < 1e-12


def test_many_at_once_are_the_same_as_one_by_one():
    reference = FrechetReference(*gaussian(0, 6))
    mus, sigmas = zip(*(gaussian(seed, 6) for seed in range(1, 5)), strict=True)
    together = reference.distances(np.stack(mus), np.stack(sigmas))
    assert together.tolist() == [reference.distance(*pair) for pair in zip(mus, sigmas, strict=True)]


def test_dead_directions_on_both_sides():
    zero = np.zeros((3, 3))
    assert frechet_distance(np.ones(3), zero, np.zeros(3), zero) == 3.0
    assert frechet_distance(np.zeros(3), zero, np.zeros(3), np.eye(3)) == 3.0


def test_refusals():
    mu, sigma = gaussian(0, 3)
    with pytest.raises(InputError, match=r"length 3 need means \[m, 3\]"):
        frechet_distance(mu[:2], sigma[:2, :2], mu, sigma)
    with pytest.raises(InputError, match=r"mean must be \[d\]"):
        FrechetReference(sigma, sigma)
    with pytest.raises(SamplingError, match="finite moments"):
        frechet_distance(mu * np.nan, sigma, mu, sigma)
    with pytest.raises(SamplingError, match="finite moments"):
        FrechetReference(mu, sigma * np.inf)


class TestWide:
    """300 features: torch's routines, against NumPy's and against the general matrix root."""

    width = 300

    @staticmethod
    def turned(rng, values):
        turn = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
        sigma = (turn * values) @ turn.T
        return (sigma + sigma.T) / 2, turn * np.sqrt(values)

    def routines(self):
        return FrechetReference(np.zeros(self.width), np.eye(self.width)).dense

    def both(self, monkeypatch, mu1, sigma1, mu2, sigma2):
        """The distance by torch and by NumPy."""
        assert isinstance(self.routines(), module._Torch)
        by_torch = frechet_distance(mu1, sigma1, mu2, sigma2)
        monkeypatch.setattr(module, "WIDE", 10_000)
        assert isinstance(self.routines(), module._NumPy)
        return by_torch, frechet_distance(mu1, sigma1, mu2, sigma2)

    def test_full_rank(self, monkeypatch):
        (mu1, sigma1), (mu2, sigma2) = gaussian(0, self.width, 400), gaussian(1, self.width, 500)
        by_torch, by_numpy = self.both(monkeypatch, mu1, sigma1, mu2, sigma2)
        root = sqrtm(sigma1 @ sigma2)
        expected = np.square(mu1 - mu2).sum() + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root).real
        assert by_torch == pytest.approx(by_numpy, rel=1e-11)
        assert by_torch == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("rank", [1, 40, 299])
    def test_without_full_rank(self, monkeypatch, rank):
        """The trace of the root is the nuclear norm of F2^T F1, which needs no root."""
        rng = np.random.default_rng(rank)
        thin, full = rng.normal(size=(self.width, rank)), rng.normal(size=(self.width, 400))
        sigma1, sigma2, zero = thin @ thin.T, full @ full.T, np.zeros(self.width)
        for one, other, f1, f2 in ((sigma1, sigma2, thin, full), (sigma2, sigma1, full, thin)):
            expected = np.trace(one) + np.trace(other) - 2 * np.linalg.svd(f1.T @ f2, compute_uv=False).sum()
            with monkeypatch.context() as patch:
                by_torch, by_numpy = self.both(patch, zero, one, zero, other)
            scale = np.trace(one) + np.trace(other)
            assert abs(by_torch - by_numpy) < 1e-10 * scale
            assert abs(by_torch - expected) < 1e-9 * scale
        assert abs(frechet_distance(zero, sigma1, zero, sigma1)) < 1e-9 * np.trace(sigma1)

    @pytest.mark.parametrize("least", [1e-6, 1e-9, 1e-11])
    def test_small_variances_are_not_cut_off(self, monkeypatch, least):
        """The product's eigenvalues fall to the square of the least variance, and their roots add up."""
        rng, zero = np.random.default_rng(0), np.zeros(self.width)
        (sigma1, f1), (sigma2, f2) = (self.turned(rng, np.geomspace(1, least, self.width)) for _ in range(2))
        roots = np.linalg.svd(f1.T @ f2, compute_uv=False)
        scale = np.trace(sigma1) + np.trace(sigma2)
        expected = scale - 2 * roots.sum()
        by_torch, by_numpy = self.both(monkeypatch, zero, sigma1, zero, sigma2)
        assert abs(by_torch - expected) < 1e-11 * scale
        assert abs(by_numpy - expected) < 1e-11 * scale

    def test_a_threshold_on_the_product_would_lose_digits(self):
        """Twenty large variances and 280 small ones, whose roots are more than 1e-6 of the distance together."""
        zero, same = np.zeros(self.width), np.random.default_rng(0).uniform(0.5, 1.5, self.width)
        values1 = np.where(np.arange(self.width) < 20, 1e4, 1e-4) * same
        values2 = np.where(np.arange(self.width) < 20, 1e4, 1e-3)
        sigma, factor = self.turned(np.random.default_rng(1), values1)
        turn = factor / np.sqrt(values1)
        other = (turn * values2) @ turn.T
        expected = np.square(np.sqrt(values1) - np.sqrt(values2)).sum()
        products = values1 * values2
        lost = 2 * np.sqrt(products[products < 1e-12 * products.max()]).sum()
        assert lost > 1e-6 * expected
        found = frechet_distance(zero, sigma, zero, (other + other.T) / 2)
        assert found == pytest.approx(expected, rel=1e-9)

    def test_replicates_hold_no_stack_of_covariances(self):
        """The most that is held beside the blocks is a few matrices, not one a block."""
        import tracemalloc

        rng = np.random.default_rng(0)
        blocks = [Moments.of(rng.normal(size=(50, self.width))) for _ in range(30)]
        reference = FrechetReference(np.zeros(self.width), np.eye(self.width))
        tracemalloc.start()
        try:
            found = frechet(blocks, reference)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(found.replicates) == 30
        assert most < 12 * 8 * self.width**2
