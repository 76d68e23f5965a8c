"""What every configurable thing is made of: a frozen, strict pydantic model, often with a `kind`.

YAML becomes the object with no builder between. An unknown key, a wrong type or a value out of range is an error
that names the place. Numbers are strict (no "3", no true for 1), never NaN, and infinity is written "inf", so that
JSON goes both ways.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Config(BaseModel):
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


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else freeze(value)),
    Field(min_length=1),
]
"""One word or a list of words, at least one."""


def freeze(value: Any) -> Any:
    """Lists to tuples, however deep, so that a frozen choice can hold what YAML wrote as lists."""
    return tuple(freeze(item) for item in value) if isinstance(value, list | tuple) else value


def kinds(members: tuple[type[Config], ...]) -> tuple[str, ...]:
    """The words that `kind` allows in a union of choices."""
    return tuple(member.model_fields["kind"].default for member in members)


def expand(members: tuple[type[Config], ...], aliases: Mapping[str, Mapping[str, Any]]) -> BeforeValidator:
    """Read a bare word as the kind with its defaults, and an alias as the choice of fields that it stands for.

    An alias and its long form are one choice with one fingerprint. Fields that the alias leaves open may be given.

    Args:
        members: the choices of the union.
        aliases: other names; each gives a kind and the fields that the name fixes.
    """
    known = kinds(members)

    def read(value: Any) -> Any:
        value = shorthand(value)
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind in known:
            return value
        if kind not in aliases:
            raise ValueError(f"unknown kind '{kind}'; allowed: {', '.join(repr(name) for name in [*known, *aliases])}")
        long, given = aliases[kind], {key: given for key, given in value.items() if key != "kind"}
        member = members[known.index(long["kind"])]
        taken = sorted(set(given) - (set(member.model_fields) - set(long)))
        if taken:
            open_fields = ", ".join(sorted(set(member.model_fields) - set(long))) or "no fields"
            raise ValueError(
                f"'{kind}' has {open_fields}, and we got {', '.join(taken)}; use kind '{long['kind']}' to set them"
            )
        return {**long, **given}

    return BeforeValidator(read)


Side = Annotated[int, Field(ge=1)]
Shape = Annotated[tuple[Side, Side, Side], BeforeValidator(freeze)]
"""The shape of an image: channels, height, width."""
