"""The start of a trajectory: labels, streams of random numbers, dynamics, and the first state."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness.core.data_range import is_of_bytes, range_in_words
from harness.core.errors import InputError
from harness.hub.header import NAME_NULL_CLASS
from harness.sampling.conditions import Condition, Conditions
from harness.sampling.denoiser import Denoiser, data_range, needs_class, null_class, takes_conditions
from harness.sampling.dynamics import Dynamics, one_hot
from harness.sampling.noise import Noise
from harness.sampling.sampler import Sampler, TimeSteps

Labels = int | Sequence[int] | Tensor | Literal["unconditional"] | Conditions | None


class InitialState(NamedTuple):
    """A sampler about to run on some seeds.

    Args:
        dynamics: the ODE's right-hand side for them.
        time_steps: curve, noise levels and times.
        x: state [N, *shape] at the highest level.
        latents: the unit normals [N, *shape] that x is made of.
        condition: what the denoiser is given of each sample beside x and sigma; None for nothing.
    """

    dynamics: Dynamics
    time_steps: TimeSteps
    x: Tensor
    latents: Tensor
    condition: Condition | None = None


def initial_state(
    denoiser: Denoiser,
    sampler: Sampler,
    seeds: Sequence[int],
    labels: Labels = None,
    latents: Tensor | None = None,
    device: torch.device | str | None = None,
    batch: int | None = None,
) -> InitialState:
    """Bind a sampler to a denoiser and draw what comes before the first step; arguments as for `sample`.

    Raises:
        InputError: labels that do not fit, latents of another shape, no seeds, levels that do not fall, or
            `clip_denoised` for data that are not in [-1, 1].
    """
    device = torch.device(device or denoiser.device)
    noise = Noise(seeds, denoiser.shape, device, sampler.noise_device)
    time_steps = sampler.time_steps(denoiser)
    _check_descent(time_steps)
    drawn = noise.latents()
    if latents is not None and latents.shape != drawn.shape:
        raise InputError(f"latents must have shape {tuple(drawn.shape)}; we got {tuple(latents.shape)}")
    if isinstance(labels, Conditions) and not takes_conditions(denoiser):
        raise InputError("the denoiser takes no conditions but classes; leave them out")
    if isinstance(labels, str) and needs_class(denoiser):
        raise InputError(f"images without a class were asked for, and {NAME_NULL_CLASS}")
    if sampler.clip_denoised and not is_of_bytes(data_range(denoiser)):
        found = range_in_words(data_range(denoiser))
        raise InputError(f"clip_denoised clips D to [-1, 1], and the denoiser's data are {found}; leave it out")
    given = resolve_labels(labels, noise, denoiser.label_dim, null_class(denoiser))
    ends = (time_steps.sigmas[0].item(), time_steps.sigmas[-1].item())
    dynamics = Dynamics(denoiser, time_steps.curve, sampler.scaling, noise, given, batch, ends, sampler.clip_denoised)
    unit = (drawn if latents is None else latents.to(device)).to(state_dtype(device))
    # at t = 1 of flow matching sigma is infinite and s is 0; their product is 1
    size = 1.0 if time_steps.starts_at_infinity else time_steps.sigmas[0] * dynamics.s(time_steps.times[0])
    return InitialState(dynamics, time_steps, unit * size, unit, given)


def state_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it, else float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def resolve_labels(labels: Labels, noise: Noise, label_dim: int, null_class: int | None = None) -> Condition | None:
    """Labels as one-hot float [N, label_dim], conditions of the seeds, or None; draws one class per sample where there
    are classes.

    The draw happens also where classes are given, so that the noise that follows is the same.
    """
    if isinstance(labels, str) and labels != "unconditional":
        raise InputError(f"labels in words can only be 'unconditional'; we got '{labels}'; None draws a class per seed")
    if isinstance(labels, Conditions):
        return labels.of(noise.seeds, noise.device)
    if label_dim == 0:
        if labels is not None and not isinstance(labels, str):
            raise InputError("the denoiser has no classes (label_dim 0), so labels must be left out")
        return None
    drawn = noise.classes(label_dim, null_class)
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


def _check_descent(time_steps: TimeSteps) -> None:
    """Noise levels and times must fall; equal neighbours, where the denoiser rounds, are allowed.

    The VP betas are solved from both ends of the range. Over a narrow one, such as 0.1 to 10, their sigma(t) turns
    round in between, and the released sampler then goes up and down without saying so.
    """
    for name, values in (("noise levels", time_steps.sigmas), ("times", time_steps.times)):
        rises = (~(values[1:] <= values[:-1])).nonzero()  # NaN falls nowhere
        if len(rises):
            at = int(rises[0])
            raise InputError(
                f"the {name} go from {values[at]:.4g} to {values[at + 1]:.4g} in step {at + 1} and do not fall; the VP "
                "curve turns round over a narrow noise range: widen it (sigma_min, sigma_max), or use another "
                "discretization"
            )
        counted = values[1:] if name == "noise levels" and time_steps.starts_at_infinity else values
        if not bool(torch.isfinite(counted).all()):
            raise InputError(f"the {name} begin at {values[0]:.4g}; lower sigma_max, or use another schedule")
