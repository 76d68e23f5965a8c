"""Exact solutions, laws of stochastic samplers, and identities between samplers."""

import math

import pytest
import torch

from harness.core.errors import SamplingError
from harness.sampling.noise import Noise
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from harness.sampling.stochasticity import Restart
from tests.problems import Diracs, Gaussian, Mixture
from tests.sampling.orders import SIGMA_FROM, SIGMA_TO, end_point, latents, make
from tests.sampling.orders import mixture as make_mixture

ODE = [member().kind for member in SOLVERS.members if not member().is_stochastic and not member.adaptive]
IN_SIGMA = ["ddim", "dpm_2", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m", "lms", "deis", "ipndm", "unipc"]


@pytest.fixture(scope="module")
def mixture():
    return make_mixture()


def draw(denoiser, seeds=range(5), **fields):
    return sample(denoiser, Sampler.model_validate(fields), seeds).images


def agree(a, b, tolerance=1e-11):
    return (a - b).abs().max() <= tolerance * a.abs().max()


@pytest.mark.parametrize("kind", ODE)
def test_gaussian_data_have_a_closed_form(kind):
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    unit = latents(denoiser, 4)
    ours, _ = end_point(denoiser, make(kind), 1000, unit)
    exact = denoiser.solution(unit * SIGMA_FROM, SIGMA_FROM, SIGMA_TO)
    assert (ours - exact).abs().max() < (4e-2 if make(kind).solver.convergence_order == 1 else 1e-5)


def test_heun_is_rk2_with_alpha_one():
    assert Sampler.model_validate({"solver": "heun"}) == Sampler.model_validate({"solver": {"kind": "rk2", "alpha": 1}})


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_churn_of_nothing_is_deterministic(mixture, solver):
    plain = sample(mixture, Sampler.model_validate({"solver": solver}), range(5))
    none = {"kind": "churn", "S_churn": 0, "S_noise": 1.5}
    outside = {"kind": "churn", "S_churn": 40, "S_tmin": 100.0}
    for stochasticity in (none, outside):
        churned = sample(mixture, Sampler.model_validate({"solver": solver, "stochasticity": stochasticity}), range(5))
        assert torch.equal(plain.images, churned.images)


def test_gamma_saturates():
    churn = Sampler.model_validate({"stochasticity": {"kind": "churn", "S_churn": 1000}}).stochasticity
    assert churn.gamma(1.0, 18) == pytest.approx(math.sqrt(2) - 1)
    assert churn.model_copy(update={"S_churn": 1.8}).gamma(1.0, 18) == pytest.approx(0.1)


def test_churn_leaves_a_gaussian_with_its_own_spread():
    """With exact denoisers, churn changes which sample comes out and not the distribution."""
    denoiser = Gaussian(mean=0.0, std=0.5, shape=(1, 1, 1))
    stochasticity = {"kind": "churn", "S_churn": 20}
    sampler = Sampler.model_validate({"stochasticity": stochasticity, "steps": 64})
    images = sample(denoiser, sampler, range(4000)).images
    assert images.std().item() == pytest.approx(0.5, abs=0.5 * 4 / math.sqrt(2 * 4000))
    assert images.mean().item() == pytest.approx(0.0, abs=0.5 * 4 / math.sqrt(4000))


class Lost(Gaussian):
    """NaN below a noise level, as a network of low precision may be."""

    below = math.inf

    def __call__(self, x, sigma, labels=None):
        denoised = super().__call__(x, sigma, labels)
        return torch.where(sigma.reshape(-1, 1, 1, 1) < self.below, torch.nan, denoised)


@pytest.mark.parametrize("below", [math.inf, 1.0])
@pytest.mark.parametrize("solver", ["rk45", "solve_ivp", "adaptive_sde", "heun"])
def test_a_network_that_gives_nan_is_told_as_that(solver, below):
    """An adaptive solver takes its next time from the drift, and must not blame the time."""
    denoiser = Lost(mean=0.3, std=0.5, shape=(1, 2, 2))
    denoiser.below = below
    sampler = Sampler.model_validate({"solver": solver} if solver != "heun" else {"solver": solver, "steps": 8})
    with pytest.raises(SamplingError, match=r"^the state is not finite") as caught:
        sample(denoiser, sampler, [0, 1])
    assert caught.value.step is not None


def test_alpha_above_one_may_evaluate_past_zero(mixture):
    sampler = Sampler.model_validate({"solver": {"kind": "rk2", "alpha": 4.0}, "steps": 5})
    with pytest.raises(SamplingError, match="at or below 0") as caught:
        sample(mixture, sampler, [0])
    assert caught.value.step == 0
    fine = Sampler.model_validate({"solver": {"kind": "rk2", "alpha": 1.1}, "steps": 40})
    assert torch.isfinite(sample(mixture, fine, [0]).images).all()


def test_one_step_lands_on_the_denoised_image(mixture):
    out = sample(mixture, Sampler(steps=1), [0])
    x = Noise([0], mixture.shape).latents().double() * 80
    assert torch.allclose(out.images, mixture(x, torch.tensor(80.0, dtype=torch.float64)), rtol=0, atol=1e-12)
    assert out.nfe.tolist() == [1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"kind": "lms", "order": 1}, "ddim"),
        ({"kind": "ipndm", "order": 1}, "ddim"),
        ({"kind": "deis", "order": 1}, "ddim"),
        ({"kind": "unipc", "order": 1, "corrector": False}, "ddim"),
        ("ddim", "euler"),
        ({"kind": "unipc", "order": 2, "variant": "bh2", "corrector": False}, "dpmpp_2m"),
        ({"kind": "dpm_2", "r": 1.0}, "heun"),
        ("ipndm_v", "lms"),
    ],
    ids=str,
)
def test_solvers_that_are_one(mixture, one, other):
    assert agree(draw(mixture, solver=one), draw(mixture, solver=other))


def test_unipc_predictor_of_order_three_is_dpmpp_3m_with_taylor_weights(mixture):
    """From exact starting values; the first steps of the two differ."""
    unit = latents(mixture, 4)
    solvers = ({"kind": "unipc", "order": 3, "corrector": False}, {"kind": "dpmpp_3m", "weights": "taylor"})
    one, other = (end_point(mixture, make(solver), 20, unit)[0] for solver in solvers)
    assert agree(one, other)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_ipndm_is_lms_on_equal_steps(mixture, order):
    one, other = (
        draw(mixture, solver={"kind": kind, "order": order}, discretization="linear", steps=30)
        for kind in ("lms", "ipndm")
    )
    assert agree(one, other)


def test_reverse_diffusion_without_noise_is_euler_in_the_variance(mixture):
    flow = {"kind": "reverse_diffusion", "probability_flow": True}
    one = draw(mixture, solver=flow, discretization="ve")
    assert agree(one, draw(mixture, solver="euler", discretization="ve", schedule="ve"))


@pytest.mark.parametrize("kind", IN_SIGMA)
def test_solvers_in_sigma_ignore_schedule_and_scaling(mixture, kind):
    plain = draw(mixture, solver=kind)
    for schedule in ("vp", "ve"):
        assert agree(plain, draw(mixture, solver=kind, schedule=schedule, scaling="vp"), 1e-8)


@pytest.mark.parametrize("kind", ["euler", "ddim", "heun", "dpmpp_2m", "lms", "unipc"])
def test_no_ancestral_noise_and_no_restart_are_deterministic(mixture, kind):
    plain = draw(mixture, solver=kind)
    for stochasticity in ({"kind": "ancestral", "eta": 0.0}, "restart"):
        assert torch.equal(plain, draw(mixture, solver=kind, stochasticity=stochasticity))


def test_ddpm_is_ddim_with_ancestral_noise(mixture):
    assert agree(draw(mixture, solver="ddpm"), draw(mixture, solver="ddim", stochasticity="ancestral"))


@pytest.mark.parametrize("kind", ["dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_sde_solvers_with_hardly_any_noise_are_the_ode_ones(mixture, kind):
    without = draw(mixture, solver=kind.removesuffix("_sde"))
    faint = draw(mixture, solver={"kind": kind, "eta": 1e-9})
    same_start = 3e-1 if kind == "dpmpp_3m_sde" else 1e-3  # the second step of 3M differs between its authors' versions
    assert (without - faint).abs().max() < same_start


@pytest.mark.parametrize("kind", IN_SIGMA)
def test_the_last_step_lands_on_the_denoised_image(mixture, kind):
    """Also in another schedule and scaling: at sigma = 0 the scaling is 1."""
    out = []
    denoise = mixture.denoise
    mixture.denoise = lambda x, sigma: out.append(denoise(x, sigma)) or out[-1]
    images = draw(mixture, solver=kind, schedule="vp", scaling="vp")
    del mixture.denoise
    assert agree(images, out[-1])


LAWFUL = [
    *({"solver": member().kind} for member in SOLVERS.members if member().is_stochastic and not member.adaptive),
    {"solver": {"kind": "ddpm", "variance": "large"}, "scaling": "vp"},
    {"solver": {"kind": "euler_maruyama", "beta": {"kind": "window", "S_tmin": 0.1, "S_tmax": 10.0}}},
    {"solver": "euler_maruyama", "schedule": "vp", "scaling": "vp"},
    {"solver": "heun", "stochasticity": {"kind": "churn", "S_churn": 40.0}},
    {"solver": "heun", "stochasticity": "ancestral"},
    {"solver": "dpmpp_2m", "stochasticity": {"kind": "ancestral", "eta": 0.5}},
    {"solver": "heun", "stochasticity": {"kind": "langevin", "snr": 0.05}},
    {
        "solver": "heun",
        "stochasticity": {
            "kind": "restart",
            "intervals": [
                {"t_min": 0.05, "t_max": 1.0, "K": 3, "steps": 12},
                {"t_min": 2.0, "t_max": 20.0, "K": 2, "steps": 12},
            ],
        },
    },
]

MORE_LAWFUL = [
    {"solver": {"kind": "dpmpp_2m_sde", "eta": 0.5}},
    {"solver": "reverse_diffusion", "schedule": "vp", "scaling": "vp"},
    {"solver": "unipc", "stochasticity": "ancestral"},
    {"solver": "reverse_diffusion", "stochasticity": {"kind": "langevin", "snr": 0.05}},
]
"""Each has a part of every kind in the list above."""


@pytest.mark.parametrize(
    "fields",
    [*LAWFUL, *(pytest.param(fields, marks=pytest.mark.slow) for fields in MORE_LAWFUL)],
    ids=lambda fields: str(fields)[:90],
)
def test_stochastic_samplers_reach_the_law_of_gaussian_data(fields):
    """Mean and spread within Monte-Carlo error at many steps."""
    denoiser, count = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4)), 600
    images = draw(denoiser, range(count), steps=300, **fields)
    n = images.numel()
    assert images.mean().item() == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(n))
    bias = 0.01  # what is left of the steps' own error at this number of them
    assert images.std().item() == pytest.approx(0.5, abs=0.5 * (4 / math.sqrt(2 * n) + bias))


@pytest.mark.parametrize("solver", ODE)
def test_ancestral_noise_takes_images_away_from_those_of_the_ode(solver):
    """The noise has to stay in the sample: at eta = 1 nothing of the latents is left."""
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    plain, noisy = (
        draw(denoiser, range(100), solver=solver, steps=60, stochasticity=noise)
        for noise in ("deterministic", "ancestral")
    )
    pair = torch.stack([plain.flatten(), noisy.flatten()])
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 0.1  # 1,600 numbers
    assert 0.4 < noisy.std().item() < 1


class Coarse(Mixture):
    """A denoiser that was trained at few levels, so that neighbours on a list may be the same."""

    def round_sigma(self, sigma):
        table = torch.logspace(-3, 2, 12, dtype=torch.float64).to(sigma.device)
        return table[(sigma.double()[..., None].log() - table.log()).abs().argmin(-1)]


@pytest.mark.parametrize("schedule", ["linear", "vp", "ve"])
@pytest.mark.parametrize("solver", ["heun", "lms", "dpmpp_2m", "deis", "unipc", "dpm_2"])
def test_ancestral_noise_where_a_denoiser_repeats_levels(solver, schedule):
    denoiser = Coarse(torch.tensor([-0.5, 0.5]).reshape(2, 1, 1, 1).double(), torch.tensor([0.5, 0.5]).double(), 0.2)
    images = draw(denoiser, range(20), solver=solver, schedule=schedule, steps=30, stochasticity="ancestral")
    assert torch.isfinite(images).all()


@pytest.mark.parametrize("time", ["t", "log_sigma"])
def test_adaptive_steps_of_one_number_do_not_get_stuck(time):
    """Its error may vanish by chance, which must not make the next step as long as all that is left."""
    for growth in (10.0, 2.0):
        solver = {"kind": "adaptive_sde", "time": time, "growth": growth}
        assert sample(Diracs((1, 1, 1)), Sampler.model_validate({"solver": solver}), range(12)).nfe.max() < 800


@pytest.mark.parametrize("time", ["t", "log_sigma"])
def test_the_adaptive_sde_reaches_the_law_as_its_tolerance_falls(time):
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    off = []
    for tolerance in (0.5, 0.1):
        solver = {"kind": "adaptive_sde", "rtol": tolerance, "atol": 0.05 * tolerance, "time": time}
        images = draw(denoiser, range(800), solver=solver)
        off.append(abs(images.std().item() / 0.5 - 1))
    assert off[1] < 4 / math.sqrt(2 * images.numel()) + 0.01
    assert images.mean().item() == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(images.numel()))
    assert off[1] < off[0]


def test_restart_goes_up_and_down_as_often_as_it_says(mixture):
    intervals = [{"t_min": 0.1, "t_max": 1.0, "K": 2, "steps": 4}]
    sampler = Sampler.model_validate({"stochasticity": {"kind": "restart", "intervals": intervals}, "steps": 10})
    out = sample(mixture, sampler, range(3))
    assert out.nfe.tolist() == [19 + 2 * 3 * 2] * 3
    assert isinstance(sampler.stochasticity, Restart)
    assert not agree(out.images, draw(mixture, range(3), steps=10), 1e-3)


def test_the_analytical_first_step_saves_one_evaluation(mixture):
    for kind in ("euler", "heun", "dpmpp_2m", "lms", "unipc", "deis"):
        with_it, without = (
            sample(mixture, Sampler.model_validate({"solver": kind, "afs": afs}), range(3)) for afs in (True, False)
        )
        assert (without.nfe - with_it.nfe).tolist() == [1, 1, 1]
        assert 0 < (with_it.images - without.images).abs().max() < 0.5


def test_the_analytical_first_step_is_close_for_unit_gaussian_data():
    """There eps = sigma xbar / (1 + sigma^2), which the assumed one exceeds by 1 / (2 sigma^2), 8e-5 at 80."""
    denoiser = Gaussian(mean=0.0, std=1.0, shape=(1, 2, 2))
    one, other = (draw(denoiser, solver="euler", afs=afs) for afs in (True, False))
    assert agree(one, other, 1e-4)


def test_the_analytical_first_step_is_the_first_that_is_evaluated(mixture):
    """Also where the first leg goes up by adding noise."""
    again = {"kind": "restart", "intervals": {"t_min": 20.0, "t_max": 60.0, "K": 1, "steps": 3}}
    levels = {"kind": "edm", "sigma_max": 20.0}
    one, other = (
        sample(
            mixture,
            Sampler.model_validate({"discretization": levels, "stochasticity": again, "steps": 6, "afs": afs}),
            range(3),
        )
        for afs in (True, False)
    )
    assert (other.nfe - one.nfe).tolist() == [1, 1, 1]


def test_langevin_with_norms_of_the_sample_spreads_too_far():
    """As its docstring says: by about (d + 4) / d in variance, at d = 16."""
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    corrector = {"kind": "langevin", "snr": 0.1, "step": "norms"}
    images = draw(denoiser, range(1000), steps=100, stochasticity=corrector)
    assert 1.12 < images.var().item() / 0.25 < 1.35


def test_clipping_keeps_the_denoised_image_in_its_range(mixture):
    """Every level's D is cut, so the last image is; where D is inside, nothing changes."""
    clipped, free = (draw(mixture, clip_denoised=clip, solver="ddim") for clip in (True, False))
    assert free.abs().max() > 1
    assert clipped.abs().max() <= 1
    quiet = Gaussian(mean=0.1, std=0.01, shape=(1, 2, 2))
    one, other = (
        draw(quiet, clip_denoised=clip, steps=5, discretization={"kind": "edm", "sigma_max": 1.0})
        for clip in (True, False)
    )
    assert torch.equal(one, other)
