"""The noise levels alone, as JSON, for any tool that takes a list."""

import json
import math

from harness.exporting.settings import Settings


def text(settings: Settings) -> str:
    """JSON with `sigmas`: the N levels and a final 0, or without it where the sampler ends at its last level.

    An infinite level, t = 1 of flow matching, is written "inf", as JSON has no number for it.
    """
    levels = [sigma if math.isfinite(sigma) else "inf" for sigma in settings.sigmas]
    return json.dumps({"sampler": dict(settings.sampler), "sigmas": levels}, indent=1, allow_nan=False) + "\n"
