"""What options and arguments are written as: denoisers, samplers, seeds and labels from text."""

import json
from pathlib import Path
from typing import Any

from harness.core import yaml
from harness.core.errors import InputError
from harness.sampling.initial_state import Labels
from harness.sampling.sampler import Sampler

MAX_SEEDS = 1_000_000


def parse_source(text: str) -> Any:
    """A name or path as it is; text that starts with a brace as an analytic spec in YAML or JSON."""
    return yaml.loads(text, "denoiser").data if text.lstrip().startswith("{") else text


def parse_sampler(text: str, name: str = "--sampler") -> Sampler:
    """A sampler from a YAML file's path or from YAML text.

    Args:
        text: what was given.
        name: of the option or argument, for messages.
    """
    if text.strip() in ("", "{}"):
        return Sampler()
    is_file = Path(text).suffix in (".yaml", ".yml", ".json")
    document = yaml.load(text) if is_file else yaml.loads(text, name)
    return yaml.build(Sampler, document)


def parse_seeds(text: str) -> list[int]:
    """Seeds from numbers and ranges: "0-3,8" is 0, 1, 2, 3, 8.

    Raises:
        InputError: anything else, or more than a million.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise InputError(f"--seeds takes numbers and ranges such as 0-63 or 1,5,8; we got '{text}'")
        if int(last or first) - int(first) + len(seeds) >= MAX_SEEDS:
            raise InputError(f"--seeds: more than {MAX_SEEDS:,} seeds")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def parse_label(text: str) -> Labels:
    """Label policy: "random" (None), "unconditional", or a class index.

    Raises:
        InputError: anything else.
    """
    if text == "random":
        return None
    if text == "unconditional":
        return "unconditional"
    if not text.isdigit():
        raise InputError(f"--label takes random, unconditional or a class index; we got {json.dumps(text)}")
    return int(text)
