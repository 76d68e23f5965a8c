"""How many evaluations a sampler needs: counted by running it on a one-number denoiser, never by a formula."""

import contextlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.core.data_range import is_of_bytes, range_in_words
from harness.core.errors import NOT_FINITE, InputError, SamplingError
from harness.denoisers.config import Description, Window
from harness.denoisers.load import Source, describe, rounding_of
from harness.sampling.brownian import Brownian
from harness.sampling.discretizations import EDM, Optimized
from harness.sampling.dynamics import Dynamics
from harness.sampling.initial_state import initial_state
from harness.sampling.noise import Noise
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory


class Probe:
    """A denoiser of images of one number over a given noise range: that of N(0, 1/4), so that steps can adapt to it.

    Args:
        sigma_min, sigma_max: the range.
        cost: evaluations that one call stands for.
        rounding: how noise levels are rounded; None for as they are.

    Attributes:
        levels: the noise levels that it was asked about.
    """

    shape, label_dim, takes_infinity = (1, 1, 1), 0, True
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(
        self, sigma_min: float, sigma_max: float, cost: int, rounding: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.sigma_min, self.sigma_max, self.cost, self.rounding = sigma_min, sigma_max, cost, rounding
        self.levels: list[float] = []

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.levels += sigma.flatten().tolist()
        return x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return sigma if self.rounding is None else self.rounding(sigma)


def probe_of(source: Source) -> Probe:
    """A probe with the range and the rounding of a denoiser, without its weights.

    Raises:
        InputError: there is no such denoiser.
    """
    described = describe(source)
    rounding = rounding_of(source) if described.rounds else None
    probe = Probe(described.sigma_min, described.sigma_max, described.cost, rounding)
    probe.takes_infinity = described.takes_infinity
    return probe


class _WindowProbe(Probe):
    """A probe that costs less outside of a window of levels."""

    def __init__(self, sigma_min: float, sigma_max: float, cost: int, window: Window) -> None:
        super().__init__(sigma_min, sigma_max, cost)
        self.window = window

    def cost_at(self, sigma: Tensor) -> Tensor:
        inside = (sigma > self.window.sigma_lo) & (sigma <= self.window.sigma_hi)
        return torch.where(inside, self.cost, self.window.outside)


def count_nfe(sampler: Sampler, sigma_min: float, sigma_max: float, cost: int = 1, window: Window | None = None) -> int:
    """Evaluations per sample that a sampler makes over a denoiser's noise range; counted once for `sampler.counted`.

    For an adaptive solver, whose steps depend on the denoiser, this is what one Gaussian number takes: a rough guess.

    Args:
        sampler: the choice of every axis; levels that are still to be found are counted as `edm`.
        sigma_min, sigma_max: the denoiser's range.
        cost: network evaluations that one call of the denoiser stands for.
        window: where it stands for fewer.

    Raises:
        InputError: the sampler does not fit the range, or evaluates outside it; with step and value.
    """
    if window is None and (shared := sampler.counted) is not sampler:
        with contextlib.suppress(InputError):  # said of the sampler itself
            return _count(shared, sigma_min, sigma_max, cost)
    return _count(sampler, sigma_min, sigma_max, cost, window)


@lru_cache(maxsize=100_000)
def _count(sampler: Sampler, sigma_min: float, sigma_max: float, cost: int, window: Window | None = None) -> int:
    changes: dict[str, Any] = {"noise_device": "cpu"}
    levels = sampler.discretization
    if isinstance(levels, Optimized) and levels.levels is None:
        changes["discretization"] = EDM(rho=levels.rho, sigma_min=levels.sigma_min, sigma_max=levels.sigma_max)
    ends = sigma_min, sigma_max
    probe = Probe(*ends, cost) if window is None else _WindowProbe(*ends, cost, window)
    try:
        return _walk(probe, sampler.model_copy(update=changes))
    except SamplingError as error:
        at = "" if error.step is None else f"step {error.step + 1} of {sampler.steps}: "
        raise InputError(f"{at}{error.reason}") from None


@torch.no_grad()
def _walk(probe: Probe, sampler: Sampler) -> int:
    """Evaluations of one sample: those of `sample`, with coarse noise where its values decide nothing."""
    if sampler.solver.adaptive or not sampler.solver.is_stochastic:
        return int(sample(probe, sampler, seeds=[0]).nfe[0])
    begun = initial_state(probe, sampler, seeds=[0])
    (sigmas, times), noise = begun.time_steps[1:], _CoarseNoise([0], probe.shape)
    ends = sigmas[0].item(), sigmas[-1].item()
    dynamics = Dynamics(probe, begun.time_steps.curve, sampler.scaling, noise, levels=ends, clip=sampler.clip_denoised)
    for step in trajectory(dynamics, sampler, times, begun.x):
        if not bool(torch.isfinite(step.x).all()):
            raise SamplingError(NOT_FINITE, step.number)
    return int(dynamics.nfe[0])


class _CoarseNoise(Noise):
    """Noise whose Brownian paths resolve no halving of the range, so that a long run is counted in seconds."""

    def path(self, high: float, low: float) -> Brownian:
        return Brownian(self.seeds, self.shape, high, low, depth=0)


def check_route(sampler: Sampler, denoiser: Description) -> "Layout | None":
    """Refuse a sampler whose levels or times cannot be laid out over a denoiser's range; evaluates nothing.

    Returns:
        The levels, unrounded; None for a sampler whose levels are still to be found.

    Raises:
        InputError: with the reason.
    """
    if sampler.clip_denoised and not is_of_bytes(denoiser.data_range):
        found = range_in_words(denoiser.data_range)
        raise InputError(f"clip_denoised clips D to [-1, 1], and the denoiser's data are {found}; leave it out")
    return None if sampler.discretization.is_open else lay_out(sampler, denoiser)


class Layout(NamedTuple):
    """The noise levels [N] of a sampler on a denoiser, and the notes on them; see `Sampler.level_notes`."""

    sigmas: Tensor
    notes: tuple[str, ...]


def lay_out(sampler: Sampler, denoiser: Description, rounding: Callable[[Tensor], Tensor] | None = None) -> Layout:
    """The levels of a sampler over a denoiser's range; samplers that differ in stochasticity alone share them.

    Args:
        sampler: with levels that are known.
        denoiser: what a plan knows of it.
        rounding: how it rounds noise levels; None where it does not.

    Raises:
        InputError: they cannot be laid out.
    """
    ends = denoiser.sigma_min, denoiser.sigma_max
    # Only a start at t = 1 asks what the stochasticity is.
    shared = sampler if sampler.starts_at_infinity(*ends) else sampler.laid_out
    given = frozenset(sampler.discretization.model_fields_set)
    return _lay_out(shared, given, *ends, denoiser.takes_infinity, rounding)


@lru_cache(maxsize=1_000)
def _lay_out(
    sampler: Sampler,
    given: frozenset[str],
    sigma_min: float,
    sigma_max: float,
    takes_infinity: bool,
    rounding: Callable[[Tensor], Tensor] | None,
) -> Layout:
    """The same; `given` are the fields of the discretization that somebody wrote, which equal ones may differ in."""
    probe = Probe(sigma_min, sigma_max, 1, rounding)
    probe.takes_infinity = takes_infinity
    sigmas = sampler.sigmas(probe)
    return Layout(sigmas, tuple(sampler.level_notes(sigmas, probe)))


def steps_for(
    nfe: int, sampler: Sampler, sigma_min: float, sigma_max: float, cost: int = 1, window: Window | None = None
) -> Sampler:
    """The sampler with the largest number of steps whose NFE is at most `nfe`.

    Where more steps may take fewer evaluations, as under guidance with an interval of levels, it is the last number
    before the first that takes too many.

    Args:
        nfe: evaluations per sample, in the denoiser's own cost.
        sampler: everything but the number of steps.
        sigma_min, sigma_max, cost, window: of the denoiser, as for `count_nfe`.

    Raises:
        InputError: one step alone costs more, every larger number of steps within the budget is refused (then with the
            reason), or the solver picks its own number of steps.
    """
    if sampler.solver.adaptive:
        raise InputError(
            f"solver '{sampler.solver.kind}' picks its own steps, so it cannot be given `nfe`; give it tolerances, "
            "with `along: solver.rtol` for a curve of them"
        )

    def cost_of(steps: int) -> int:
        return count_nfe(sampler.model_copy(update={"steps": steps}), sigma_min, sigma_max, cost, window)

    def fits(steps: int) -> bool:
        try:
            return cost_of(steps) <= nfe
        except InputError:  # no such number of levels, or a second stage below zero noise
            return False

    least = sampler.least_steps
    first = cost_of(least)
    if first > nfe:
        raise InputError(f"solver '{sampler.solver.kind}' needs at least {first} evaluations; nfe {nfe} is too few")
    # exact where all steps but the last cost the same
    steps = least + (nfe - first) // _slope(cost_of, least, first, nfe)
    while steps > least and not fits(steps):
        steps -= 1
    while fits(steps + 1):
        steps += 1
    if steps == least and nfe >= 2 * first:
        cost_of(steps + 1)  # says why there is nothing between one step and the budget
    return sampler.model_copy(update={"steps": steps})


def _slope(cost_of: Callable[[int], int], least: int, first: int, nfe: int) -> int:
    """Evaluations per further step, from the smallest power of two of steps that the sampler can take."""
    more = 1
    while more <= nfe:
        try:
            return max((cost_of(least + more) - first) // more, 1)
        except InputError:
            more *= 2
    return 1
