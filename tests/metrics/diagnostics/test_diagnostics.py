"""Diagnostics against closed forms, and on any denoiser."""

import itertools
import math

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.metrics import METRICS
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics import (
    ConvergenceOrder,
    Curvature,
    DenoisingError,
    Detail,
    EndPointError,
    JacobianAsymmetry,
    PixelContrast,
    RoundTripError,
    TruncationError,
    TruncationUnevenness,
)
from harness.metrics.diagnostics.base import Diagnostic
from harness.metrics.diagnostics.images import images_for
from harness.sampling.sampler import Sampler
from tests.problems import Analytic, Gaussian
from tests.sampling.orders import latents, mixture, slope

SEEDS = list(range(5))
DIAGNOSTICS = [member for member in METRICS.members if issubclass(member, Diagnostic)]


def gaussian():
    return Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))


def sampler(**fields):
    return Sampler.model_validate(fields)


def observe(measure, denoiser, seeds=SEEDS, batch=None, **fields):
    return measure.observe(SamplingJob(denoiser, sampler(**fields), seeds, batch=batch))


def ends(choice, denoiser):
    levels = choice.sigmas(denoiser)
    return levels[0].item(), levels[-1].item()


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_end_point_error_of_gaussian_data(solver):
    denoiser, chosen = gaussian(), sampler(solver=solver, steps=9)
    unit = latents(denoiser, 5)
    top, bottom = ends(chosen, denoiser)
    exact = denoiser(denoiser.solution(unit * top, top, bottom), torch.tensor(bottom, dtype=torch.float64))
    images = harness.sample(denoiser, chosen, SEEDS).images
    expected = (images - exact).square().flatten(1).mean(1).sqrt()
    seen = EndPointError(reference=2000).observe(SamplingJob(denoiser, chosen, SEEDS))
    assert torch.allclose(seen.values, expected, rtol=1e-3)
    assert seen.nfe.tolist() == harness.sample(denoiser, chosen, SEEDS).nfe.tolist()


def test_end_point_error_of_an_sde_is_on_its_own_path():
    denoiser, steps = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4)), (16, 32, 64, 128)  # one mode: no sample flips
    known = {}
    errors = [
        EndPointError(reference=1024)
        .observe(SamplingJob(denoiser, sampler(solver="dpmpp_2m_sde", steps=n), list(range(40)), converged=known))
        .values
        for n in steps
    ]
    found = -slope(steps, [error.square().mean().sqrt().item() for error in errors])
    assert abs(found - 1) < 0.3


def test_the_converged_trajectory_is_computed_once():
    denoiser = mixture()
    known = {}
    tasks = [
        SamplingJob(denoiser, sampler(solver=solver, steps=5), SEEDS, converged=known) for solver in ("euler", "heun")
    ]
    first, again = (EndPointError(reference=64).observe(task) for task in tasks)
    assert first.rows == 5 * (5 + 127)
    assert again.rows == 5 * 9
    assert torch.equal(again.values, EndPointError(reference=64).observe(tasks[1]._replace(converged=None)).values)


class ByClass(Analytic):
    """Gaussians of unit variance around their class's number."""

    label_dim = 10

    def __call__(self, x, sigma, labels=None):
        mean = labels.double().argmax(1).reshape(-1, 1, 1, 1)
        return mean + (x - mean) / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)


def test_converged_trajectories_of_other_labels_are_others():
    """Also of one-hot labels that are too many to be written out."""
    denoiser, known, seeds = ByClass((1, 1, 1)), {}, list(range(200))
    for shift in (0, 1):
        labels = torch.eye(10)[(torch.arange(200) // 67 + shift * (torch.arange(200) == 100)) % 10]
        task = SamplingJob(denoiser, sampler(steps=16), seeds, labels, converged=known)
        apart = EndPointError().observe(task._replace(converged=None)).values
        assert torch.equal(EndPointError().observe(task).values, apart)


def test_the_truth_of_a_clipping_sampler_clips():
    denoiser = Gaussian(mean=1.0, std=0.5, shape=(1, 4, 4))
    for measure in (EndPointError(), TruncationError()):
        coarse, fine = (observe(measure, denoiser, steps=n, clip_denoised=True).values.mean().item() for n in (10, 40))
        assert fine < coarse / 4


@pytest.mark.parametrize(
    "levels",
    [
        {"kind": "explicit", "sigmas": [60.0, 20.0, 6.0, 2.0, 0.6, 0.2, 0.06, 0.02]},
        {"kind": "iddpm"},
        {"kind": "optimized", "reference": 16, "seeds": 4},
    ],
    ids=lambda levels: levels["kind"],
)
def test_an_sde_on_levels_that_cannot_be_refined(levels):
    """Its truth is on the same path, between the same ends: on another, a sample is 0.7 off."""
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))  # of one mode, so that no sample ends at another
    steps = {} if levels["kind"] == "explicit" else {"steps": 14}
    seen = observe(EndPointError(), denoiser, discretization=levels, solver="dpmpp_2m_sde", **steps)
    assert 0 < seen.values.mean() < 0.4
    assert seen.values.max() < 0.6


def test_networks_of_others_keep_no_graph():
    """Parameters that could be trained, as in a user's own module."""

    class Net(torch.nn.Module):
        shape, label_dim, sigma_min, sigma_max, cost = (1, 2, 2), 0, 0.002, 80.0, 1
        dtype, device = torch.float64, torch.device("cpu")

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))

        def forward(self, x, sigma, labels=None):
            return x * self.scale / (self.scale + sigma.reshape(-1, 1, 1, 1) ** 2)

        def round_sigma(self, sigma):
            return sigma

    for measure in (
        EndPointError(),
        ConvergenceOrder(),
        TruncationError(),
        Curvature(points=16),
        JacobianAsymmetry(),
        RoundTripError(),
    ):
        assert not observe(measure, Net(), steps=8).values.requires_grad
    assert not observe(TruncationError(), Net(), steps=4, solver="solve_ivp").values.requires_grad


def test_levels_are_found_for_every_measure_of_trajectories():
    levels = {"kind": "optimized", "reference": 16, "seeds": 4}
    for measure in (EndPointError(), TruncationError(), Curvature(points=16), JacobianAsymmetry(), RoundTripError()):
        assert torch.isfinite(observe(measure, mixture(), discretization=levels, steps=5).values).all()


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_fitted_orders(solver, order):
    seen = observe(ConvergenceOrder(), mixture(), solver=solver, steps=64)
    assert torch.isfinite(seen.values).all()
    assert seen.values.median().item() == pytest.approx(order, abs=0.4)
    assert seen.nfe.tolist() == [{"heun": 127}.get(solver, 64)] * 5


def test_truncation_error_of_gaussian_data():
    """One Euler step from the exact state against the closed form, level by level."""
    denoiser, chosen = gaussian(), sampler(solver="euler", steps=7)
    seen = TruncationError(substeps=200).observe(SamplingJob(denoiser, chosen, SEEDS))
    unit, sigmas = latents(denoiser, 5), chosen.sigmas(denoiser)
    assert torch.equal(seen.profile.levels, sigmas[:-1])
    for index, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        x = denoiser.solution(unit * sigmas[0], sigmas[0], sigma)
        one = x + (sigma_next - sigma) / sigma * (x - denoiser(x, sigma))
        missed = (one - denoiser.solution(x, sigma, sigma_next)).square().flatten(1).mean(1).sqrt()
        assert torch.allclose(seen.profile.values[:, index], missed, rtol=2e-3, atol=1e-7)
    assert torch.allclose(seen.values, seen.profile.values.mean(1))


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 2), ("heun", 3), ("dpmpp_2m", 3), ({"kind": "unipc", "order": 2}, 3)], ids=str
)
def test_one_step_errs_by_one_power_more_than_all(solver, order):
    """A multistep solver finds exact points in its history."""
    levels = {"kind": "edm", "sigma_min": 0.5, "sigma_max": 20.0}
    errors = []
    for n in (32, 64, 128):
        seen = observe(TruncationError(substeps=12), mixture(), solver=solver, discretization=levels, steps=n)
        errors.append(seen.profile.values[:, n // 3 :].mean().item())
    assert -slope((32, 64, 128), errors) == pytest.approx(order, abs=0.45)


def test_trajectories_of_a_single_point_are_straight_in_sigma_alone():
    point = Gaussian(mean=0.3, std=0.0, shape=(1, 2, 2))
    straight = observe(Curvature(), point).values
    bent = observe(Curvature(), point, schedule="vp", scaling="vp", discretization="vp").values
    assert straight.max() < 1e-6
    assert bent.min() > 0.1


def test_curvature_of_gaussian_data():
    """Against a fine quadrature of the closed form."""
    denoiser, v = gaussian(), 0.25
    seen = observe(Curvature(points=1000, substeps=2), denoiser, SEEDS)
    t = torch.logspace(math.log10(0.002), math.log10(80.0), 200_001, dtype=torch.float64)
    unit = (t**2 + v).sqrt()  # every sample's deviation from the mean has this shape
    mean = (unit[-1] - unit[0]) / (t[-1] - t[0])
    square = torch.trapezoid((t / unit - mean).square(), t) / torch.trapezoid((t / unit).square(), t)
    assert torch.allclose(seen.values, square.sqrt().expand(5), rtol=2e-3)


def test_the_papers_choice_is_the_straightest_on_two_diracs():
    denoiser = harness.load_denoiser("diracs")
    choices = {
        "vp": {"schedule": "vp", "scaling": "vp", "discretization": "vp"},
        "ve": {"schedule": "ve", "discretization": "ve"},
        "linear": {},
    }
    found = {name: observe(Curvature(), denoiser, list(range(32)), **fields) for name, fields in choices.items()}
    curvature = {name: seen.values.mean().item() for name, seen in found.items()}
    assert curvature["linear"] < 0.5 * min(curvature["vp"], curvature["ve"])
    assert max(curvature.values()) <= 1
    paths = found["linear"].paths
    assert paths.x.shape == (32, len(paths.times))
    assert torch.allclose(paths.x[:, -1].abs(), torch.ones(32, dtype=torch.float64), atol=0.02)


class Linear(Analytic):
    """D = A x, whose Jacobian is A."""

    def __init__(self, matrix, differentiable=True):
        super().__init__((1, 2, 2))
        self.matrix, self.differentiable = matrix, differentiable

    def denoise(self, x, sigma):
        out = (x.flatten(1) @ self.matrix.T).reshape(x.shape)
        return out if self.differentiable else out.detach()


@pytest.mark.parametrize("differentiable", [True, False], ids=["gradients", "differences"])
def test_asymmetry_of_a_known_jacobian(differentiable):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(4, 4, dtype=torch.float64, generator=generator) * 0.3
    expected = torch.linalg.norm(matrix - matrix.T) / 2 / torch.linalg.norm(matrix)
    seen = observe(JacobianAsymmetry(probes=400), Linear(matrix, differentiable), steps=3)
    assert seen.profile.values.mean().item() == pytest.approx(expected.item(), rel=0.1)
    symmetric = observe(JacobianAsymmetry(), Linear(matrix + matrix.T, differentiable), steps=3)
    assert symmetric.values.max() < 1e-4
    skew = observe(JacobianAsymmetry(), Linear(matrix - matrix.T, differentiable), steps=3)
    assert skew.values.min() > 1 - 1e-4


def test_differences_of_a_network_in_single_precision_see_little_rounding():
    denoiser = harness.load_denoiser("digits-edm", dtype="float32")

    class Black(type(denoiser)):
        def __call__(self, *args):
            with torch.no_grad():
                return denoiser(*args)

    black = Black.__new__(Black)
    black.__dict__.update(denoiser.__dict__)
    one, other = (observe(JacobianAsymmetry(probes=8), each, [0, 1], steps=4).profile for each in (denoiser, black))
    assert torch.allclose(one.values, other.values, rtol=0.1, atol=0.01)


def test_levels_of_a_profile_fall_also_where_churn_steps_above_the_last():
    churn = {"stochasticity": {"kind": "churn", "S_churn": 40.0, "S_tmax": 2.0}}
    levels = observe(JacobianAsymmetry(probes=1), mixture(), steps=20, **churn).profile.levels
    assert (levels.diff() <= 0).all()


def test_exact_denoisers_are_conservative():
    for denoiser in (mixture(), gaussian(), harness.load_denoiser("ideal"), harness.load_denoiser("diracs")):
        assert observe(JacobianAsymmetry(probes=2), denoiser, steps=6).values.max() < 1e-6


def test_round_trips_get_better_with_steps():
    denoiser = mixture()
    errors = [observe(RoundTripError(), denoiser, steps=n).values.mean().item() for n in (10, 20, 40)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_denoising_error_of_gaussian_data():
    """The least mean square of all is v sigma^2 / (v + sigma^2)."""
    denoiser, seeds = Gaussian(mean=0.0, std=0.5, shape=(1, 8, 8)), list(range(200))
    levels = {"kind": "explicit", "sigmas": [20.0, 1.0, 0.3]}
    seen = observe(DenoisingError(images="samples"), denoiser, seeds, discretization=levels)
    for sigma, values in zip((20.0, 1.0, 0.3), seen.profile.values.T, strict=True):
        least = math.sqrt(0.25 * sigma**2 / (0.25 + sigma**2))
        assert values.square().mean().sqrt().item() == pytest.approx(least, rel=0.03)
    for name in ("noisy", "denoised"):
        assert seen.pictures[name].shape == (8, 3, 1, 8, 8)
        assert seen.pictures[name].dtype == torch.uint8
    assert seen.nfe.tolist() == [0] * 200  # nothing is sampled


ON_IMAGES = [
    EndPointError(reference=32),
    ConvergenceOrder(doublings=1, reference=64),
    TruncationError(substeps=3),
    Curvature(points=16),
    JacobianAsymmetry(probes=2),
    RoundTripError(images="digits"),
    DenoisingError(),
    TruncationUnevenness(substeps=3),
    Detail(),
    PixelContrast(),
]


def test_the_list_of_measures_is_the_one_tested():
    assert {type(measure) for measure in ON_IMAGES} == set(DIAGNOSTICS)


@pytest.mark.parametrize("measure", ON_IMAGES, ids=lambda measure: measure.name)
@pytest.mark.parametrize("source", ["digits-vp", "ideal"])
def test_every_measure_runs_on_networks_and_leaves_samples_alone(measure, source):
    denoiser = harness.load_denoiser(source)
    chosen = sampler(steps=4)
    whole = measure.observe(SamplingJob(denoiser, chosen, [0, 1, 2, 3], batch=2))
    part = measure.observe(SamplingJob(denoiser, chosen, [3, 1], batch=2))
    assert whole.values.shape == whole.nfe.shape == (4,)
    assert whole.values.dtype == torch.float64
    assert torch.isfinite(whole.values).all()
    assert torch.allclose(part.values, whole.values[[3, 1]], rtol=1e-4, atol=1e-6)
    assert whole.rows > 0
    if whole.profile is not None:
        assert whole.profile.values.shape == (4, len(whole.profile.levels))
        assert measure.by_level or isinstance(measure, TruncationUnevenness)  # which is a number about levels


def test_identities_cover_what_changes_the_numbers():
    assert EndPointError().identity == EndPointError(samples=8, series=("one",)).identity
    assert EndPointError().identity != EndPointError(reference=300).identity
    names = {(measure().identity, measure().method) for measure in DIAGNOSTICS}
    assert len(names) == len(DIAGNOSTICS)
    assert TruncationUnevenness().identity == TruncationError().identity  # one measurement serves both


CHURN = {"stochasticity": {"kind": "churn", "S_churn": 10.0}}


@pytest.mark.parametrize(
    ("measure", "fields", "message"),
    [
        (EndPointError(), CHURN, "noise of stochasticity 'churn' has none"),
        (EndPointError(), {"solver": "ddpm"}, "noise of solver 'ddpm' has none"),
        (ConvergenceOrder(), {"solver": "rk45"}, "which solver 'rk45' with discretization 'edm' does not let it do"),
        (ConvergenceOrder(), {"discretization": "optimized"}, "discretization 'optimized'"),
        (TruncationError(), {"solver": "dpmpp_2m_sde"}, "'dpmpp_2m_sde' draws noise"),
        *((measure, {"steps": 1}, "needs a step beside the last one") for measure in (TruncationError(), Curvature())),
        (EndPointError(), {"steps": 1}, "needs a step beside the last one"),
        (
            EndPointError(),
            {"steps": 65},
            "compares 65 steps with a trajectory of 256, .* reference: 260 or more",
        ),
        (ConvergenceOrder(), {"steps": 128}, "compares 512 steps with a trajectory of 1024"),
        (ConvergenceOrder(), {"discretization": "iddpm"}, "discretization 'iddpm'"),
        (
            JacobianAsymmetry(),
            {"stochasticity": {"kind": "restart", "intervals": {"t_min": 1.0, "t_max": 2.0}}},
            "restart",
        ),
        (Curvature(), CHURN, "'churn' draws noise"),
        (RoundTripError(), CHURN, "'churn' draws noise"),
        (JacobianAsymmetry(), {"solver": "rk45"}, "use a solver with fixed steps"),
    ],
    ids=str,
)
def test_samplers_that_a_measure_says_nothing_about(measure, fields, message):
    with pytest.raises(InputError, match=message):
        measure.check(sampler(**fields))


def test_images_of_another_shape():
    with pytest.raises(InputError, match=r"images 'digits' are \[1, 8, 8\]"):
        observe(DenoisingError(), gaussian())


def test_own_classes_are_those_of_the_whole_data_set():
    """And not of the digits that happen to be in a chunk."""
    denoiser = ByClass((1, 8, 8))
    denoiser.label_dim = 9
    for seeds in ([0, 1, 2], [0, 1, 2, 9]):
        given = images_for("digits", SamplingJob(denoiser, sampler(), seeds))
        assert given.labels is None
    denoiser.label_dim = 10
    assert images_for("digits", SamplingJob(denoiser, sampler(), [0, 1, 2])).labels == [0, 1, 2]
