"""Free noise levels: the paper's, with every gap between two of them stretched by a factor of its own.

    log sigma_i - log sigma_(i+1)  =  w_i g_i (sum of g) / (sum of w g),   g the gaps of eq. 5,   w_i > 0

so the levels fall whatever the factors are, and both ends stay where they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.core.errors import InputError
from harness.sampling.discretizations import EDM
from harness.search.template import Choices, NumberRange

KIND = "free"
"""The word for free levels in a space; the sampler that comes of it lists them."""

FIELDS = {"kind", "rho", "sigma_min", "sigma_max", "stretch"}


def is_free(discretization: Any) -> bool:
    """Whether a part of a space or of a point stands for free levels."""
    return isinstance(discretization, Mapping) and discretization.get("kind") == KIND


def stand_in(free: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's levels over the same range, to count evaluations by."""
    return {"kind": "edm", **{key: value for key, value in free.items() if key in ("rho", "sigma_min", "sigma_max")}}


def with_gaps(free: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The part of a space with a factor to search for each gap.

    Args:
        free: `{kind: free, stretch: {low, high}}`, and fields of `edm`, which may be searched too.
        steps: N.

    Raises:
        InputError: an unknown field, no range of factors, or no gap.
    """
    unknown = sorted(set(free) - FIELDS)
    stretch = free.get("stretch")
    if unknown or not isinstance(stretch, NumberRange) or not stretch.low > 0:
        what = f"we got {', '.join(unknown)}" if unknown else "`stretch` is a range of factors above 0"
        raise InputError(f"discretization '{KIND}' takes rho, sigma_min, sigma_max and stretch; {what}")
    if steps < 2:
        raise InputError(f"free levels need at least 2 steps, and this budget allows {steps}; raise --nfe")
    if any(isinstance(value, Choices) for value in free.values()):
        raise InputError(f"discretization '{KIND}' takes ranges, not choices")
    return {**free, "stretch": {f"gap {index + 1}": stretch for index in range(steps - 1)}}


def laid_out(free: Mapping[str, Any], steps: int, sigma_min: float, sigma_max: float) -> dict[str, Any]:
    """The levels of a point, as a discretization `explicit`.

    Args:
        free: the point's part, a factor a gap.
        steps: N.
        sigma_min, sigma_max: the denoiser's range.
    """
    levels = EDM.model_validate(stand_in(free))
    sigmas = levels(steps, levels.clamp(sigma_min, sigma_max)).numpy()
    return {
        "kind": "explicit",
        "sigmas": [float(f"{sigma:.8g}") for sigma in stretched(sigmas, [*free["stretch"].values()])],
    }


def stretched(sigmas: np.ndarray, factors: Sequence[float]) -> np.ndarray:
    """Levels [N], falling, with the gaps between them scaled by factors [N - 1] and the ends kept."""
    gaps = -np.diff(np.log(sigmas)) * np.asarray(factors, dtype=np.float64)
    gaps *= np.log(sigmas[0] / sigmas[-1]) / gaps.sum()
    moved = np.exp(np.log(sigmas[0]) - np.concatenate([[0.0], np.cumsum(gaps)]))
    moved[0], moved[-1] = sigmas[0], sigmas[-1]
    return moved


def factors_of(discretization: Any, free: Mapping[str, Any], steps: int) -> list[float] | None:
    """The factors that make a discretization's levels of the free ones; None if they have other ends.

    Factors mean the same when all are doubled; these have a geometric mean of 1.
    """
    from harness.sampling.discretizations.base import Range

    standard = EDM.model_validate(stand_in(free))
    within = Range(standard.sigma_min, standard.sigma_max)
    mine, theirs = (one(steps, one.clamp(*within)).numpy() for one in (standard, discretization))
    if not np.allclose(mine[[0, -1]], theirs[[0, -1]], rtol=1e-6):
        return None
    factors = np.diff(np.log(theirs)) / np.diff(np.log(mine))
    return [float(f"{factor:.4g}") for factor in factors / np.exp(np.log(factors).mean())]
