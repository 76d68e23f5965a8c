"""Free noise levels: those of Karras et al. 2022, eq. 5, with each gap between two stretched by a factor of its own.

    log sigma_i - log sigma_(i+1)  =  w_i g_i (sum of g) / (sum of w g),   g the gaps of eq. 5,   w_i > 0

The levels fall whatever the factors w are, and both ends stay where they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.errors import InputError
from harness.sampling.discretizations import EDM
from harness.search.template import Choices, NumberRange

KIND = "free"
"""The kind of free levels in a space. The sampler of a point has kind `explicit`."""

RANGE = ("rho", "sigma_min", "sigma_max")
"""Fields of `edm` that free levels take too."""


def is_free(discretization: Any) -> bool:
    """Whether a part of a space, or of a point, stands for free levels."""
    return isinstance(discretization, Mapping) and discretization.get("kind") == KIND


def edm_levels(free: Mapping[str, Any]) -> dict[str, Any]:
    """The discretization `edm` over the same range. It has as many evaluations."""
    return {"kind": "edm", **{key: value for key, value in free.items() if key in RANGE}}


def expand_gaps(free: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The part of a space with a searched factor for each gap.

    Args:
        free: `{kind: free, stretch: {low, high}}`, and fields of `edm`, which may be searched too.
        steps: N.

    Raises:
        InputError: an unknown field, no range of factors, or no gap.
    """
    unknown = sorted(set(free) - {"kind", "stretch", *RANGE})
    stretch = free.get("stretch")
    if unknown or not isinstance(stretch, NumberRange) or not stretch.low > 0:
        what = f"we got {', '.join(unknown)}" if unknown else "`stretch` is a range of factors above 0"
        raise InputError(f"discretization '{KIND}' takes rho, sigma_min, sigma_max and stretch; {what}")
    if steps < 2:
        raise InputError(f"free levels need at least 2 steps, and this budget allows {steps}; raise --nfe")
    if any(isinstance(value, Choices) for value in free.values()):
        raise InputError(f"discretization '{KIND}' takes ranges, not choices")
    return {**free, "stretch": {f"gap {index + 1}": stretch for index in range(steps - 1)}}


def explicit_levels(free: Mapping[str, Any], steps: int, sigma_min: float, sigma_max: float) -> dict[str, Any]:
    """The levels of a point, as a discretization `explicit`.

    Args:
        free: the part of the point, with a factor for each gap.
        steps: N.
        sigma_min, sigma_max: the range of the denoiser.
    """
    levels = EDM.model_validate(edm_levels(free))
    sigmas = stretched(levels(steps, levels.clamp(sigma_min, sigma_max)).numpy(), [*free["stretch"].values()])
    return {"kind": "explicit", "sigmas": [float(f"{sigma:.8g}") for sigma in sigmas]}


def stretched(sigmas: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Falling levels [N] with the gaps between them scaled by factors [N - 1] and the ends kept."""
    gaps = -np.diff(np.log(sigmas)) * np.asarray(factors, dtype=np.float64)
    gaps *= np.log(sigmas[0] / sigmas[-1]) / gaps.sum()
    moved = np.exp(np.log(sigmas[0]) - np.concatenate([[0.0], np.cumsum(gaps)]))
    moved[0], moved[-1] = sigmas[0], sigmas[-1]  # to the last bit
    return moved


def stretch_factors(discretization: Any, free: Mapping[str, Any], steps: int) -> list[float] | None:
    """The factors that turn free levels into those of a discretization; None if the two have other ends.

    Factors mean the same when all are doubled. These have a geometric mean of 1.
    """
    standard = EDM.model_validate(edm_levels(free))
    ends = standard.sigma_min, standard.sigma_max
    mine, theirs = (one(steps, one.clamp(*ends)).numpy() for one in (standard, discretization))
    if not np.allclose(mine[[0, -1]], theirs[[0, -1]], rtol=1e-6):
        return None
    factors = np.diff(np.log(theirs)) / np.diff(np.log(mine))
    return [float(f"{factor:.4g}") for factor in factors / np.exp(np.log(factors).mean())]
