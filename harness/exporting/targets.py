"""The tools by name, and the text for each from what is known of a sampler; loads no torch."""

from collections.abc import Callable

from harness.core.errors import InputError
from harness.exporting import comfyui, diffusers, k_diffusion, sigmas
from harness.exporting.settings import Settings

BY_LEVELS: dict[str, Callable[[Settings], str]] = {
    "sigmas": sigmas.text,
    "diffusers": diffusers.text,
    "k-diffusion": k_diffusion.text,
    "comfyui": comfyui.text,
}
"""Tools for which the noise levels are enough."""

PYTHON = "python"
"""The target for which the sampler is followed: see `linear_program`."""

TARGETS = (*BY_LEVELS, PYTHON)


def check_target(name: str) -> None:
    """Refuse a name of no tool.

    Raises:
        InputError: with the names that there are.
    """
    if name not in TARGETS:
        raise InputError(f"--to takes one of {', '.join(TARGETS)}; we got '{name}'")
