"""The noise levels alone, as JSON, for any tool that takes a list."""

import json

from harness.exporting.settings import Settings


def text(settings: Settings) -> str:
    """JSON with `sigmas`: the N levels and a final 0, or without it where the sampler ends at its last level."""
    return json.dumps({"sampler": dict(settings.sampler), "sigmas": settings.sigmas}, indent=1) + "\n"
