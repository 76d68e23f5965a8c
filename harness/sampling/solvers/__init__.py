"""Solvers, one file a family, joined in the union `Solver`.

A new solver is one file and one word here, the file's name; what it declares decides what YAML, validation, listing and
tests make of it. Each explicit method starts from the denoiser at the current point, given as `here`, and returns the
state at `t_next`; what it needs of earlier steps it keeps in `carry`. Aliases are other names of one choice of fields.
"""

from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness.core.config import expand
from harness.sampling.solvers.base import Method

FILES = (
    *("euler", "runge_kutta", "dpm_single", "dpm_multistep", "adams", "deis", "unipc", "rk45", "black_box"),  # ODE
    *("euler_maruyama", "reverse_diffusion", "ddpm", "dpm_sde", "adaptive_sde"),  # SDE
)

ALIASES: dict[str, dict[str, Any]] = {
    "heun": {"kind": "rk2", "alpha": 1.0},
    "midpoint": {"kind": "rk2", "alpha": 0.5},
    "ralston": {"kind": "rk2", "alpha": 2 / 3},
    "ipndm_v": {"kind": "lms"},
    "deis_tab3": {"kind": "deis", "order": 4, "variable": "t"},
}


def _solvers(file: str) -> list[type[Method]]:
    """The solvers that a file defines, in its order."""
    module = import_module(f"{__name__}.{file}")
    classes = [found for found in vars(module).values() if isinstance(found, type) and issubclass(found, Method)]
    return [found for found in classes if found.__module__ == module.__name__]


MEMBERS = tuple(solver for file in FILES for solver in _solvers(file))

if TYPE_CHECKING:
    Solver = Method
else:
    Solver = Annotated[reduce(or_, MEMBERS), Field(discriminator="kind"), expand(MEMBERS, ALIASES)]
