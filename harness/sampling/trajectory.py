"""The one loop over steps, and `sample`, which runs it from latents to images."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from harness.errors import InputError, SamplingError
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import Dynamics, Point, one_hot
from harness.sampling.noise import Noise
from harness.sampling.sampler import Route, Sampler

Labels = int | Sequence[int] | Tensor | Literal["unconditional"] | None


class Step(NamedTuple):
    """One step of a trajectory: its number from 0, the evaluated point it started from, and the state it reached."""

    number: int
    here: Point
    x: Tensor


class Samples(NamedTuple):
    """Finished samples: images [N, C, H, W] float64, nominally in [-1, 1], and nfe int64 [N]; `calls` network calls."""

    images: Tensor
    nfe: Tensor
    calls: int


def trajectory(dynamics: Dynamics, sampler: Sampler, times: Tensor, x: Tensor) -> Iterator[Step]:
    """Walk the times from the first to the last with the sampler's solver and stochasticity.

    Args:
        dynamics: the ODE's right-hand side for the samples in x.
        sampler: supplies solver and stochasticity; its other fields are already in `dynamics` and `times`.
        times: float64 [N + 1] on the CPU, descending.
        x: initial state [B, C, H, W] at times[0].

    Raises:
        SamplingError: with the step at which it happened.
    """
    solver, stochasticity, steps = sampler.solver, sampler.stochasticity, len(times) - 1
    carry: Any = None
    for index, (t, t_next) in enumerate(pairwise(times)):
        try:
            x, t_hat = stochasticity.lift(dynamics, x, t, steps)
            here = dynamics.at(x, t_hat)
            t_land, sigma_up = stochasticity.land(dynamics, t_hat, t_next)
            step = solver if dynamics.sigma(t_land) > 0 else solver.last
            x, carry = step(dynamics, here, t_land, carry)
            if sigma_up is not None:
                x = x * (dynamics.s(t_next) / dynamics.s(t_land)) + dynamics.s(t_next) * sigma_up * dynamics.noise()
        except SamplingError as error:
            raise SamplingError(error.reason, index) from None
        yield Step(index, here, x)


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
            all, ints [N], one-hot [N, label_dim], or "unconditional".
        latents: unit normals [N, C, H, W] to use in place of those that the seeds give.
        device: where the state lives; None for the denoiser's own device.
        batch: rows per network call (padded to exactly that many); None for all at once.

    Returns:
        images [N, C, H, W] float64 (float32 on devices without float64) and nfe [N].

    Raises:
        InputError: labels that do not fit, latents of another shape, no seeds, or levels that do not fall.
        SamplingError: a state that is not finite, with the first step at which it was seen.
    """
    seeds = list(seeds)
    _check_seeds(seeds)
    device = torch.device(device or denoiser.device)
    noise = Noise(seeds, denoiser.shape, device, sampler.noise_device)
    route = sampler.route(denoiser)
    _check_descent(route)
    drawn = noise.latents()
    if latents is not None and latents.shape != drawn.shape:
        raise InputError(f"latents must have shape {tuple(drawn.shape)}; we got {tuple(latents.shape)}")
    given = resolve_labels(labels, noise, denoiser.label_dim)
    dynamics = Dynamics(denoiser, route.curve, sampler.scaling, noise, given, batch)
    x = (drawn if latents is None else latents.to(device)).to(state_dtype(device))
    x = x * (route.sigmas[0] * dynamics.s(route.times[0]))
    finite = []
    for step in trajectory(dynamics, sampler, route.times, x):
        x = step.x
        finite.append(torch.isfinite(x).all())
    ok = torch.stack(finite)
    if not bool(ok.all()):
        raise SamplingError("the state is not finite (NaN or infinity)", int((~ok).nonzero()[0]))
    return Samples(x, dynamics.nfe, dynamics.calls)


def state_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it, else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolve_labels(labels: Labels, noise: Noise, label_dim: int) -> Tensor | None:
    """Labels as one-hot float [N, label_dim], or None; draws one class per sample where there are classes.

    The draw happens also where classes are given, so that the noise that follows is the same.
    """
    if isinstance(labels, str) and labels != "unconditional":
        raise InputError(f"labels in words can only be 'unconditional'; we got '{labels}'; None draws a class per seed")
    if label_dim == 0:
        if labels is not None and not isinstance(labels, str):
            raise InputError("the denoiser has no classes (label_dim 0), so labels must be left out")
        return None
    drawn = noise.classes(label_dim)
    if labels is None:
        return one_hot(drawn, label_dim)
    if isinstance(labels, str):
        return None
    given = torch.as_tensor(labels, device=drawn.device)
    if given.ndim == 2:
        if given.shape != (len(noise), label_dim):
            raise InputError(f"one-hot labels must have shape {(len(noise), label_dim)}; we got {tuple(given.shape)}")
        return given.to(torch.float32)
    if given.is_floating_point() or given.ndim > 1 or given.numel() not in (1, len(noise)):
        raise InputError(f"labels must be an int, {len(noise)} ints, or one-hot; we got shape {tuple(given.shape)}")
    if not bool(((given >= 0) & (given < label_dim)).all()):
        raise InputError(
            f"class indices must lie in 0 to {label_dim - 1}; we got {int(given.min())} to {int(given.max())}"
        )
    return one_hot(given.long().expand(len(noise)), label_dim)


def _check_descent(route: Route) -> None:
    """Noise levels and times must fall; equal neighbours, where the denoiser rounds, are allowed.

    The VP betas are solved from both ends of the range. Over a narrow one, such as 0.1 to 10, their sigma(t) turns
    round in between, and the released sampler then goes up and down without saying so.
    """
    for name, values in (("noise levels", route.sigmas), ("times", route.times)):
        rises = (values[1:] > values[:-1]).nonzero()
        if len(rises):
            at = int(rises[0])
            raise InputError(
                f"the {name} rise from {values[at]:.4g} to {values[at + 1]:.4g} after step {at}; the VP curve turns "
                "round over a narrow noise range: widen it (sigma_min, sigma_max), or use another discretization"
            )


def _check_seeds(seeds: list[int]) -> None:
    if not seeds:
        raise InputError("at least one seed is needed")
    if min(seeds) < 0:
        raise InputError(f"seeds must be non-negative integers; we got {min(seeds)}")
