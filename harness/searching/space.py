"""A search space: a sampler in which ranges and choices stand in the place of values.

    solver: {choices: [heun, {kind: rk2, alpha: {low: 0.5, high: 1.2}}]}
    stochasticity:
      kind: churn
      S_tmax: {low: 0.2, high: 80, log: true, values: [0.2, 1, 5, 50]}
      S_tmin: {low: 0.002, high: 10, log: true, below: S_tmax}

What is searched are coordinates. A number's coordinate is its value, but that of one that is to stay `below` another is
its position between its low end and whichever is lower, its high end or the other number: every point is then allowed,
and the ranges that a search method sees do not move. Where only declared `values` are searched, it is an index into
them. A choice's own numbers are there only where it is chosen.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from harness.choice import Choice, Finite, freeze
from harness.errors import InputError
from harness.yamlfile import explain

Values = Annotated[tuple[Finite, ...], BeforeValidator(freeze), Field(min_length=1)]

FINE = 1000
"""Numbers on a linear range are rounded to a decimal place that tells at least so many of them apart."""

DIGITS = 4
"""Significant digits of a number on a logarithmic range."""


class Number(Choice):
    """A range of numbers, its declared values, or both.

    Args:
        low, high: ends, both included; those of the values, if left out.
        log: search its logarithm.
        whole: integers only.
        values: what an exhaustive grid tries.
        below: name of another number that it may not exceed.
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
        if isinstance(values, list | tuple) and values and all(_is_number(value) for value in values):
            ends = {"low": min(values), "high": max(values)}
        read = {**ends, **data}
        return {
            key: float(value) if key in ("low", "high") and _is_number(value) else value for key, value in read.items()
        }

    @model_validator(mode="after")
    def _range(self) -> "Number":
        if not self.low <= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; exchange them")
        if self.log and not self.low > 0:
            raise ValueError(f"a logarithmic range starts above 0; we got low {self.low:g}")
        if self.values is not None and list(self.values) != sorted(set(self.values)):
            raise ValueError("values must rise, each once")
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
            return high
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


class Among(Choice):
    """A choice of samplers' parts, each possibly with ranges of its own.

    Args:
        choices: values, or mappings with a `kind`; at least one.
    """

    choices: Annotated[tuple[Any, ...], BeforeValidator(lambda value: tuple(value)), Field(min_length=1)]

    @property
    def labels(self) -> tuple[str, ...]:
        """A word for each choice; each once."""
        words = [_word(choice) for choice in self.choices]
        return tuple(word if words.count(word) == 1 else f"{word} {index + 1}" for index, word in enumerate(words))


class Parameter(NamedTuple):
    """Something that is searched.

    Args:
        name: short, unique in its space.
        path: where it stands; kinds of choices included.
        node: what it may be.
    """

    name: str
    path: tuple[str, ...]
    node: Number | Among


class Point(NamedTuple):
    """One choice of everything.

    Args:
        coordinates: as a search method knows it.
        settings: the values themselves, by parameter.
        filled: the template with these values in it.
    """

    coordinates: dict[str, Any]
    settings: dict[str, Any]
    filled: dict[str, Any]


class Chooser(Protocol):
    """Chooses coordinates, one by one."""

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        """A number from low to high."""

    def whole(self, name: str, low: int, high: int, log: bool) -> int:
        """An integer from low to high."""

    def one_of(self, name: str, labels: tuple[str, ...]) -> str:
        """One of some words."""


class Space:
    """A template and the parameters in it.

    Args:
        template: nested mappings, with `Number` and `Among` where something is searched.
        on_grid: search declared values only.
    """

    def __init__(self, template: Mapping[str, Any], on_grid: bool = False) -> None:
        self.template, self.on_grid = dict(template), on_grid
        found = list(_parameters(self.template, ()))
        short = [path[-1] for path, _ in found]
        self.parameters = [
            Parameter(path[-1] if short.count(path[-1]) == 1 else ".".join(path), path, node) for path, node in found
        ]
        self._names = {one.path: one.name for one in self.parameters}
        self._check()

    def _check(self) -> None:
        if not self.parameters:
            raise InputError("nothing to search: the space has no range `{low, high}` and no `{choices}`")
        names = {one.name for one in self.parameters}
        for one in self.parameters:
            if isinstance(one.node, Number):
                if one.node.below is not None and one.node.below not in names - {one.name}:
                    raise InputError(f"'{one.name}' is to stay below '{one.node.below}', which is not searched")
                if self.on_grid and one.node.values is None:
                    raise InputError(
                        f"'{one.name}' has no declared `values`, which a grid needs; give it some, or use method tpe"
                    )

    def draw(self, chooser: Chooser) -> Point:
        """Choose a point."""
        point = Point({}, {}, {})
        point.filled.update(self._fill(self.template, (), chooser, point))
        return point

    def _fill(self, node: Any, path: tuple[str, ...], chooser: Chooser, point: Point) -> Any:
        if isinstance(node, Number):
            return self._number(node, self._names[path], chooser, point)
        if isinstance(node, Among):
            name = self._names[path]
            label = chooser.one_of(name, node.labels)
            point.coordinates[name] = point.settings[name] = label
            return self._fill(node.choices[node.labels.index(label)], (*path, label), chooser, point)
        if isinstance(node, Mapping):
            filled = {key: self._fill(node[key], (*path, key), chooser, point) for key in _order(node)}
            return {key: filled[key] for key in node}
        return node

    def _number(self, node: Number, name: str, chooser: Chooser, point: Point) -> float | int:
        bound = math.inf if node.below is None else point.settings.get(node.below, math.inf)
        if self.on_grid:
            values = _allowed(node, bound)
            if node.below is None:
                at = chooser.whole(name, 0, len(values) - 1, False)
                point.coordinates[name] = at
            else:
                share = chooser.real(f"{name} position", 0.0, 1.0, False)
                point.coordinates[f"{name} position"] = share
                at = min(int(share * len(values)), len(values) - 1)
            value = values[at]
        elif node.below is not None:
            share = chooser.real(f"{name} position", 0.0, 1.0, False)
            point.coordinates[f"{name} position"] = share
            value = min(node.rounded(node.between(share, min(node.high, bound))), bound)
        elif node.whole:
            value = chooser.whole(name, int(node.low), int(node.high), node.log)
            point.coordinates[name] = value
        else:
            chosen = chooser.real(name, node.low, node.high, node.log)
            point.coordinates[name] = chosen
            value = node.rounded(chosen)
        result = int(value) if node.whole else float(value)
        point.settings[name] = result
        return result

    def grid(self) -> Iterator[Point]:
        """Every combination of declared values and choices that is allowed.

        Raises:
            InputError: a number without declared values.
        """
        Space(self.template, on_grid=True)
        for settings, filled in self._combinations(self.template, (), {}):
            yield Point({}, settings, filled)

    def _combinations(
        self, node: Any, path: tuple[str, ...], before: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Settings, those before included, and what stands at `path` with them."""
        if isinstance(node, Number):
            bound = math.inf if node.below is None else before.get(node.below, math.inf)
            for value in node.values or ():
                if value <= bound:
                    result = int(value) if node.whole else float(value)
                    yield before | {self._names[path]: result}, result
        elif isinstance(node, Among):
            for label, choice in zip(node.labels, node.choices, strict=True):
                yield from self._combinations(choice, (*path, label), before | {self._names[path]: label})
        elif isinstance(node, Mapping):
            yield from self._mappings(node, _order(node), path, before, {})
        else:
            yield before, node

    def _mappings(
        self,
        node: Mapping[str, Any],
        keys: list[str],
        path: tuple[str, ...],
        before: dict[str, Any],
        filled: dict[str, Any],
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        if not keys:
            yield before, {key: filled[key] for key in node}
            return
        for settings, value in self._combinations(node[keys[0]], (*path, keys[0]), before):
            yield from self._mappings(node, keys[1:], path, settings, filled | {keys[0]: value})

    def locate(self, filled: Mapping[str, Any]) -> Point | None:
        """The point whose filled template this is; None if the space does not contain it."""
        point = Point({}, {}, dict(filled))
        return point if self._find(self.template, filled, (), point) else None

    def _find(self, node: Any, value: Any, path: tuple[str, ...], point: Point) -> bool:
        if isinstance(node, Number):
            return self._place(node, value, self._names[path], point)
        if isinstance(node, Among):
            for label, choice in zip(node.labels, node.choices, strict=True):
                trial = Point({}, dict(point.settings), {})
                if self._find(choice, value, (*path, label), trial):
                    name = self._names[path]
                    point.coordinates.update({**trial.coordinates, name: label})
                    point.settings.update({**trial.settings, name: label})
                    return True
            return False
        if isinstance(node, Mapping):
            value = {"kind": value} if isinstance(value, str) else value
            same = isinstance(value, Mapping) and set(value) == set(node)
            return same and all(self._find(node[key], value[key], (*path, key), point) for key in _order(node))
        return bool(node == value)

    def _place(self, node: Number, value: Any, name: str, point: Point) -> bool:
        if not _is_number(value):
            return False
        bound = math.inf if node.below is None else point.settings.get(node.below, math.inf)
        point.settings[name] = value
        if self.on_grid:
            values = _allowed(node, bound)
            if value not in values:
                return False
            at = values.index(value)
            if node.below is None:
                point.coordinates[name] = at
            else:
                point.coordinates[f"{name} position"] = (at + 0.5) / len(values)
            return True
        if not node.low <= value <= min(node.high, bound):
            return False
        if node.below is not None:
            share = node.position(value, min(node.high, bound))
            point.coordinates[f"{name} position"] = min(max(share, 0.0), 1.0)
        else:
            point.coordinates[name] = int(value) if node.whole else float(value)
        return True


def read_template(data: Any, where: str = "") -> Any:
    """A template from YAML: ranges and choices become `Number` and `Among`.

    Raises:
        InputError: a range or a choice that is not well-formed; names the place.
    """
    if isinstance(data, Mapping):
        keys = set(data)
        try:
            if "choices" in keys:
                choices = data["choices"]
                if not isinstance(choices, list):
                    raise InputError(f"{where}: `choices` is a list; we got {choices!r}")
                return Among.model_validate(
                    {**data, "choices": [read_template(one, f"{where}.{_word(one)}") for one in choices]}
                )
            if {"low", "high"} & keys or "values" in keys:
                return Number.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join([where, *(str(part) for part in first["loc"])])
            raise InputError(f"{place}: {explain(first)}") from None
        return {key: read_template(value, f"{where}.{key}" if where else str(key)) for key, value in data.items()}
    return data


def _parameters(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Number | Among]]:
    if isinstance(node, Number):
        yield path, node
    elif isinstance(node, Among):
        yield path, node
        for label, choice in zip(node.labels, node.choices, strict=True):
            yield from _parameters(choice, (*path, label))
    elif isinstance(node, Mapping):
        for key in _order(node):
            yield from _parameters(node[key], (*path, key))


def _order(node: Mapping[str, Any]) -> list[str]:
    """Keys in the order of choosing: what is to stay below another number comes after it."""
    bounded = [key for key, value in node.items() if isinstance(value, Number) and value.below is not None]
    return [key for key in node if key not in bounded] + bounded


def _allowed(node: Number, bound: float) -> list[float]:
    """The declared values up to a bound; the lowest where all are above it."""
    values = list(node.values or ())
    return list(itertools.takewhile(lambda value: value <= bound, values)) or values[:1]


def _word(choice: Any) -> str:
    """A word for a choice: its kind with the fields that are fixed, or the value."""
    if not isinstance(choice, Mapping):
        return str(choice)
    fixed = [
        f"{key} {value}"
        for key, value in choice.items()
        if key != "kind" and not isinstance(value, Mapping | Number | Among)
    ]
    return " ".join([str(choice.get("kind", "")), *fixed]).strip()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
