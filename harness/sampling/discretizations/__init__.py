"""Discretizations: the N noise levels at which a sampler stops on its way down (paper Table 1, row "Time steps").

One file a family, joined in the union `DISCRETIZATIONS`; a new one is one file and one word here, the file's name. Each
class is importable from here by its name. Aliases are other names of one choice of fields.
"""

from typing import Any

from harness.core.config import classes_in, one_of
from harness.sampling.discretizations.base import Discretization as Discretization

FILES = ("edm", "song", "iddpm", "exponential", "cosine", "flow", "explicit", "optimized")

ALIASES: dict[str, dict[str, Any]] = {
    "linear": {"kind": "edm", "rho": 1.0},
    "exponential": {"kind": "polyexponential", "rho": 1.0},
    "log_snr": {"kind": "polyexponential", "rho": 1.0},
}

DISCRETIZATIONS = one_of(
    *classes_in(__name__, FILES, Discretization),  # type: ignore[type-abstract]
    aliases=ALIASES,
    group="harness.discretizations",
)


def __getattr__(name: str) -> Any:
    return DISCRETIZATIONS.class_named(name)
