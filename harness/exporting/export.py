"""`export`: a sampler on a denoiser as text for another tool."""

from harness.core.errors import InputError
from harness.exporting import python
from harness.exporting.linear_program import linear_program
from harness.exporting.settings import Settings, refusal
from harness.exporting.targets import BY_LEVELS, check_target
from harness.sampling.denoiser import Denoiser
from harness.sampling.optimize import with_levels
from harness.sampling.sampler import Sampler


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
    if settings.starts_at_infinity:
        raise refusal("python", "t = 1 of flow matching, where sigma is infinite", "t_max below 1, or --to diffusers")
    return python.text(settings, linear_program(denoiser, sampler))


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
