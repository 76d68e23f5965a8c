"""The closed forms against brute force, golden numbers, each other, and their limits."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from harness.core.errors import InputError
from harness.denoisers.analytic.exact import Gaussian, Ideal, Mixture, posterior_mean
from harness.denoisers.analytic.specs import GaussianSpec, IdealSpec, MixtureSpec
from harness.denoisers.load import load_denoiser, parse
from harness.sampling.denoiser import Denoiser
from tests.conftest import golden, relative_error

F64 = torch.float64
sigmas = st.floats(1e-3, 1e3)
seeds = st.integers(0, 2**32 - 1)


def images(seed, count, shape=(1, 2, 2)):
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=F64)


def brute_force(x, sigma, points, weights, std):
    """The definition, one row and one component at a time, in numpy with logarithms."""
    out = []
    for row, level in zip(x.numpy(), np.broadcast_to(sigma, len(x)), strict=True):
        v, s2 = std**2, float(level) ** 2
        logits = np.log(weights) - np.array([((row - p) ** 2).sum() for p in points.numpy()]) / (2 * (v + s2))
        r = np.exp(logits - logits.max())
        r /= r.sum()
        out.append(sum(rk * (v * row + s2 * p) / (v + s2) for rk, p in zip(r, points.numpy(), strict=True)))
    return torch.tensor(np.array(out))


def members():
    points = images(5, 4)
    return [
        Gaussian(images(4, 1)[0], 0.5),
        Gaussian(0.2, 0.0, (1, 2, 2)),
        Mixture(points, [1, 2, 3, 4], 0.3),
        Mixture(points),
        Ideal(points.float(), block=3),
    ]


@pytest.mark.parametrize("denoiser", members(), ids=lambda d: type(d).__name__)
class TestEvery:
    def test_satisfies_the_protocol(self, denoiser):
        assert isinstance(denoiser, Denoiser)
        assert (denoiser.shape, denoiser.label_dim, denoiser.cost) == ((1, 2, 2), 0, 1)
        assert (denoiser.sigma_min, denoiser.sigma_max, denoiser.dtype) == (0.0, math.inf, F64)
        levels = torch.tensor([[0.1, 3.0]], dtype=F64)
        assert torch.equal(denoiser.round_sigma(levels), levels)

    @pytest.mark.parametrize("dtype", [torch.float32, F64])
    def test_gives_float64_and_leaves_x_alone(self, denoiser, dtype):
        x = images(1, 3).to(dtype)
        before = x.clone()
        D = denoiser(x, torch.tensor(0.7, dtype=F64), None)
        assert D.dtype == F64 and D.shape == x.shape and torch.equal(x, before)

    def test_one_sigma_for_all_is_the_same_as_one_each(self, denoiser):
        x = images(2, 5)
        one = denoiser(x, torch.tensor(0.7, dtype=F64))
        each = denoiser(x, torch.full((5,), 0.7, dtype=F64))
        assert torch.equal(one, each)

    def test_a_row_does_not_depend_on_its_batch(self, denoiser):
        x, sigma = images(3, 33) * 2, torch.logspace(-2, 2, 33, dtype=F64)
        whole = denoiser(x, sigma)
        alone = torch.cat([denoiser(x[i : i + 1], sigma[i : i + 1]) for i in range(33)])
        if isinstance(denoiser, Gaussian):
            assert torch.equal(whole, alone)
        assert relative_error(whole, alone) < 1e-14

    @pytest.mark.parametrize("sigma", [0.0, 1e-300, 1e-170, 1e-12, 1e-3, 80.0, 1e6])
    def test_is_finite_at_any_noise(self, denoiser, sigma):
        x = images(6, 4) * max(sigma, 1)
        assert denoiser(x, torch.tensor(sigma, dtype=F64)).isfinite().all()

    def test_takes_an_empty_batch(self, denoiser):
        assert denoiser(torch.zeros(0, 1, 2, 2), torch.tensor(1.0)).shape == (0, 1, 2, 2)

    def test_refuses_other_shapes(self, denoiser):
        with pytest.raises(ValueError, match=r"we got \[1, 1, 3, 3\]"):
            denoiser(torch.zeros(1, 1, 3, 3), torch.tensor(1.0))
        with pytest.raises(ValueError, match=r"sigma \(\) or \[B\]"):
            denoiser(torch.zeros(2, 1, 2, 2), torch.ones(3))

    def test_nan_in_one_row_stays_there(self, denoiser):
        x = images(7, 3)
        x[1] = math.nan
        D = denoiser(x, torch.tensor(1.0, dtype=F64))
        assert D[[0, 2]].isfinite().all()


def test_golden_mixture():
    arrays = golden("sampler_deterministic").arrays
    denoiser = Mixture(arrays["means"], arrays["weights"], float(arrays["std"]))
    D = denoiser(torch.tensor(arrays["probe.x"]), torch.tensor(arrays["probe.sigma"]))
    assert relative_error(D, arrays["probe.D"]) < 1e-14


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_golden_dirac_is_a_mixture_of_two_points(sigma):
    x = torch.tensor(golden("dirac1d").arrays["latents"]) * sigma
    D = Mixture(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))(x, torch.tensor(sigma, dtype=F64))
    assert relative_error(D, torch.tanh(x / sigma**2)) < 1e-13


class TestGaussian:
    @given(seeds, sigmas, sigmas, st.floats(0.0, 3.0))
    @settings(max_examples=50)
    def test_flow_keeps_the_invariant_of_the_ode(self, seed, start, end, std):
        """(x - mu) / sqrt(sigma^2 + v) is constant, and going back returns."""
        gaussian = Gaussian(0.3, std, (1, 2, 2))
        x = images(seed, 3) * start
        there = gaussian.flow(x, start, end)
        unit = (x - 0.3) / math.sqrt(start**2 + std**2)
        assert torch.allclose((there - 0.3) / math.sqrt(end**2 + std**2), unit, rtol=0, atol=1e-9)
        assert relative_error(gaussian.flow(there, end, start), x) < 1e-10

    def test_flow_solves_the_ode_of_the_denoiser(self):
        gaussian = Gaussian([[[0.1, -0.2], [0.3, 0.4]]], 0.5)
        x = images(1, 1) * 10

        def slope(sigma, flat):
            row = torch.tensor(flat).view(1, 1, 2, 2)
            return ((row - gaussian(row, torch.tensor(sigma, dtype=F64))) / sigma).flatten().numpy()

        found = solve_ivp(slope, (10.0, 0.01), x.flatten().numpy(), rtol=1e-11, atol=1e-12).y[:, -1]
        assert relative_error(gaussian.flow(x, 10.0, 0.01).flatten(), found) < 1e-8

    def test_sigma_may_differ_between_rows(self):
        gaussian, x = Gaussian(0.3, 0.5, (1, 2, 2)), images(2, 2)
        both = gaussian.flow(x, torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]))
        assert torch.equal(both[1:], gaussian.flow(x[1:], 2.0, 0.0))

    def test_without_noise_data_stay_as_they_are(self):
        x = images(3, 2)
        assert torch.equal(Gaussian(0.3, 0.5, (1, 2, 2))(x, torch.tensor(0.0)), x)
        assert torch.equal(Gaussian(0.3, 0.0, (1, 2, 2))(x, torch.tensor(0.0)), torch.full_like(x, 0.3))


class TestMixture:
    @given(seeds, sigmas, st.floats(0.0, 3.0))
    @settings(max_examples=50)
    def test_of_one_is_the_gaussian(self, seed, sigma, std):
        mean, x, level = images(seed, 1), images(seed + 1, 3) * sigma, torch.tensor(sigma, dtype=F64)
        assert relative_error(Mixture(mean, [2.0], std)(x, level), Gaussian(mean[0], std)(x, level)) < 1e-12

    @given(seeds, st.integers(1, 6), st.floats(0.05, 100), st.floats(0.0, 2.0))
    @settings(max_examples=50)
    def test_is_the_definition(self, seed, count, sigma, std):
        means = images(seed, count)
        weights = np.random.default_rng(seed).uniform(0.1, 1, count)
        x = images(seed + 1, 3) * sigma
        D = Mixture(means, weights, std)(x, torch.tensor(sigma, dtype=F64))
        assert torch.allclose(D, brute_force(x, sigma, means, weights, std), rtol=0, atol=1e-10 * sigma)

    @given(seeds, st.floats(1e-6, 1e-2), st.floats(0.2, 2.0))
    @settings(max_examples=50)
    def test_tends_to_x_without_noise(self, seed, sigma, std):
        """|D - x| = sigma^2/(sigma^2 + v) |mean - x|, so within sigma^2 / v of the distance to the means."""
        means, x = images(seed, 3), images(seed + 1, 2)
        D = Mixture(means, None, std)(x, torch.tensor(sigma, dtype=F64))
        furthest = torch.cdist(x.flatten(1), means.flatten(1)).max()
        assert (D - x).flatten(1).norm(dim=1).max() <= furthest * sigma**2 / std**2 + 1e-14

    def test_tends_to_the_mean_under_much_noise(self):
        means, weights = images(1, 3), torch.tensor([1.0, 2.0, 5.0])
        D = Mixture(means, weights, 0.5)(torch.zeros(1, 1, 2, 2), torch.tensor(1e8, dtype=F64))
        assert relative_error(D[0], (means * (weights / 8).view(3, 1, 1, 1)).sum(0)) < 1e-12

    def test_points_without_noise_give_the_nearest(self):
        points = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
        x = torch.tensor([-3.0, 0.4, 0.5, 9.0]).view(4, 1, 1, 1)
        D = Mixture(points, [1, 1, 3])(x, torch.tensor(0.0))
        assert D.flatten().tolist() == pytest.approx([-1.0, 0.0, 0.75, 1.0])  # 0.5 is a tie: (1 * 0 + 3 * 1) / 4


class TestIdeal:
    @given(seeds, st.integers(1, 40), st.integers(1, 50), st.floats(0.02, 100))
    @settings(max_examples=50)
    def test_is_the_definition_however_the_data_are_cut(self, seed, count, block, sigma):
        points = images(seed, count)
        x = points[torch.arange(4) % count] + sigma * images(seed + 1, 4)
        D = Ideal(points, block=block)(x, torch.tensor(sigma, dtype=F64))
        expected = brute_force(x, sigma, points, np.ones(count), 0.0)
        assert torch.allclose(D, expected, rtol=0, atol=1e-10)

    def test_finds_its_own_images_at_little_noise(self):
        points = images(1, 50)
        assert torch.equal(Ideal(points, block=7)(points, torch.tensor(0.002, dtype=F64)), points)
        assert torch.equal(Ideal(points, block=7)(points, torch.tensor(0.0)), points)

    def test_stays_in_the_hull_of_the_data(self):
        points = images(2, 50)
        denoised = Ideal(points)(images(3, 20) * 30, torch.tensor(5.0))
        clamped = denoised.clamp(points.amin(0), points.amax(0))
        assert (denoised - clamped).abs().max() < 1e-12

    def test_of_the_digits(self):
        digits = load_denoiser("ideal")
        assert digits.shape == IdealSpec().shape == (1, 8, 8) and len(digits.points) == 1797
        D = digits(torch.zeros(1, 1, 8, 8), torch.tensor(1e6))
        assert relative_error(D.flatten(), digits.points.double().mean(0)) < 1e-6

    def test_far_points_neither_overflow_nor_vanish(self):
        """Each block on its own underflows; the sums are relative to the nearest point of all."""
        points = torch.tensor([[1e3], [2e3], [-1e3], [5.0]], dtype=F64)
        mean = posterior_mean(
            torch.zeros(1, 1, dtype=F64), torch.full((1, 1), 1e-6, dtype=F64), points, torch.ones(4), 1
        )
        assert mean.item() == 5.0


class TestSpecs:
    def test_yaml_becomes_the_denoiser(self):
        one = load_denoiser({"kind": "gaussian", "mean": [[[0, 1], [2, 3]]], "std": 0.25})
        assert isinstance(one, Gaussian) and one.shape == (1, 2, 2) and one.std == 0.25
        two = load_denoiser({"kind": "mixture", "means": [-1, 1], "weights": [1, 3], "shape": [1, 1, 1]})
        assert isinstance(two, Mixture) and two.weights.tolist() == [0.25, 0.75]
        assert load_denoiser(GaussianSpec(mean=0.5, shape=(3, 4, 5))).shape == (3, 4, 5)

    @pytest.mark.parametrize(
        "data",
        [
            {"kind": "gaussian", "mean": [[[0.0, 1.0]]], "std": 0.25},
            {"kind": "mixture", "means": [-1, [[[0.5]]]], "weights": [1, 3], "shape": [1, 1, 1]},
            {"kind": "ideal"},
            "gaussian",
        ],
    )
    def test_specs_go_through_json_and_are_hashable(self, data):
        spec = parse(data)
        assert parse(spec.model_dump(mode="json")) == spec == parse(spec)
        assert hash(spec) == hash(parse(data))

    def test_shape_is_one_however_it_is_given(self):
        nested = [[[0.0, 1.0]]]
        assert parse({"kind": "gaussian", "mean": nested}) == parse(
            {"kind": "gaussian", "mean": nested, "shape": [1, 1, 2]}
        )
        assert MixtureSpec(means=(((((0.0, 1.0),),)),)).shape == (1, 1, 2)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"kind": "gausian"}, "unknown kind 'gausian'; allowed: 'gaussian', 'mixture', 'diracs', 'ideal'"),
            ({"kind": "gaussian", "sd": 1}, "sd: unknown key"),
            ({"kind": "gaussian", "std": -1}, "std"),
            ({"kind": "gaussian", "mean": math.nan}, "mean"),
            ({"kind": "gaussian", "mean": [[[1, 2], [3]]]}, "rectangular"),
            ({"kind": "gaussian", "mean": [1, 2], "shape": [3]}, r"one shape, such as \[C, H, W\]"),
            (
                {"kind": "gaussian", "mean": ["a"]},
                "mean: a mean is a finite number, or nested lists of them; we got 'a'",
            ),
            ({"kind": "gaussian", "shape": []}, "shape"),
            ({"kind": "gaussian", "mean": [[[1.0]]], "shape": [1, 8, 8]}, "one shape"),
            ({"kind": "mixture"}, "means: this key is required"),
            ({"kind": "mixture", "means": []}, "means"),
            ({"kind": "mixture", "means": [0, 1], "weights": [1]}, "one weight a mean; we got 1 for 2"),
            ({"kind": "mixture", "means": [0, 1], "weights": [1, 0]}, "weights"),
            ({"kind": "mixture", "means": [[[[1.0]]], [[[1.0, 2.0]]]]}, "one shape"),
            ({"kind": "ideal", "dataset": "imagenet"}, "dataset"),
            (3, "needs a `kind`|should be"),
        ],
    )
    def test_mistakes_are_named(self, data, message):
        with pytest.raises(InputError, match=message):
            load_denoiser(data)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Gaussian(0.0, 1.0), r"\[C, H, W\]"),
            (lambda: Gaussian(0.0, -1.0, (1, 1, 1)), "std"),
            (lambda: Gaussian(np.zeros((1, 2, 2)), 1.0, (1, 3, 3)), "image's shape"),
            (lambda: Mixture(torch.zeros(3)), r"\[K, \*shape\]"),
            (lambda: Mixture(torch.zeros(2, 1, 1, 1), [1.0]), "2 positive numbers"),
            (lambda: Ideal(torch.zeros(0, 1, 2, 2)), "N >= 1"),
            (lambda: Ideal(torch.full((1, 1, 2, 2), math.nan)), "finite"),
        ],
    )
    def test_objects_check_themselves(self, make, message):
        with pytest.raises(InputError, match=message):
            make()

    def test_specs_load_no_torch(self):
        code = "import sys, harness.denoisers.load as s; assert s.parse('ideal').shape == (1, 8, 8); "
        subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
