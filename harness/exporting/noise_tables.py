"""The noise levels that diffusers' schedulers lay out, from their configuration.

A scheduler has a table of betas, and with abar the product of 1 - beta the level of timestep t is sigma = sqrt((1 -
abar_t) / abar_t). Of it, some timesteps are taken: `leading`, `linspace` or `trailing` (Lin et al. 2023, arXiv
2305.08891, table 2), each class in a way of its own; or levels are laid out anew between the ends. Betas and abar are
float32, as diffusers has them, which moves the lowest levels by up to 3e-4, relative. Levels here are theirs to 1e-6;
with `rescale_betas_zero_snr`, where they round more often, the lowest are theirs to 1e-4.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from harness.core.betas import DIFFUSERS_SCHEDULES, betas, noise_levels
from harness.core.errors import InputError

TINY = 2.0**-24
"""abar of the last timestep where betas are rescaled to no signal at all; DDIM and DDPM have 0 there."""


class Fields:
    """A scheduler's configuration: its fields with the defaults of its class, and which were read."""

    def __init__(self, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.name = str(config.get("_class_name"))
        self._values = {**defaults, **{key: value for key, value in config.items() if value is not None}}

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    def number(self, name: str) -> float:
        """A field that is a number.

        Raises:
            InputError: it is none.
        """
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{name} of {self.name} must be a number; we got {value!r}")
        return value

    def count(self, name: str) -> int:
        """A field that is a whole number.

        Raises:
            InputError: it is none.
        """
        value = self.number(name)
        if value != int(value):
            raise InputError(f"{name} of {self.name} must be a whole number; we got {value!r}")
        return int(value)

    def refuse(self, name: str, why: str = "") -> InputError:
        """The error that a field's value has no counterpart."""
        because = f": {why}" if why else ""
        return InputError(f"{name} {self._values.get(name)!r} of {self.name} has no counterpart here{because}")


def table(fields: Fields) -> np.ndarray:
    """sigma of every timestep of the training table, rising, float32 [T].

    Raises:
        InputError: betas that are not known, or do not lie in (0, 1).
    """
    zero_snr = bool(fields["rescale_betas_zero_snr"])
    if zero_snr and fields.name in ("DDIMScheduler", "DDPMScheduler"):
        raise fields.refuse("rescale_betas_zero_snr", "its first level is infinite, and levels here are finite")
    beta = _betas(fields)
    if not bool((beta < 1).all()):
        raise InputError(f"the betas of {fields.name} must lie in 0 to 1")
    sigmas = noise_levels(beta, zero_snr)
    if zero_snr:  # the last timestep has no signal, and diffusers gives it a little
        sigmas = np.append(sigmas, math.sqrt((1 - TINY) / TINY))
    return sigmas.astype(np.float32)


def _betas(fields: Fields) -> np.ndarray:
    listed, schedule = fields["trained_betas"], fields["beta_schedule"]
    # `sigmoid` is in DDPMScheduler alone
    if listed is None and (schedule not in DIFFUSERS_SCHEDULES or schedule == "sigmoid"):
        raise fields.refuse("beta_schedule")
    try:
        if listed is not None:
            return betas("given", len(listed), 0, 0, listed, "float32")
        count, ends = fields.count("num_train_timesteps"), (fields.number("beta_start"), fields.number("beta_end"))
        return betas(DIFFUSERS_SCHEDULES[schedule], count, *ends, dtype="float32")
    except (ValueError, TypeError) as error:
        raise InputError(f"{fields.name}: {error}") from None


class Spacing(NamedTuple):
    """How a class takes timesteps of its table.

    Args:
        extra: 1 where one more is laid out and the lowest left out.
        is_whole: whether `linspace` is rounded to whole timesteps, not interpolated between.
        available: timesteps of the table that may be taken; None for all.
    """

    extra: int = 0
    is_whole: bool = True
    available: int | None = None


def timesteps(fields: Fields, steps: int, spacing: Spacing) -> np.ndarray:
    """The timesteps that are taken, falling, float64 [steps].

    Raises:
        InputError: a spacing that is not known, or more steps than the table has.
    """
    count = spacing.available or fields.count("num_train_timesteps")
    if steps + spacing.extra > count:
        raise InputError(f"{fields.name} has {count} timesteps and cannot make {steps} steps; ask for fewer")
    laid_out = steps + spacing.extra
    if fields["timestep_spacing"] == "linspace":
        places = np.linspace(0, count - 1, laid_out, dtype=np.float64 if spacing.is_whole else np.float32)
        return (places.round() if spacing.is_whole else places)[::-1][:steps].astype(np.float64)
    if fields["timestep_spacing"] == "leading":
        places = np.arange(laid_out) * (count // laid_out) + fields.count("steps_offset")
        return places[::-1][:steps].astype(np.float64)
    if fields["timestep_spacing"] == "trailing":
        return np.arange(count, 0, -fields.count("num_train_timesteps") / steps).round() - 1
    raise fields.refuse("timestep_spacing")


def levels(fields: Fields, steps: int, spacing: Spacing) -> list[float]:
    """The noise levels of a scheduler that takes timesteps of its table."""
    sigmas = table(fields)
    places = timesteps(fields, steps, spacing)
    return [float(sigma) for sigma in np.interp(places, np.arange(len(sigmas)), sigmas).astype(np.float32)]


def shifted(times: np.ndarray, shift: float) -> np.ndarray:
    """Times of flow matching under a shift: sigma of the shifted time is shift times sigma."""
    return shift * times / (1 + (shift - 1) * times)
