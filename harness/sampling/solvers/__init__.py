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
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind in KINDS:
        return value
    if kind not in ALIASES:
        raise ValueError(f"unknown kind '{kind}'; allowed: {', '.join(repr(name) for name in [*KINDS, *ALIASES])}")
    if set(value) > {"kind"}:
        others = ", ".join(sorted(set(value) - {"kind"}))
        raise ValueError(f"'{kind}' has no fields, and we got {others}; use kind '{ALIASES[kind]['kind']}' to set them")
    return ALIASES[kind]


KINDS = tuple(member.model_fields["kind"].default for member in (Euler, RK2))

Solver = Annotated[Euler | RK2, Field(discriminator="kind"), BeforeValidator(_expand)]
