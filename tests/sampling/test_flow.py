"""Schedule and scaling `flow`: time and line of flow matching."""

import itertools

import pytest
import torch

from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from tests.problems import Mixture

FLOW = {"schedule": "flow", "scaling": "flow"}
SEEDS = list(range(5))


@pytest.fixture
def mixture():
    means = torch.randn([3, 1, 4, 4], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.2)


def run(denoiser, latents, **choices):
    return sample(denoiser, Sampler.model_validate({"steps": 9} | choices), SEEDS, latents=latents).images


def velocity(denoiser, x, t):
    """n - y as a network of flow matching gives it at x = (1 - t) y + t n."""
    denoised = denoiser.denoise(x / (1 - t), (t / (1 - t)).reshape(1, 1, 1, 1).expand(len(x), 1, 1, 1))
    return (x - denoised) / t


def test_euler_follows_the_velocity(mixture):
    """The loop of flow matching: x <- x + (t_next - t) v(x, t), from t of sigma_max down to 0."""
    sampler = Sampler.model_validate({"solver": "euler", "steps": 9} | FLOW)
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigmas = sampler.sigmas(mixture)[:9].double()
    times = torch.cat([sigmas / (1 + sigmas), torch.zeros(1, dtype=torch.float64)])
    x = times[0] * latents  # (1 - t) sigma z
    for t, t_next in itertools.pairwise(times):
        x = x + (t_next - t) * velocity(mixture, x, t)
    assert torch.allclose(run(mixture, latents, solver="euler", **FLOW), x, rtol=0, atol=1e-12)


def test_heun_follows_the_velocity(mixture):
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigmas = Sampler.model_validate({"steps": 9} | FLOW).sigmas(mixture)[:9].double()
    times = torch.cat([sigmas / (1 + sigmas), torch.zeros(1, dtype=torch.float64)])
    x = times[0] * latents
    for t, t_next in itertools.pairwise(times):
        first = velocity(mixture, x, t)
        guess = x + (t_next - t) * first
        second = velocity(mixture, guess, t_next) if t_next > 0 else first
        x = x + (t_next - t) * (first + second) / 2
    assert torch.allclose(run(mixture, latents, solver="heun", **FLOW), x, rtol=0, atol=1e-12)


def test_the_curve_is_the_same_as_under_other_schedules(mixture):
    """With enough steps every schedule reaches the same images; solvers in sigma do so at any number."""
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fine = run(mixture, latents, steps=400, solver="heun")
    assert torch.allclose(run(mixture, latents, steps=400, solver="heun", **FLOW), fine, atol=2e-3)
    few = run(mixture, latents, solver="dpmpp_2m")
    assert torch.allclose(run(mixture, latents, solver="dpmpp_2m", **FLOW), few, atol=1e-10)
