"""The truth that samplers are measured against: trajectories followed with so many steps that more change nothing."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.core.errors import InputError, SamplingError
from harness.metrics.base import SamplingJob, SharedEvaluations

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.dynamics import Dynamics
    from harness.sampling.sampler import Sampler

KEPT = 32
"""End points kept: the trials of a grid ask for the same ones again."""
TOP = 1000.0
"""The highest finite level of a converged trajectory that starts at t = 1."""
COARSER = 4
"""How many times as many steps a trajectory has that counts as converged."""


class EndPoints(NamedTuple):
    """Converged images [N, *shape], and the network rows that they took when they were computed."""

    images: "Tensor"
    rows: int


def check_path(sampler: "Sampler", purpose: str, reference: int, finest: int) -> None:
    """What a converged trajectory can be the truth of: the ODE, or an SDE solver on its Brownian path.

    Args:
        sampler: what is compared with it.
        purpose: what compares, for the message.
        reference: steps of the converged trajectory.
        finest: the largest number of steps that is compared with it.

    Raises:
        InputError: noise that is not tied to a path, no step beside the last, or steps that are not much larger than
            the reference's.
    """
    if sampler.stochasticity.is_stochastic or (sampler.solver.is_stochastic and not sampler.solver.convergence_order):
        axis = "stochasticity" if sampler.stochasticity.is_stochastic else "solver"
        kind = sampler.stochasticity.kind if sampler.stochasticity.is_stochastic else sampler.solver.kind
        raise InputError(
            f"{purpose} compares with a converged trajectory, and the noise of {axis} '{kind}' has none; use an ODE "
            "solver, or an SDE solver with a strong order such as 'dpmpp_2m_sde'"
        )
    check_steps(sampler, purpose)
    if COARSER * finest > reference:
        raise InputError(
            f"{purpose} compares {finest} steps with a trajectory of {reference}, which should be {COARSER} times as "
            f"many to count as converged; give it reference: {COARSER * finest} or more"
        )


def check_steps(sampler: "Sampler", purpose: str) -> None:
    """A measure of trajectories needs one.

    Raises:
        InputError: a sampler with nothing but its last step.
    """
    if sampler.steps < 2:
        raise InputError(f"{purpose} needs a step beside the last one; we got steps {sampler.steps}; raise it")


def end_points(job: SamplingJob, steps: int) -> EndPoints:
    """Where the job's own latents end when followed with very many steps over the sampler's own range.

    The ODE is followed by Heun's method in sigma with the levels of eq. 5 and a last step to the denoised image; an SDE
    solver by itself over those levels, on the same Brownian path. From t = 1 of flow matching, where sigma is infinite,
    Heun's method is in t. What is in `job.converged` is not computed again.
    """
    import torch

    from harness.sampling.sample import sample

    reference = _reference(job, steps)
    known = {} if job.converged is None else job.converged
    labels = job.labels.tolist() if isinstance(job.labels, torch.Tensor) else job.labels
    key = f"{reference.model_dump_json()}|{job.seeds}|{labels}|{job.device}|{job.batch}"
    if key in known:
        return known[key]._replace(rows=0)
    out = sample(job.denoiser, reference, job.seeds, job.labels, device=job.device, batch=job.batch)
    if len(known) >= KEPT:
        del known[next(iter(known))]
    known[key] = EndPoints(out.images, out.rows)
    return known[key]


def shared_end_points(sampler: "Sampler", nfe: int, steps: int) -> SharedEvaluations:
    """What a converged trajectory of so many steps costs, and who shares it: see `_reference`."""
    levels, is_own = sampler.discretization, sampler.solver.is_stochastic
    ends = [getattr(levels, name, None) for name in ("sigma_min", "sigma_max")]
    key = f"{sampler.solver if is_own else ''}|{sampler.clip_denoised}|{sampler.end}|{ends}"
    return SharedEvaluations(key, steps * nfe // sampler.steps if is_own else 2 * steps - 1)


def _reference(job: SamplingJob, steps: int) -> "Sampler":
    from harness.sampling.discretizations import EDM, Explicit
    from harness.sampling.discretizations.base import Range
    from harness.sampling.sampler import Sampler

    given = job.sampler
    sigmas = given.sigmas(job.denoiser)
    kept: dict[str, Any] = {name: getattr(given, name) for name in ("clip_denoised", "end", "noise_device")}
    if sigmas[0].isinf():
        low = sigmas[-1].item()
        finite = EDM()(steps - 1, Range(low, max(TOP, 2 * low))).tolist()
        from_noise = Explicit(sigmas=(math.inf, *finite))
        kept |= {"schedule": given.schedule, "scaling": given.scaling}
        return Sampler(discretization=from_noise, steps=steps, **kept)
    levels = EDM(sigma_min=sigmas[-1].item(), sigma_max=sigmas[0].item())
    if given.solver.is_stochastic:
        return given.model_copy(update={"discretization": levels, "steps": steps})
    return Sampler(discretization=levels, steps=steps, **kept)


class Follower:
    """Follows the ODE in sigma between any two levels, with many sub-steps of Heun's or Euler's method.

    Args:
        job: gives denoiser, seeds, labels and batch.
        substeps: between two levels.
        solver: `heun` or `euler`.
    """

    def __init__(self, job: SamplingJob, substeps: int, solver: str = "heun") -> None:
        from harness.sampling.initial_state import initial_state
        from harness.sampling.sampler import Sampler

        kept = {name: getattr(job.sampler, name) for name in ("clip_denoised", "noise_device")}
        self.sampler = Sampler.model_validate({"solver": solver, **kept})
        self.substeps = substeps
        begun = initial_state(job.denoiser, self.sampler, job.seeds, job.labels, device=job.device, batch=job.batch)
        self.dynamics: Dynamics = begun.dynamics
        self.latents = begun.latents

    def step(self, xbar: "Tensor", sigma: "Tensor", sigma_next: "Tensor") -> "Tensor":
        """From xbar at one level to the lower (or higher) level, both above 0; levels as in eq. 5."""
        from harness.sampling.discretizations import EDM
        from harness.sampling.discretizations.base import Range
        from harness.sampling.trajectory import trajectory

        if sigma == sigma_next:
            return xbar
        low, high = sorted((sigma.item(), sigma_next.item()))
        levels = EDM()(self.substeps + 1, Range(low, high))
        for taken in trajectory(self.dynamics, self.sampler, levels if sigma_next < sigma else levels.flip(0), xbar):
            xbar = taken.x
        return xbar

    def through(self, sigmas: "Tensor") -> "Iterator[Tensor]":
        """The states without scaling at all of these falling levels, from the job's own latents."""
        import torch

        xbar = self.latents * sigmas[0]
        yield xbar
        for sigma, sigma_next in pairwise(sigmas):
            xbar = self.step(xbar, sigma, sigma_next)
            if not bool(torch.isfinite(xbar).all()):
                raise SamplingError("the converged trajectory is not finite (NaN or infinity)")
            yield xbar
