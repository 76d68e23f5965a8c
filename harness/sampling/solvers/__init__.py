"""Solvers of the probability flow ODE, one file a family, joined in the union `Solver`.

A new solver is one file and one word here. Each explicit method starts from the denoiser at the current point, given
as `here`, and returns the state at `t_next`; what it needs of earlier steps it keeps in `carry`.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from harness.sampling.solvers.euler import Euler
from harness.sampling.solvers.rk2 import RK2

ALIASES: dict[str, dict[str, Any]] = {"heun": {"kind": "rk2", "alpha": 1.0}}
"""Other names of one choice of fields; an alias and its long form are the same solver with the same fingerprint."""


def _expand(value: Any) -> Any:
    """`heun` and `{kind: heun}` are `{kind: rk2, alpha: 1}`; any bare string is a kind with its defaults."""
    value = {"kind": value} if isinstance(value, str) else value
    if isinstance(value, dict) and isinstance(value.get("kind"), str) and value["kind"] in ALIASES:
        return {**value, **ALIASES[value["kind"]]} if set(value) == {"kind"} else value
    return value


Solver = Annotated[Euler | RK2, Field(discriminator="kind"), BeforeValidator(_expand)]
