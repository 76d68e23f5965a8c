"""What every configurable thing is made of: a frozen, strict pydantic model, often with a `kind`.

YAML becomes the object with no builder between. An unknown key, a wrong type or a value out of range is an error
that names the place. Numbers are strict (no "3", no true for 1), never NaN, and infinity is written "inf", so that
JSON goes both ways.
"""

import math
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Choice(BaseModel):
    """Base of all configuration objects: immutable, hashable, unknown keys refused, strict types.

    A component whose numbers change gets the next `version`, which is part of every trial's fingerprint.
    """

    version: ClassVar[int] = 1
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


def _read_inf(value: Any) -> Any:
    return {"inf": math.inf, "-inf": -math.inf}.get(value, value) if isinstance(value, str) else value


def _refuse_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("must be a number, not NaN")
    return value


def _write_inf(value: float) -> float | str:
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


Real = Annotated[
    float,
    BeforeValidator(_read_inf),
    AfterValidator(_refuse_nan),
    PlainSerializer(_write_inf, when_used="json"),
]
"""A float that may be infinite ("inf" in YAML and JSON) and is never NaN."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A float that is neither infinite nor NaN."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite float above zero."""


def shorthand(value: Any) -> Any:
    """A bare string stands for the kind with its defaults: `edm` is `{kind: edm}`."""
    return {"kind": value} if isinstance(value, str) else value


Shorthand = BeforeValidator(shorthand)
