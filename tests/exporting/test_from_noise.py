"""Samplers that start at t = 1 of flow matching, where sigma is infinite, for other tools."""

import json

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.exporting.scheduler_config import import_scheduler
from harness.sampling.noise import Noise
from harness.sampling.sampler import Sampler

FLOW = {"discretization": {"kind": "flow", "shift": 3.0}, "schedule": "flow", "scaling": "flow", "steps": 6}
SEEDS = range(4)


@pytest.fixture
def denoiser():
    return harness.load_denoiser({"kind": "mixture", "means": [-1.0, 0.5], "std": 0.2, "shape": [1, 4, 4]})


def sampler(solver):
    return Sampler.model_validate({"solver": solver, **FLOW})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_diffusers_starts_from_the_noise_itself(denoiser, solver):
    names = {}
    exec(harness.export(sampler(solver), denoiser, "diffusers"), names)
    ours = harness.sample(denoiser, sampler(solver), seeds=SEEDS).images
    given = torch.as_tensor
    latents = Noise(SEEDS, denoiser.shape).latents().double()
    theirs = names["sample"](lambda x, sigma: denoiser(x, given(sigma, dtype=torch.float64)), latents)
    assert torch.allclose(theirs.double(), ours, atol=1e-5)
    read = import_scheduler(json.loads(json.dumps(names["CONFIG"]))).sampler
    assert torch.equal(read.sigmas(denoiser), sampler(solver).sigmas(denoiser))


def test_lists_begin_at_infinity_or_time_one(denoiser):
    told = json.loads(harness.export(sampler("euler"), denoiser, "sigmas"))
    assert told["sigmas"][0] == "inf" and told["sigmas"][-1] == 0.0
    nodes = json.loads(harness.export(sampler("euler"), denoiser, "comfyui"))
    times = [float(each) for each in nodes["sigmas"]["inputs"]["sigmas"].split(",")]
    assert times[0] == 1.0 and times[-1] == 0.0 and times == sorted(times, reverse=True)


@pytest.mark.parametrize("to", ["python", "k-diffusion"])
def test_tools_without_such_a_level_say_what_to_do(denoiser, to):
    with pytest.raises(InputError, match="t_max below 1"):
        harness.export(sampler("euler"), denoiser, to)
