"""Templates: ranges, choices, and choices of several fields together, written in place of values.

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

RESOLUTION = 1000
"""A number on a linear range is rounded to a decimal place that tells at least so many numbers of the range apart."""

DIGITS = 4
"""Significant digits of a number on a logarithmic range."""

NAME = "name"
"""The key of a set's name; it is no field of the sampler."""


class SpaceError(InputError):
    """A mistake in a space; `where` is its place in the YAML file."""

    def __init__(self, where: Where, message: str) -> None:
        super().__init__(message)
        self.where = where


class NumberRange(Config):
    """A range of numbers, with or without declared values.

    Args:
        low, high: ends, both included; by default the least and the largest of the values.
        log: search the logarithm.
        whole: integers only.
        values: what an exhaustive grid tries, in rising order.
        below: another range of the same mapping, whose number this one may not exceed.
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
        """Take missing ends from the values, and read whole ends as floats."""
        if not isinstance(data, Mapping):
            return data
        values, ends = data.get("values"), {}
        if isinstance(values, list | tuple) and values and all(is_number(value) for value in values):
            ends = {"low": min(values), "high": max(values)}
        return {
            key: float(value) if key in ("low", "high") and is_number(value) else value
            for key, value in {**ends, **data}.items()
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
        """A value of the range without digits that do not matter."""
        if self.whole:
            return float(round(value))
        if self.log:
            places = DIGITS - 1 - math.floor(math.log10(abs(value))) if value else 0
        else:
            places = math.ceil(-math.log10((self.high - self.low) / RESOLUTION)) if self.high > self.low else DIGITS
        return min(max(round(value, places), self.low), self.high)

    def between(self, position: float, high: float) -> float:
        """The value at a position from 0 to 1 between the low end and `high`."""
        if high <= self.low:
            return self.low
        if self.log:
            return float(self.low * (high / self.low) ** position)
        return self.low + position * (high - self.low)

    def position(self, value: float, high: float) -> float:
        """The position of a value: the inverse of `between`."""
        if high <= self.low:
            return 0.0
        if self.log:
            return math.log(value / self.low) / math.log(high / self.low)
        return (value - self.low) / (high - self.low)


class Choices(Config):
    """A choice of values, each possibly with ranges and choices of its own.

    Args:
        choices: values, or mappings with a `kind`; at least one.
        together: the choices are sets of fields, each with a `name`; the set that is taken replaces the choice's key.
    """

    choices: Annotated[tuple[Any, ...], BeforeValidator(lambda value: tuple(value)), Field(min_length=1)]
    together: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """A unique word for each choice: its name, its kind with the fields that are fixed, or its value."""
        words = [_label(choice) for choice in self.choices]
        return tuple(word if words.count(word) == 1 else f"{word} {index + 1}" for index, word in enumerate(words))


def _label(choice: Any) -> str:
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


def read_template(data: Any, where: Where = ()) -> Any:
    """A template from YAML data: ranges become `NumberRange`, choices `Choices`.

    Raises:
        SpaceError: a range or a choice is not well-formed.
    """
    if not isinstance(data, Mapping):
        return data
    try:
        if "choices" in data:
            choices = _list_of(data, "choices", where)
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
    sets = []
    for index, one in enumerate(_list_of(data, "together", where)):
        if not isinstance(one, Mapping) or not isinstance(one.get(NAME), str) or len(one) < 2:
            raise SpaceError(
                (*where, "together", index), f"what goes together is a `name` and fields of a sampler; we got {one!r}"
            )
        sets.append(read_template(one, (*where, "together", index)))
    return Choices(choices=tuple(sets), together=True)


def _list_of(data: Mapping[str, Any], key: str, where: Where) -> list[Any]:
    for other in data:
        if other != key:
            raise SpaceError((*where, str(other)), f"unknown key beside `{key}`; check the spelling, or remove it")
    if not isinstance(data[key], list) or not data[key]:
        raise SpaceError((*where, key), f"`{key}` is a list of at least one; we got {data[key]!r}")
    return list(data[key])


def places(node: Any, path: tuple[str, ...], where: Where = ()) -> Iterator[tuple[tuple[str, ...], Where, Any]]:
    """Every part of a template with its path (labels of choices included) and its place in the YAML file."""
    yield path, where, node
    if isinstance(node, Choices):
        key = "together" if node.together else "choices"
        for index, (label, choice) in enumerate(zip(node.labels, node.choices, strict=True)):
            yield from places(choice, (*path, label), (*where, key, index))
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from places(value, (*path, name), (*where, name))


def is_searched(node: Any) -> bool:
    """Whether a part of a template holds a range or a choice."""
    return any(isinstance(inner, NumberRange | Choices) for _, _, inner in places(node, ()))


def is_number(value: Any) -> bool:
    """Whether a value is a number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
