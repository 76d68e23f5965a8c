"""The truth that samplers are measured against: trajectories followed with so many steps that more change nothing."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from harness.errors import InputError, SamplingError
from harness.laboratory.measure import Task
from harness.sampling.denoiser import Denoiser
from harness.sampling.discretizations import EDM
from harness.sampling.discretizations.levels import Range
from harness.sampling.dynamics import Dynamics
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.start import start
from harness.sampling.trajectory import trajectory

KEPT = 32
"""End points kept for a denoiser: the trials of a grid ask for the same ones again."""

_kept: WeakKeyDictionary[Denoiser, dict[str, "EndPoints"]] = WeakKeyDictionary()


class EndPoints(NamedTuple):
    """Converged images [N, C, H, W], and the network rows that they took when they were computed."""

    images: Tensor
    rows: int


def check_path(sampler: Sampler, purpose: str) -> None:
    """A converged trajectory belongs to the ODE, or to an SDE solver on its Brownian path.

    Raises:
        InputError: noise that is not tied to a path.
    """
    if sampler.stochasticity.draws or (sampler.solver.draws and not sampler.solver.declared):
        axis = "stochasticity" if sampler.stochasticity.draws else "solver"
        kind = sampler.stochasticity.kind if sampler.stochasticity.draws else sampler.solver.kind
        raise InputError(
            f"{purpose} compares with a converged trajectory, and the noise of {axis} '{kind}' has none; use an ODE "
            "solver, or an SDE solver with a strong order such as 'dpmpp_2m_sde'"
        )


def check_ode(sampler: Sampler, purpose: str) -> None:
    """Some measures follow the ODE.

    Raises:
        InputError: a sampler that draws noise.
    """
    if sampler.stochasticity.draws or sampler.solver.draws:
        kind = sampler.stochasticity.kind if sampler.stochasticity.draws else sampler.solver.kind
        raise InputError(f"{purpose} follows the ODE, and '{kind}' draws noise; use an ODE solver such as 'heun'")


def end_points(task: Task, steps: int) -> EndPoints:
    """Where the task's own latents end when followed with very many steps over the sampler's own range.

    The ODE is followed by Heun's method in sigma with the levels of eq. 5 and a last step to the denoised image; an SDE
    solver by itself, on the same Brownian path. What is the same for several samplers is computed once.
    """
    reference = _reference(task, steps)
    known = _kept.setdefault(task.denoiser, {})
    key = f"{reference.model_dump_json()}|{task.seeds}|{task.labels}|{task.device}|{task.batch}"
    if key in known:
        return known[key]._replace(rows=0)
    out = sample(task.denoiser, reference, task.seeds, task.labels, device=task.device, batch=task.batch)
    if len(known) >= KEPT:
        del known[next(iter(known))]
    known[key] = EndPoints(out.images, out.rows)
    return known[key]


def _reference(task: Task, steps: int) -> Sampler:
    sigmas = task.sampler.sigmas(task.denoiser)
    if task.sampler.solver.draws:
        return task.sampler.model_copy(update={"steps": steps})
    low, high = sigmas[-1].item(), sigmas[0].item()
    levels = EDM(sigma_min=low, sigma_max=high) if low < high else EDM(sigma_min=low, sigma_max=2 * low)
    return Sampler(discretization=levels, steps=steps, noise_device=task.sampler.noise_device)


class Follower:
    """Follows the ODE in sigma between any two levels, with many sub-steps of Heun's or Euler's method.

    Args:
        task: gives denoiser, seeds, labels and batch.
        substeps: between two levels.
        solver: `heun` or `euler`.
    """

    def __init__(self, task: Task, substeps: int, solver: str = "heun") -> None:
        self.sampler = Sampler.model_validate({"solver": solver, "noise_device": task.sampler.noise_device})
        self.substeps = substeps
        begun = start(task.denoiser, self.sampler, task.seeds, task.labels, device=task.device, batch=task.batch)
        self.dynamics: Dynamics = begun.dynamics
        self.latents = begun.latents

    def step(self, xbar: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """From xbar at one level to the lower (or higher) level, both above 0; levels as in eq. 5."""
        if sigma == sigma_next:
            return xbar
        low, high = sorted((sigma.item(), sigma_next.item()))
        levels = EDM()(self.substeps + 1, Range(low, high))
        for taken in trajectory(self.dynamics, self.sampler, levels if sigma_next < sigma else levels.flip(0), xbar):
            xbar = taken.x
        return xbar

    def through(self, sigmas: Tensor) -> Iterator[Tensor]:
        """The states without scaling at all of these falling levels, from the task's own latents."""
        xbar = self.latents * sigmas[0]
        yield xbar
        for sigma, sigma_next in pairwise(sigmas):
            xbar = self.step(xbar, sigma, sigma_next)
            if not bool(torch.isfinite(xbar).all()):
                raise SamplingError("the converged trajectory is not finite (NaN or infinity)")
            yield xbar
