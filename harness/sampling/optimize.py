"""The search behind discretization `optimized`: levels with the least truncation error, by dynamic programming.

A fine trajectory of Heun's method gives states xbar_k and predicted noises eps_k at levels sigma_0 > ... > sigma_(M-1).
The error of a step from level i to level j, against the reference, needs no further evaluation:

    euler       e_ij = rms(xbar_i + (sigma_j - sigma_i) eps_i - xbar_j)
    trapezoid   e_ij = rms(xbar_i + (sigma_j - sigma_i) (eps_i + eps_j) / 2 - xbar_j)

over samples and pixels. An error at a high level matters little: the flow of a Gaussian with the data's variance v
leaves sqrt((v + sigma_last^2) / (v + sigma_j^2)) of it at the end, and with `decay` it counts by that. Of all n levels
that start at 0 and end at M - 1 those with the least sum of errors are found in O(n M^2), where every further step
multiplies the sum so far by `growth` (Chen et al. 2024, arXiv 2405.11326, without decay).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.sampling.denoiser import Denoiser
from harness.sampling.discretizations import EDM, Optimized
from harness.sampling.initial_state import initial_state
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory

FIRST_SEED = 2**31

BLOCK = 2**23
"""About how many numbers of a fine trajectory are held at a time: seeds are followed in blocks."""

_found: WeakKeyDictionary[Denoiser, dict[Optimized, "Errors"]] = WeakKeyDictionary()


class ReferenceTrajectory(NamedTuple):
    """A fine trajectory: levels float64 [M], states without scaling and predicted noises [M, S, d]."""

    sigmas: Tensor
    xbar: Tensor
    eps: Tensor


class Errors(NamedTuple):
    """What the search needs of a reference: levels float64 [M] and the error of every step [M, M]."""

    sigmas: Tensor
    steps: np.ndarray


def with_levels(
    denoiser: Denoiser, sampler: Sampler, device: torch.device | str | None = None, batch: int | None = None
) -> Sampler:
    """The sampler with its levels found, where its discretization is `optimized` and has none; else as it is.

    What the search needs of a denoiser object is remembered as long as the object lives, whatever becomes of its
    weights; levels that were found for other weights are levels all the same.
    """
    choice = sampler.discretization
    if not isinstance(choice, Optimized) or choice.levels is not None:
        return sampler
    levels = find_levels(denoiser, choice, sampler.steps, device, batch)
    return sampler.model_copy(update={"discretization": choice.model_copy(update={"levels": levels})})


def find_levels(
    denoiser: Denoiser,
    choice: Optimized,
    n: int,
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> tuple[float, ...]:
    """The n levels with the least error on this denoiser, highest first.

    Raises:
        InputError: more levels than the reference has.
    """
    errors = _step_errors(denoiser, choice, device, batch)
    count = len(errors.sigmas)
    if not 1 <= n <= count:
        raise InputError(f"discretization 'optimized' picks from {count} levels and cannot make {n}; raise `reference`")
    if n == 1:
        return (errors.sigmas[0].item(),)
    return tuple(errors.sigmas[cheapest_path(errors.steps, n - 1, choice.growth)].tolist())


def _step_errors(denoiser: Denoiser, choice: Optimized, device: torch.device | str | None, batch: int | None) -> Errors:
    """The errors of a choice's reference; kept, since the number of levels is free."""
    try:
        known = _found.setdefault(denoiser, {})
    except TypeError:  # an object that cannot be a key: not hashable, or without weak references
        known = {}
    if choice not in known:
        known.clear()
        known[choice] = _searched(denoiser, choice, device, batch)
    return known[choice]


def _searched(denoiser: Denoiser, choice: Optimized, device: torch.device | str | None, batch: int | None) -> Errors:
    """Follow the reference in blocks of seeds, and put their errors together."""
    size = max(1, BLOCK // (choice.reference * math.prod(denoiser.shape)))
    sigmas, squares, ends = torch.empty(0), np.zeros(()), []
    for first in range(0, choice.seeds, size):
        seeds = range(FIRST_SEED + first, FIRST_SEED + min(first + size, choice.seeds))
        trajectory = reference(denoiser, choice, seeds, device, batch)
        squares = squares + len(seeds) * step_errors(trajectory, choice.error) ** 2
        sigmas = trajectory.sigmas
        ends.append(trajectory.xbar[-1].clone())  # a view would hold the whole trajectory
    errors = np.sqrt(squares / choice.seeds)
    return Errors(sigmas, errors * left_at_the_end(sigmas, torch.cat(ends)) if choice.decay else errors)


@torch.no_grad()
def reference(
    denoiser: Denoiser,
    choice: Optimized,
    seeds: Sequence[int],
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> ReferenceTrajectory:
    """Follow the fine trajectory of some seeds; classes, where there are any, as the seeds draw them."""
    levels = EDM(rho=choice.rho, sigma_min=choice.sigma_min, sigma_max=choice.sigma_max)
    fine = Sampler(discretization=levels, steps=choice.reference)
    begun = initial_state(denoiser, fine, seeds, device=device, batch=batch)
    sigmas: list[float] = []
    xbar, eps = [], []
    for step in trajectory(begun.dynamics, fine, begun.time_steps.times, begun.x):
        sigma = step.here.sigma.item()
        if not sigmas or sigma < sigmas[-1]:  # a denoiser that rounds may repeat a level
            sigmas.append(sigma)
            xbar.append(step.here.xbar.flatten(1).cpu())
            eps.append(step.here.eps.flatten(1).cpu())
    return ReferenceTrajectory(torch.tensor(sigmas, dtype=torch.float64), torch.stack(xbar), torch.stack(eps))


def step_errors(trajectory: ReferenceTrajectory, error: str) -> np.ndarray:
    """The error of one step from every level to every lower one [M, M]; infinity elsewhere."""
    count = len(trajectory.sigmas)
    errors = np.full((count, count), np.inf)
    for i in range(count - 1):
        h = (trajectory.sigmas[i + 1 :] - trajectory.sigmas[i]).reshape(-1, 1, 1)
        slope = trajectory.eps[i] if error == "euler" else (trajectory.eps[i] + trajectory.eps[i + 1 :]) / 2
        missed = trajectory.xbar[i] + h * slope - trajectory.xbar[i + 1 :]
        errors[i, i + 1 :] = missed.square().mean(dim=(1, 2)).sqrt().numpy()
    return errors


def left_at_the_end(sigmas: Tensor, ends: Tensor) -> np.ndarray:
    """The part of an error at each level [M] that the flow of a Gaussian leaves at the last.

    Args:
        sigmas: levels [M].
        ends: states [S, d] at the last level, whose variance is the Gaussian's.
    """
    variance = ends.var(0, correction=0).mean()
    return ((variance + sigmas[-1] ** 2) / (variance + sigmas**2)).sqrt().numpy()


def cheapest_path(errors: np.ndarray, steps: int, growth: float) -> list[int]:
    """The indices of the path from the first to the last level in so many steps with the least error."""
    count = len(errors)
    least = np.full(count, np.inf)
    least[0] = 0.0
    before = []
    for _ in range(steps):
        total = growth * least[:, None] + errors
        before.append(total.argmin(0))
        least = total.min(0)
    path = [count - 1]
    for choices in reversed(before):
        path.append(int(choices[path[-1]]))
    return path[::-1]
