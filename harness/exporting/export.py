"""`export`: a sampler on a denoiser as text for another tool."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from harness.core.errors import InputError
from harness.exporting import python
from harness.exporting.linear_program import linear_program
from harness.exporting.settings import Settings, refusal
from harness.exporting.targets import BY_LEVELS, check_target
from harness.sampling.denoiser import Denoiser
from harness.sampling.optimize import with_levels
from harness.sampling.sampler import Sampler

SAME_LEVELS = 1e-9
"""Levels that differ by less, relative, are the same."""


def export(sampler: Sampler, denoiser: Denoiser, to: str = "sigmas") -> str:
    """A sampler in the words of another tool, with the noise levels that it has on a denoiser.

    Args:
        sampler: the choice of every axis; levels that are to be found (`optimized`) are found first.
        denoiser: its noise range, and how it rounds levels, are used; the network is called only to find levels.
        to: `sigmas`: JSON with the list; `diffusers`, `k-diffusion`: Python that runs that library; `comfyui`: JSON of
            two nodes; `python`: a table and a loop that need no library.

    Example:
        >>> import harness, json
        >>> sampler = harness.Sampler.model_validate({"solver": "heun", "steps": 3})
        >>> json.loads(harness.export(sampler, harness.load_denoiser("ideal")))["sigmas"]
        [80.0, 2.5152189761471595, 0.002, 0.0]

    Raises:
        InputError: no such tool; levels that cannot be made; or the tool would give other numbers, with the nearest
            that it can do.
    """
    check_target(to)
    sampler = with_levels(denoiser, sampler)
    settings = settings_of(sampler, denoiser)
    if to in BY_LEVELS:
        return BY_LEVELS[to](settings)
    _check_finite(settings)
    return python.text(settings, linear_program(denoiser, sampler))


def export_measured(sampler: Sampler, levels: Mapping[str, Any], to: str, denoisers: Iterable[Denoiser]) -> str:
    """A measured sampler in the words of another tool, from the noise levels that its row keeps.

    Args:
        sampler: of the trial.
        levels: what its row keeps: `sigmas`, and whether the denoiser `rounds` levels.
        to: as for `export`.
        denoisers: for `python` alone, which follows the sampler on the first of them that gives it these levels. Their
            range and rounding are used.

    Raises:
        InputError: as `export`; or for `python`, the sampler has these levels on none of the denoisers.
    """
    check_target(to)
    settings = Settings.of_row(sampler.model_dump(mode="json"), levels)
    if to in BY_LEVELS:
        return BY_LEVELS[to](settings)
    _check_finite(settings)
    for denoiser in denoisers:
        if _has_levels(settings, sampler, denoiser):
            return python.text(settings, linear_program(denoiser, sampler))
    raise InputError(
        "--to python lays the sampler out on the trial's denoiser, which is not here as it was, and its levels do not "
        "tell the denoiser's range or rounding; give --denoiser, or take --to sigmas"
    )


def _check_finite(settings: Settings) -> None:
    if settings.starts_at_infinity:
        raise refusal("python", "t = 1 of flow matching, where sigma is infinite", "t_max below 1, or --to diffusers")


def _has_levels(settings: Settings, sampler: Sampler, denoiser: Denoiser) -> bool:
    """Whether a sampler has the levels of its row on a denoiser, but for rounding in their formula."""
    try:
        found = sampler.sigmas(denoiser)
    except InputError:
        return False
    wanted = torch.tensor(settings.levels, dtype=torch.float64)
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=SAME_LEVELS, atol=0)


def settings_of(sampler: Sampler, denoiser: Denoiser) -> Settings:
    """What the tools need of a sampler on a denoiser.

    Raises:
        InputError: the levels cannot be made, or do not fall.
    """
    steps = sampler.time_steps(denoiser)
    for name, values in (("noise levels", steps.sigmas), ("times", steps.times)):
        later = values[1:] if steps.starts_at_infinity else values
        if not bool((values[1:] <= values[:-1]).all()) or not bool(later.isfinite().all()):
            raise InputError(f"the {name} do not fall; widen the noise range, or use another discretization")
    levels = tuple(steps.sigmas.tolist())
    return Settings(sampler.model_dump(mode="json"), levels, _rounds(sampler, denoiser))


def _rounds(sampler: Sampler, denoiser: Denoiser) -> bool:
    """Whether the denoiser moves levels that lie between those of the sampler."""
    raised = sampler.sigmas(denoiser) * 1.1
    return bool((denoiser.round_sigma(raised).cpu() != raised).any())
