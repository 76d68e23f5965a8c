"""What stands in a search space in the place of values: ranges, choices, and choices of several fields together.

alpha: {low: 0.5, high: 1, values: [0.5, 0.6667, 1]}      # a range of numbers; a grid tries the values
solver: {choices: [heun, {kind: unipc, order: 3}]}        # one of several values
method:                                                   # one of several sets of fields, which take the place of
  together:                                               # `method`: so some choices go with others only
    - {name: single-step, solver: heun, stochasticity: {choices: [deterministic, {kind: churn, S_churn: 10}]}}
    - {name: multistep, solver: {choices: [dpmpp_2m, unipc]}}
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from harness.core.config import Config, Finite, freeze
from harness.core.errors import InputError
from harness.core.yaml import Where, explain

Values = Annotated[tuple[Finite, ...], BeforeValidator(freeze), Field(min_length=1)]

FINE = 1000
"""Numbers on a linear range are rounded to a decimal place that tells at least so many of them apart."""

DIGITS = 4
"""Significant digits of a number on a logarithmic range."""

NAME = "name"
"""Of a set of fields, what it is called; no field of the sampler."""


class SpaceError(InputError):
    """A mistake in a space, and where in its file it stands."""

    def __init__(self, where: Where, message: str) -> None:
        super().__init__(message)
        self.where = where


class NumberRange(Config):
    """A range of numbers, its declared values, or both.

    Args:
        low, high: ends, both included; those of the values, if left out.
        log: search its logarithm.
        whole: integers only.
        values: what an exhaustive grid tries.
        below: another number of the same mapping, which this one may not exceed.
    """

    low: Finite
    high: Finite
    log: bool = False
    whole: bool = False
    values: Values | None = None
    below: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _ends(cls, data: Any) -> Any:
        """Ends from the values; whole numbers may be written without a point."""
        if not isinstance(data, Mapping):
            return data
        values = data.get("values")
        ends = {}
        if isinstance(values, list | tuple) and values and all(is_number(value) for value in values):
            ends = {"low": min(values), "high": max(values)}
        read = {**ends, **data}
        return {
            key: float(value) if key in ("low", "high") and is_number(value) else value for key, value in read.items()
        }

    @model_validator(mode="after")
    def _range(self) -> "NumberRange":
        if not self.low <= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; exchange them")
        if self.log and not self.low > 0:
            raise ValueError(f"a logarithmic range starts above 0; we got low {self.low:g}")
        values = self.values or ()
        if list(values) != sorted(set(values)):
            raise ValueError(f"values must rise, each once; we got {', '.join(f'{value:g}' for value in values)}")
        for value in values:
            if not self.low <= value <= self.high:
                raise ValueError(f"{value:g} among the values is outside {self.low:g} to {self.high:g}; remove it")
        for value in (self.low, self.high, *values) if self.whole else ():
            if not value.is_integer():
                raise ValueError(f"a whole number ranges over integers; we got {value:g}; remove `whole`")
        return self

    def rounded(self, value: float) -> float:
        """A value as it is used and shown: no more digits than matter, and within the range."""
        if self.whole:
            return float(round(value))
        if self.log:
            places = DIGITS - 1 - math.floor(math.log10(abs(value))) if value else 0
        else:
            places = math.ceil(-math.log10((self.high - self.low) / FINE)) if self.high > self.low else DIGITS
        return min(max(round(value, places), self.low), self.high)

    def between(self, position: float, high: float) -> float:
        """The value at a position from 0 to 1 on the range that ends at `high`."""
        if high <= self.low:
            return self.low
        if self.log:
            return float(self.low * (high / self.low) ** position)
        return self.low + position * (high - self.low)

    def position(self, value: float, high: float) -> float:
        """The position of a value, the inverse of `between`."""
        if high <= self.low:
            return 0.0
        if self.log:
            return math.log(value / self.low) / math.log(high / self.low)
        return (value - self.low) / (high - self.low)


class Choices(Config):
    """A choice of samplers' parts, each possibly with ranges of its own.

    Args:
        choices: values, or mappings with a `kind`; at least one.
        together: the choices are sets of fields, each with a `name`, that take the place of the choice's own key.
    """

    choices: Annotated[tuple[Any, ...], BeforeValidator(lambda value: tuple(value)), Field(min_length=1)]
    together: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """A word for each choice; each once."""
        words = [word_of(choice) for choice in self.choices]
        return tuple(word if words.count(word) == 1 else f"{word} {index + 1}" for index, word in enumerate(words))


def read_template(data: Any, where: Where = ()) -> Any:
    """A template from YAML: ranges and choices become `NumberRange` and `Choices`.

    Raises:
        SpaceError: a range or a choice that is not well-formed; with the place.
    """
    if not isinstance(data, Mapping):
        return data
    try:
        if "choices" in data:
            choices = _listed(data, "choices", where)
            return Choices(choices=tuple(read_template(one, (*where, "choices", at)) for at, one in enumerate(choices)))
        if "together" in data:
            return _read_sets(data, where)
        if "values" in data or "low" in data or "high" in data:
            return NumberRange.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpaceError((*where, *first["loc"]), explain(first)) from None
    return {str(key): read_template(value, (*where, str(key))) for key, value in data.items()}


def _read_sets(data: Mapping[str, Any], where: Where) -> Choices:
    """A choice of several fields together."""
    sets = []
    for index, one in enumerate(_listed(data, "together", where)):
        if not isinstance(one, Mapping) or not isinstance(one.get(NAME), str) or len(one) < 2:
            raise SpaceError(
                (*where, "together", index), f"what goes together is a `name` and fields of a sampler; we got {one!r}"
            )
        sets.append(read_template(one, (*where, "together", index)))
    return Choices(choices=tuple(sets), together=True)


def _listed(data: Mapping[str, Any], key: str, where: Where) -> list[Any]:
    found = data[key]
    for other in data:
        if other != key:
            raise SpaceError((*where, str(other)), f"unknown key beside `{key}`; check the spelling, or remove it")
    if not isinstance(found, list) or not found:
        raise SpaceError((*where, key), f"`{key}` is a list of at least one; we got {found!r}")
    return found


def searched(node: Any) -> Iterator[NumberRange | Choices]:
    """All ranges and choices of a part of a template."""
    if isinstance(node, NumberRange | Choices):
        yield node
    for inner in inside(node):
        yield from searched(inner)


def inside(node: Any) -> list[Any]:
    """The parts that a part of a template is made of."""
    if isinstance(node, Choices):
        return list(node.choices)
    return list(node.values()) if isinstance(node, Mapping) else []


def places(node: Any, path: tuple[str, ...], where: Where = ()) -> Iterator[tuple[tuple[str, ...], Where, Any]]:
    """Every part of a template with its path, labels of choices included, and where it stands in a file."""
    yield path, where, node
    if isinstance(node, Choices):
        key = "together" if node.together else "choices"
        for index, (label, choice) in enumerate(zip(node.labels, node.choices, strict=True)):
            yield from places(choice, (*path, label), (*where, key, index))
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from places(value, (*path, name), (*where, name))


def word_of(choice: Any) -> str:
    """A word for a choice: its name, its kind with the fields that are fixed, or the value."""
    if not isinstance(choice, Mapping):
        return str(choice).lower() if isinstance(choice, bool) else str(choice)
    if NAME in choice:
        return str(choice[NAME])
    fixed = [
        f"{key} {value}"
        for key, value in choice.items()
        if key != "kind" and not isinstance(value, Mapping | NumberRange | Choices)
    ]
    return " ".join([str(choice.get("kind", "")), *fixed]).strip()


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
