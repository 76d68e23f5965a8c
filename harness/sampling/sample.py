"""`sample`: from unit latents at the highest noise level down to images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.core.errors import NOT_FINITE, SamplingError
from harness.sampling.conditions import Condition
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels, initial_state
from harness.sampling.optimize import with_levels
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory


class Samples(NamedTuple):
    """Finished samples.

    Args:
        images: [N, *shape] float64, in the data's own range.
        nfe: int64 [N], evaluations of each sample.
        calls: denoiser calls.
        rows: network rows of all calls, padding included.
        condition: what the denoiser was given of each sample beside x and sigma: one-hot float [N, label_dim]; None for
            nothing.
    """

    images: Tensor
    nfe: Tensor
    calls: int
    rows: int
    condition: Condition | None = None


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    seeds: Sequence[int],
    labels: Labels = None,
    latents: Tensor | None = None,
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> Samples:
    """Draw samples: from unit latents at the highest noise level down to images.

    Args:
        denoiser: D(x; sigma); see `harness.sampling.denoiser.Denoiser`.
        sampler: the choice of every axis.
        seeds: N non-negative integers, taken modulo 2^32; each sample depends on its own seed alone.
        labels: None for one class per seed, drawn in the official order, where the denoiser has classes; an int for
            all, ints [N], one-hot [N, label_dim], "unconditional", or conditions by seed, see
            `harness.sampling.conditions.read_conditions`.
        latents: unit normals [N, *shape] to use in place of those that the seeds give.
        device: where the state lives; None for the denoiser's own device.
        batch: rows per network call (padded to exactly that many); None for all at once.

    Example:
        >>> import harness
        >>> denoiser = harness.load_denoiser("digits-vp")
        >>> out = harness.sample(denoiser, harness.Sampler(steps=5), seeds=range(4))
        >>> out.images.shape
        torch.Size([4, 1, 8, 8])
        >>> out.nfe  # Heun's method: two evaluations a step, one on the last
        tensor([9, 9, 9, 9])

    Returns:
        images [N, *shape] float64 (float32 on devices without float64) and nfe [N].

    Raises:
        InputError: labels that do not fit, latents of another shape, no seeds, or levels that do not fall.
        SamplingError: a state that is not finite, with the first step at which it was seen.
    """
    sampler = with_levels(denoiser, sampler, device, batch)
    begun = initial_state(denoiser, sampler, seeds, labels, latents, device, batch)
    x, finite = begun.x, {}
    times = begun.time_steps.times
    for step in trajectory(begun.dynamics, sampler, times, x):
        x = step.x
        finite[step.number] = torch.isfinite(x).all()
    if sampler.end != "zero":
        x = x / begun.dynamics.s(times[-1])
    if bad := [number for number, ok in finite.items() if not bool(ok)]:
        raise SamplingError(NOT_FINITE, bad[0])
    return Samples(x, begun.dynamics.nfe, begun.dynamics.calls, begun.dynamics.rows, begun.condition)
