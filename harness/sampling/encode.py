"""Inversion: the probability flow ODE upwards, from images to the latents that lead to them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.core.errors import NOT_FINITE, InputError, SamplingError
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels, initial_state, state_dtype
from harness.sampling.optimize import with_levels
from harness.sampling.sampler import FINITE_START, FIRST_LEVEL, Sampler
from harness.sampling.trajectory import trajectory


class Encoded(NamedTuple):
    """Images turned into latents.

    Args:
        latents: [N, *shape] float64; `harness.sample(..., latents=)` leads back to the images.
        nfe: int64 [N], evaluations of each sample.
        calls: denoiser calls.
        rows: network rows of all calls, padding included.
    """

    latents: Tensor
    nfe: Tensor
    calls: int
    rows: int


@torch.no_grad()
def encode(
    denoiser: Denoiser,
    sampler: Sampler,
    images: Tensor,
    labels: Labels = None,
    seeds: Sequence[int] | None = None,
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> Encoded:
    """Follow the sampler's trajectory upwards, level by level, with its own solver.

    A last step to sigma = 0 is undone by one step of a fixed-point iteration, which makes one evaluation: with f the
    solver's last step, most often f(x) = D(x; sigma_min), x = image + (image - f(image)). An analytical first step is
    left out: on the way up it would come last, and there is nothing to save.

    Args:
        denoiser, device, batch: as for `harness.sample`.
        sampler: a deterministic one: an ODE solver, and stochasticity `deterministic`.
        images: [N, *shape], in the data's own range.
        labels: as for `harness.sample`; give the images' own classes to a class-conditional denoiser.
        seeds: N integers that draw classes where labels is None; 0 to N - 1 by default.

    Raises:
        InputError: a sampler that draws noise, images or labels that do not fit.
        SamplingError: a state that is not finite, with the first step at which it was seen.
    """
    sampler.check_ode("encode")
    if images.shape[1:] != denoiser.shape or not len(images):
        raise InputError(f"images must be [N, {', '.join(map(str, denoiser.shape))}]; we got {list(images.shape)}")
    sampler = with_levels(denoiser, sampler, device, batch).model_copy(update={"afs": False})
    seeds = list(range(len(images)) if seeds is None else seeds)
    if len(seeds) != len(images):
        raise InputError(f"one seed an image; we got {len(seeds)} for {len(images)}")
    dynamics, time_steps, *_ = initial_state(denoiser, sampler, seeds, labels, device=device, batch=batch)
    if time_steps.starts_at_infinity:
        raise InputError(f"{FIRST_LEVEL}, and encode needs a finite one to arrive at; {FINITE_START}")
    device = torch.device(device or denoiser.device)
    x = images.to(device, state_dtype(device))
    times = time_steps.times[: len(time_steps.sigmas)]
    if sampler.end == "zero":
        last = dynamics.at_level(x, time_steps.sigmas[-1])
        # x = image + (image - f(image)), one step of the iteration for f(x) = image
        x = 2 * x - sampler.solver.last(dynamics, last, time_steps.times[-1], None)[0]
    x = dynamics.s(times[-1]) * x
    for step in trajectory(dynamics, sampler, times.flip(0), x):
        x = step.x
        if not bool(torch.isfinite(x).all()):
            raise SamplingError(NOT_FINITE, step.number)
    latents = x / (time_steps.sigmas[0] * dynamics.s(time_steps.times[0]))
    return Encoded(latents, dynamics.nfe, dynamics.calls, dynamics.rows)
