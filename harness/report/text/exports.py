"""A measured sampler as text for each tool, from the noise levels that its row keeps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.exporting.settings import Settings
from harness.exporting.targets import BY_LEVELS

NAMES = {"sigmas": "Noise levels", "diffusers": "diffusers", "k-diffusion": "k-diffusion", "comfyui": "ComfyUI"}
"""What tools are called on a page."""


class ToolText(NamedTuple):
    """A sampler for one tool: its name, the text to copy, and "" or why it has none."""

    tool: str
    text: str
    refused: str


class Exports(NamedTuple):
    """A sampler for every tool.

    Args:
        title: which sampler.
        about: what it came to, in a line.
        tools: a text each, or why there is none.
        command: that writes it for anything else; "" where there is none.
    """

    title: str
    about: str
    tools: list[ToolText]
    command: str


def exports(
    title: str,
    about: str,
    fingerprint: str,
    sampler: Mapping[str, Any],
    levels: Mapping[str, Any],
    adaptive: bool = False,
) -> Exports | None:
    """The sampler of a trial for every tool; None where its row keeps no noise levels.

    Args:
        title, about: see `Exports`.
        fingerprint: of the trial.
        sampler: its JSON.
        levels: what its row keeps: `sigmas`, and whether the denoiser `rounds` them.
        adaptive: whether its solver chooses its own steps.
    """
    if not levels.get("sigmas"):
        return None
    settings = Settings.of_row(sampler, levels)
    tools = [_text(settings, name) for name in BY_LEVELS]
    has_table = not adaptive and not settings.starts_at_infinity  # `--to python` refuses the others
    return Exports(title, about, tools, f"harness export {fingerprint[:12]} --to python" if has_table else "")


def _text(settings: Settings, name: str) -> ToolText:
    try:
        return ToolText(NAMES[name], BY_LEVELS[name](settings), "")
    except InputError as error:
        return ToolText(NAMES[name], "", str(error))
