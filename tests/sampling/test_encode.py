"""Inversion: up and down again along the same trajectory."""

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.sampling.sampler import Sampler
from tests.problems import Gaussian
from tests.sampling.orders import latents, mixture, rms, slope


def round_trip(denoiser, sampler, images):
    up = harness.encode(denoiser, sampler, images)
    return rms(harness.sample(denoiser, sampler, range(len(images)), latents=up.latents).images - images)


def images_of(denoiser, count=6):
    return harness.sample(denoiser, Sampler(steps=200), range(count)).images


def test_gaussian_latents_have_a_closed_form():
    denoiser = Gaussian(mean=0.3, std=0.5, shape=(1, 4, 4))
    images = 0.3 + 0.5 * latents(denoiser, 4)
    up = harness.encode(denoiser, Sampler(steps=400), images)
    exact = denoiser.solution(images, 0.0, 80.0) / 80.0
    assert (up.latents - exact).abs().max() < 3e-4
    assert up.nfe.tolist() == [2 * 399 + 1] * 4


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2s", 2)])
def test_the_round_trip_error_falls_with_the_order_of_the_solver(solver, order):
    denoiser = mixture()
    images, steps = images_of(denoiser), (64, 128, 256)
    errors = [round_trip(denoiser, Sampler.model_validate({"solver": solver, "steps": n}), images) for n in steps]
    assert -slope(steps, errors) > order - 0.3, errors


@pytest.mark.parametrize(
    "fields",
    [{"solver": "rk45"}, {"solver": "solve_ivp"}, {"solver": "heun", "schedule": "vp", "scaling": "vp", "steps": 400}],
    ids=str,
)
def test_other_solvers_and_spaces_go_there_and_back(fields):
    denoiser = mixture()
    images = images_of(denoiser)
    assert round_trip(denoiser, Sampler.model_validate(fields), images) < 2e-3


@pytest.mark.parametrize(
    "space",
    [
        {"schedule": "ve", "discretization": "ve"},
        {"schedule": "vp", "scaling": "vp", "discretization": "vp"},
    ],
    ids=lambda space: space["schedule"],
)
def test_the_last_step_is_undone_by_the_solvers_own(space):
    """With these schedules it is one step of Euler's method in (x, t), which does not land on D."""
    denoiser = mixture()
    images = images_of(denoiser)
    errors = [round_trip(denoiser, Sampler.model_validate({**space, "steps": n}), images) for n in (100, 400)]
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 8 or errors[1] < 1e-12


def test_latents_of_images_are_those_that_led_to_them():
    denoiser, sampler = mixture(), Sampler(steps=300)
    unit = latents(denoiser, 5)
    images = harness.sample(denoiser, sampler, range(5), latents=unit).images
    assert rms(harness.encode(denoiser, sampler, images).latents - unit) < 2e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stochasticity": "ancestral"}, "stochasticity 'ancestral' draws noise"),
        ({"solver": "dpmpp_sde"}, "solver 'dpmpp_sde' draws noise"),
    ],
)
def test_samplers_with_noise_are_refused(fields, message):
    denoiser = mixture()
    with pytest.raises(InputError, match=message):
        harness.encode(denoiser, Sampler.model_validate(fields), torch.zeros(1, *denoiser.shape))


def test_inputs_that_do_not_fit():
    denoiser = mixture()
    with pytest.raises(InputError, match=r"images must be \[N, 1, 2, 2\]; we got \[2, 1, 3, 3\]"):
        harness.encode(denoiser, Sampler(), torch.zeros(2, 1, 3, 3))
    with pytest.raises(InputError, match="one seed an image"):
        harness.encode(denoiser, Sampler(), torch.zeros(2, 1, 2, 2), seeds=[1])
