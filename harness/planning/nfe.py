"""How many evaluations a sampler needs: counted by running it on a one-number denoiser, never by a formula."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from harness.errors import InputError, SamplingError
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler


class _Zero:
    """D = 0 for images of one number, over a given noise range."""

    shape, label_dim, cost = (1, 1, 1), 0, 1
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        self.sigma_min, self.sigma_max = sigma_min, sigma_max

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return sigma


@lru_cache(maxsize=100_000)
def count_nfe(sampler: Sampler, sigma_min: float, sigma_max: float) -> int:
    """Evaluations per sample that a sampler makes over a denoiser's noise range, at cost 1.

    Raises:
        InputError: the sampler does not fit the range, or evaluates outside it; with step and value.
    """
    on_cpu = sampler.model_copy(update={"noise_device": "cpu"})
    try:
        return int(sample(_Zero(sigma_min, sigma_max), on_cpu, seeds=[0]).nfe[0])
    except SamplingError as error:
        raise InputError(f"step {error.step} of {sampler.steps}: {error.reason}") from None


def steps_for(nfe: int, sampler: Sampler, sigma_min: float, sigma_max: float, cost: int = 1) -> Sampler:
    """The sampler with the largest number of steps whose NFE is at most `nfe`.

    Args:
        nfe: evaluations per sample, each counted `cost` times.
        sampler: everything but the number of steps.
        sigma_min, sigma_max: the denoiser's range.
        cost: network evaluations that one call of the denoiser stands for.

    Raises:
        InputError: one step alone costs more.
    """

    def cost_of(steps: int) -> int:
        return cost * count_nfe(sampler.model_copy(update={"steps": steps}), sigma_min, sigma_max)

    def fits(steps: int) -> bool:
        try:
            return cost_of(steps) <= nfe
        except InputError:  # no such number of levels, or a second stage below zero noise
            return False

    first = cost_of(1)
    if first > nfe:
        raise InputError(f"solver '{sampler.solver.kind}' needs at least {first} evaluations; nfe {nfe} is too few")
    steps = 1 + (nfe - first) // _slope(cost_of, first, nfe)  # exact where every step but the last costs the same
    while steps > 1 and not fits(steps):
        steps -= 1
    while fits(steps + 1):
        steps += 1
    return sampler.model_copy(update={"steps": steps})


def _slope(cost_of: Callable[[int], int], first: int, nfe: int) -> int:
    """Evaluations per further step, from the smallest power of two of steps that the sampler can take."""
    steps = 2
    while steps <= nfe:
        try:
            return max((cost_of(steps) - first) // (steps - 1), 1)
        except InputError:
            steps *= 2
    return 1
