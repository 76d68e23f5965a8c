"""Order of convergence, exact solutions and identities between samplers."""

import math

import numpy as np
import pytest
import torch

from harness.sampling.dynamics import Dynamics
from harness.sampling.noise import Noise
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import sample, trajectory
from tests.problems import Gaussian, Mixture

SIGMA_FROM, SIGMA_TO = 20.0, 0.5
STEPS = (32, 64, 128, 256)


@pytest.fixture(scope="module")
def mixture():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=generator)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.4)


def end_point(denoiser, sampler, steps, latents):
    """The unscaled state at SIGMA_TO, without the last step to zero."""
    chosen = sampler.model_copy(update={"steps": steps + 1})
    route = chosen.route(denoiser)
    dynamics = Dynamics(denoiser, route.curve, chosen.scaling, Noise(range(len(latents)), denoiser.shape))
    x = latents * route.sigmas[0] * dynamics.s(route.times[0])
    states = [step.here.xbar for step in trajectory(dynamics, chosen, route.times, x)]
    assert route.sigmas[-1].item() == pytest.approx(SIGMA_TO)
    return states[-1]


def make(solver, schedule, scaling):
    disc = {"kind": "edm", "rho": 7.0, "sigma_min": SIGMA_TO, "sigma_max": SIGMA_FROM}
    return Sampler.model_validate({"solver": solver, "discretization": disc, "schedule": schedule, "scaling": scaling})


@pytest.fixture(scope="module")
def truth(mixture):
    """A converged end point, the same for all schedules and scalings: Heun with very many steps, extrapolated."""
    latents = Noise(range(6), mixture.shape).latents().double()
    fine, finer = (end_point(mixture, make("heun", "linear", "none"), n, latents) for n in (4096, 8192))
    assert (finer - fine).abs().max() < 1e-6
    return latents, finer + (finer - fine) / 3


@pytest.mark.parametrize("scaling", ["none", "vp"])
@pytest.mark.parametrize("schedule", ["linear", "ve", "vp"])
@pytest.mark.parametrize(
    ("solver", "order"),
    [("euler", 1), ("heun", 2), ({"kind": "rk2", "alpha": 0.5}, 2), ({"kind": "rk2", "alpha": 2 / 3}, 2)],
    ids=["euler", "heun", "midpoint", "ralston"],
)
def test_order_of_convergence(mixture, truth, solver, order, schedule, scaling):
    latents, exact = truth
    sampler = make(solver, schedule, scaling)
    errors = [(end_point(mixture, sampler, n, latents) - exact).square().mean().sqrt().item() for n in STEPS]
    slope = -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.3, (slope, errors)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_gaussian_data_have_a_closed_form(solver):
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    latents = Noise(range(4), denoiser.shape).latents().double()
    ours = end_point(denoiser, make(solver, "linear", "none"), 4000, latents)
    exact = denoiser.solution(latents * SIGMA_FROM, SIGMA_FROM, SIGMA_TO)
    assert (ours - exact).abs().max() < {"euler": 2e-2, "heun": 1e-5}[solver]


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


def test_alpha_above_one_may_evaluate_past_zero(mixture):
    from harness.errors import SamplingError

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
