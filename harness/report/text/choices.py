"""A sampler's choices as text: `heun`, `edm` with `rho 7, sigma_min 0.002, sigma_max 80`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

AXES = ("solver", "discretization", "schedule", "scaling", "stochasticity")
"""The axes of the design space, in the order of the paper's Table 1."""


class Choice(NamedTuple):
    """One axis: the name of the choice, and its parameters in words ("" for none)."""

    kind: str
    details: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.details})" if self.details else self.kind


def describe(choice: Any) -> Choice:
    """One axis of a sampler, as stored: a mapping with a `kind`, or a bare name.

    The second-order Runge-Kutta method with alpha 1 goes by its own name, heun.
    """
    if not isinstance(choice, Mapping):
        return Choice("" if choice is None else str(choice), "")
    kind = str(choice.get("kind", "?"))
    fields = {key: value for key, value in choice.items() if key != "kind" and value is not None}
    if kind == "rk2" and fields.get("alpha") == 1:
        kind = "heun"
        del fields["alpha"]
    if {"sigma_min", "sigma_max"} <= fields.keys():
        fields["sigma"] = f"{_value(fields.pop('sigma_min'))} to {_value(fields.pop('sigma_max'))}"
    return Choice(kind, ", ".join(f"{key} {_value(value)}" for key, value in fields.items()))


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
