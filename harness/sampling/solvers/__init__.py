"""Solvers, one file a family, joined in the union `SOLVERS`; each is importable from here by its class name.

A new solver is one file and one word here, the file's name; what it declares decides what YAML, validation, listing and
tests make of it. Each explicit method starts from the denoiser at the current point, given as `here`, and returns the
state at `t_next`; what it needs of earlier steps it keeps in `carry`. Aliases are other names of one choice of fields.
"""

from typing import Any

from harness.core.config import classes_in, one_of
from harness.sampling.solvers.base import Solver as Solver

FILES = (
    *("euler", "runge_kutta", "dpm_single", "dpm_multistep", "adams", "deis", "unipc", "rk45", "solve_ivp"),  # ODE
    *("euler_maruyama", "reverse_diffusion", "ddpm", "dpm_sde", "adaptive_sde"),  # SDE
)

ALIASES: dict[str, dict[str, Any]] = {
    "heun": {"kind": "rk2", "alpha": 1.0},
    "midpoint": {"kind": "rk2", "alpha": 0.5},
    "ralston": {"kind": "rk2", "alpha": 2 / 3},
    "ipndm_v": {"kind": "lms"},
    "deis_tab3": {"kind": "deis", "order": 4, "variable": "t"},
}

SOLVERS = one_of(
    *classes_in(__name__, FILES, Solver),  # type: ignore[type-abstract]
    aliases=ALIASES,
    group="harness.solvers",
)


def __getattr__(name: str) -> Any:
    return SOLVERS.class_named(name)
