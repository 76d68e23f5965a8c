"""Runs of one solver between two noise levels of a mixture, and the exact states there: what orders are fitted on."""

import numpy as np
import torch
from scipy.integrate import solve_ivp

from harness.sampling.dynamics import Dynamics
from harness.sampling.noise import Noise
from harness.sampling.sampler import Sampler
from tests.problems import Mixture

SIGMA_FROM, SIGMA_TO = 20.0, 0.5


def mixture():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=generator)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.4)


def make(solver, schedule="linear", scaling="none", **fields):
    levels = {"kind": "edm", "rho": 7.0, "sigma_min": SIGMA_TO, "sigma_max": SIGMA_FROM}
    fields = {"discretization": levels, "schedule": schedule, "scaling": scaling, **fields}
    return Sampler.model_validate({"solver": solver, **fields})


def latents(denoiser, count):
    return Noise(range(count), denoiser.shape).latents().double()


def exact(denoiser, unit, sigmas):
    """The states without scaling at falling noise levels [K], by SciPy at tolerance 1e-12: [K, N, C, H, W]."""

    def slope(sigma, flat):
        x = torch.from_numpy(flat).reshape(unit.shape)
        return ((x - denoiser(x, torch.tensor(sigma, dtype=torch.float64))) / sigma).flatten().numpy()

    start = (unit * sigmas[0]).flatten().numpy()
    found = solve_ivp(slope, (sigmas[0], sigmas[-1]), start, "DOP853", sigmas, rtol=1e-12, atol=1e-12)
    return torch.from_numpy(found.y.T).reshape(len(sigmas), *unit.shape)


def end_point(denoiser, sampler, steps, unit, *, from_exact=True):
    """The unscaled state at SIGMA_TO after so many steps, without the one to zero, and the evaluations.

    A multistep method gets exact starting values: its first states, and with them its carry, are the exact ones.
    """
    sampler = sampler.model_copy(update={"steps": steps + 1})
    time_steps = sampler.time_steps(denoiser)
    noise = Noise(range(len(unit)), denoiser.shape)
    dynamics = Dynamics(denoiser, time_steps.curve, sampler.scaling, noise, levels=(SIGMA_FROM, SIGMA_TO))
    past = sampler.solver.history if from_exact else 0
    given = exact(denoiser, unit, time_steps.sigmas[: past + 1].tolist()) if past else None
    x, carry = unit * SIGMA_FROM * dynamics.s(time_steps.times[0]), None
    for k in range(steps):
        x, carry = sampler.solver(dynamics, dynamics.at(x, time_steps.times[k]), time_steps.times[k + 1], carry)
        if k < past:
            carry = sampler.solver.rebased(carry, given[k], given[k + 1])
            x = given[k + 1] * dynamics.s(time_steps.times[k + 1])
    assert abs(time_steps.sigmas[-1].item() - SIGMA_TO) < 1e-12
    return x / dynamics.s(time_steps.times[steps]), dynamics.nfe


def rms(difference):
    return difference.square().mean().sqrt().item()


def slope(sizes, errors):
    """The power of the size in the error."""
    return np.polyfit(np.log(sizes), np.log(errors), 1)[0]
