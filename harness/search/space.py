"""Search spaces: a sampler with ranges and choices in place of values.

    solver: {choices: [heun, {kind: rk2, alpha: {low: 0.5, high: 1.2}}]}
    stochasticity:
      kind: churn
      S_tmax: {low: 0.2, high: 80, log: true, values: [0.2, 1, 5, 50]}
      S_tmin: {low: 0.002, high: 10, log: true, below: S_tmax}

A search method sees coordinates. The coordinate of a number is its value. Two kinds of numbers have another one:

* A number that stays `below` another has its position, from 0 to 1, between its low end and its upper bound: its high
  end or the other number, whichever is lower. So every point is allowed, and the ranges that the method sees are fixed.
* Where only declared `values` are searched, the coordinate is an index into them.

Parameters of a choice have coordinates only where it is taken.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from harness.core.yaml import Where
from harness.search.template import NAME, Choices, NumberRange, SpaceError, is_number, places

Path = tuple[str, ...]


class SpaceParameter(NamedTuple):
    """A range or a choice of a space.

    Args:
        name: the shortest end of its path that is unique in the space.
        path: keys that lead to it, labels of choices included.
        node: the range or the choice.
        where: the same place in the YAML file.
    """

    name: str
    path: Path
    node: NumberRange | Choices
    where: Where = ()


class SpacePoint(NamedTuple):
    """A value for every parameter.

    Args:
        coordinates: what the search method chose, by name.
        settings: values, by parameter.
        filled: the template with these values in place.
    """

    coordinates: dict[str, Any]
    settings: dict[str, Any]
    filled: dict[str, Any]


class Chooser(Protocol):
    """Chooses coordinates, one by one; Optuna's trials are choosers."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from low to high, both included."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An integer from low to high, both included."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of the words."""


class SearchSpace:
    """A template and its parameters.

    Args:
        template: nested mappings with `NumberRange` and `Choices` where something is searched.
        on_grid: search declared values only.

    Raises:
        SpaceError: nothing is searched, a number cannot stay below another, a field stands twice, or a grid lacks
            declared values.
    """

    def __init__(self, template: Mapping[str, Any], on_grid: bool = False) -> None:
        self.template, self.on_grid = dict(template), on_grid
        nodes = list(places(self.template, ()))
        searched = [(path, where, node) for path, where, node in nodes if isinstance(node, NumberRange | Choices)]
        if not searched:
            raise SpaceError((), "nothing to search: the space has no range `{low, high}` and no `{choices}`")
        paths = [path for path, _, _ in searched]
        self.parameters = [SpaceParameter(_short(path, paths), path, node, where) for path, where, node in searched]
        self._names = {one.path: one.name for one in self.parameters}
        for _, where, node in nodes:
            if isinstance(node, Mapping):
                _check_fields(node, where)
        for one in self.parameters:
            if on_grid and isinstance(one.node, NumberRange) and one.node.values is None:
                raise SpaceError(
                    one.where, f"'{one.name}' has no declared `values`, which a grid needs; give it some, or use tpe"
                )

    def draw(self, chooser: Chooser) -> SpacePoint:
        """The point that a chooser chooses."""
        coordinates: dict[str, Any] = {}

        def choose(node: NumberRange | Choices, path: Path, settings: Mapping[str, Any]) -> list[Any]:
            name = self._names[path]
            if isinstance(node, Choices):
                coordinates[name] = chooser.suggest_categorical(name, node.labels)
                return [coordinates[name]]
            bound = self._bound(node, path, settings)
            values = _allowed(node, bound) if self.on_grid else []
            if node.below is not None:
                name = f"{name} position"
                share = coordinates[name] = chooser.suggest_float(name, 0.0, 1.0)
                if self.on_grid:
                    return [values[min(int(share * len(values)), len(values) - 1)]]
                value = min(node.rounded(node.between(share, min(node.high, bound))), bound)
                return [math.floor(value) if node.whole else value]
            if self.on_grid:
                coordinates[name] = chooser.suggest_int(name, 0, len(values) - 1)
                return [values[coordinates[name]]]
            if node.whole:
                coordinates[name] = chooser.suggest_int(name, int(node.low), int(node.high), log=node.log)
                return [coordinates[name]]
            coordinates[name] = chooser.suggest_float(name, node.low, node.high, log=node.log)
            return [node.rounded(coordinates[name])]

        settings, filled = next(self._expand(self.template, (), {}, choose))
        return SpacePoint(coordinates, settings, filled)

    def grid(self) -> Iterator[SpacePoint]:
        """Every allowed combination of declared values and choices; without coordinates.

        Raises:
            SpaceError: a number has no declared values.
        """
        SearchSpace(self.template, on_grid=True)

        def every(node: NumberRange | Choices, path: Path, settings: Mapping[str, Any]) -> Iterable[Any]:
            return node.labels if isinstance(node, Choices) else _allowed(node, self._bound(node, path, settings))

        for settings, filled in self._expand(self.template, (), {}, every):
            yield SpacePoint({}, settings, filled)

    def _expand(
        self,
        node: Any,
        path: Path,
        before: dict[str, Any],
        options: Callable[[NumberRange | Choices, Path, Mapping[str, Any]], Iterable[Any]],
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """A part of the template with each combination of the options.

        Args:
            node: the part.
            path: where it stands.
            before: settings that are chosen already.
            options: the values of a range, or the labels of a choice, that are taken in turn.

        Returns:
            Pairs of settings, those before included, and the filled part.
        """
        if isinstance(node, NumberRange):
            for value in options(node, path, before):
                yield before | {self._names[path]: _typed(node, value)}, _typed(node, value)
        elif isinstance(node, Choices):
            for label in options(node, path, before):
                choice = node.choices[node.labels.index(label)]
                yield from self._expand(choice, (*path, label), before | {self._names[path]: label}, options)
        elif isinstance(node, Mapping):
            partial: Iterator[tuple[dict[str, Any], Any]] = iter([(before, {})])
            for key in _order(node) or []:
                partial = self._expand_key(partial, node[key], (*path, key), options)
            for settings, filled in partial:
                yield settings, _merged(node, filled)
        else:
            yield before, node

    def _expand_key(
        self, partial: Iterator[tuple[dict[str, Any], Any]], node: Any, path: Path, options: Any
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        for settings, filled in partial:
            for chosen, value in self._expand(node, path, settings, options):
                yield chosen, filled | {path[-1]: value}

    def _bound(self, node: NumberRange, path: Path, settings: Mapping[str, Any]) -> float:
        """The chosen number that this one stays below; infinity if there is none."""
        return math.inf if node.below is None else float(settings[self._names[*path[:-1], node.below]])

    def branches(self) -> Iterator[tuple[SpaceParameter, dict[str, str]]]:
        """Every label of every choice, each with the labels of the choices around it."""
        choices = [(one, one.node) for one in self.parameters if isinstance(one.node, Choices)]
        for one, node in choices:
            around = {
                other.name: one.path[len(other.path)]
                for other, _ in choices
                if len(other.path) < len(one.path) and one.path[: len(other.path)] == other.path
            }
            for label in node.labels:
                yield one, {**around, one.name: label}

    def locate(self, filled: Mapping[str, Any], full: Mapping[str, Any] | None = None) -> SpacePoint | None:
        """The point of a filled template; None if the space does not hold it.

        Args:
            filled: the template with values.
            full: the same with every default written out, for keys that `filled` leaves out.
        """
        point = SpacePoint({}, {}, dict(filled))
        return point if self._match(self.template, filled, full or {}, (), point) else None

    def _match(self, node: Any, value: Any, full: Any, path: Path, point: SpacePoint) -> bool:
        """Whether a part of the template can have a value; its coordinates and settings are added to the point."""
        if isinstance(node, NumberRange):
            return self._match_number(node, value, path, point)
        if isinstance(node, Choices):
            return self._match_choice(node, value, full, path, point)
        if isinstance(node, Mapping):
            value, full = ({"kind": one} if isinstance(one, str) else one for one in (value, full))
            full = full if isinstance(full, Mapping) else {}
            for candidate in (value, full):  # the latter where an alias was given, such as heun for rk2
                attempt = SpacePoint({}, {**point.settings}, {})
                if isinstance(candidate, Mapping) and self._match_fields(node, {**candidate}, full, path, attempt):
                    point.coordinates.update(attempt.coordinates)
                    point.settings.update(attempt.settings)
                    return True
            return False
        return bool(_bare(node) == _bare(value))

    def _match_number(self, node: NumberRange, given: Any, path: Path, point: SpacePoint) -> bool:
        if not is_number(given):
            return False
        name, value = self._names[path], _typed(node, given)
        bound = self._bound(node, path, point.settings)
        point.settings[name] = value
        if self.on_grid:
            values = _allowed(node, bound)
            if value not in values:
                return False
            at = values.index(value)
            position = (at + 0.5) / len(values)  # the middle of the positions that mean this value
            coordinate: float = at
        else:
            upper = min(node.high, bound)
            if not node.low <= value <= upper or (node.whole and value != given):
                return False
            position = min(max(node.position(value, upper), 0.0), 1.0)
            coordinate = value
        if node.below is None:
            point.coordinates[name] = coordinate
        else:
            point.coordinates[f"{name} position"] = position
        return True

    def _match_choice(self, node: Choices, value: Any, full: Any, path: Path, point: SpacePoint) -> bool:
        """Whether one of the choices can have a value; the first that can is taken."""
        name = self._names[path]
        for label, choice in zip(node.labels, node.choices, strict=True):
            attempt = SpacePoint({}, {**point.settings, name: label}, {})
            if self._match(choice, value, full, (*path, label), attempt):
                point.coordinates.update({name: label, **attempt.coordinates})
                point.settings.update(attempt.settings)
                return True
        return False

    def _match_fields(
        self, node: Mapping[str, Any], value: dict[str, Any], full: Mapping[str, Any], path: Path, point: SpacePoint
    ) -> bool:
        """Whether a mapping, or the set of fields that is chosen in it, has these fields."""
        sets = [key for key, inner in node.items() if isinstance(inner, Choices) and inner.together]
        plain = [key for key in _order(node) or () if key not in sets and key != NAME]
        known = {key: full[key] for key in plain if key in full} | value
        if not all(
            key in known and self._match(node[key], known[key], full.get(key), (*path, key), point) for key in plain
        ):
            return False
        rest = {key: field for key, field in value.items() if key not in plain}
        if not sets:
            return not rest
        # which field belongs to which of several sets is not worked out: such a point counts as outside of the space
        return len(sets) == 1 and self._match_choice(node[sets[0]], rest, full, (*path, sets[0]), point)


def _merged(node: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """Filled fields in the template's order, with a set of fields in place of its key."""
    fields: dict[str, Any] = {}
    for key, inner in node.items():
        if isinstance(inner, Choices) and inner.together:
            fields |= {name: value for name, value in filled[key].items() if name != NAME}
        else:
            fields[key] = filled[key]
    return fields


def _typed(node: NumberRange, value: float) -> float | int:
    return int(value) if node.whole else float(value)


def _bare(value: Any) -> Any:
    """A kind without fields as the bare word."""
    return value["kind"] if isinstance(value, Mapping) and set(value) == {"kind"} else value


def _short(path: Path, paths: list[Path]) -> str:
    """The shortest end of a path that no other path has."""
    for count in range(1, len(path)):
        if sum(other[-count:] == path[-count:] for other in paths) == 1:
            return ".".join(path[-count:])
    return ".".join(path)


def _check_fields(node: Mapping[str, Any], where: Where) -> None:
    """Refuse numbers that cannot stay below the others that they name, and fields that stand twice."""
    for key, inner in node.items():
        if isinstance(inner, NumberRange) and inner.below is not None:
            other = node.get(inner.below)
            if not isinstance(other, NumberRange) or inner.below == key:
                raise SpaceError(
                    (*where, key, "below"),
                    f"'{key}' is to stay below '{inner.below}', which is not a range beside it; name one that is",
                )
            # whatever the other number is, some value is left below it
            for lowest, least, what in (
                (inner.low, other.low, "low"),
                ((inner.values or (0,))[0], (other.values or (math.inf,))[0], "its lowest value"),
            ):
                if lowest > least:
                    raise SpaceError(
                        (*where, key),
                        f"'{key}' is to stay below '{inner.below}', which may be {least:g}, and {what} is {lowest:g}; "
                        "lower it",
                    )
        if isinstance(inner, Choices) and inner.together:
            twice = sorted({name for one in inner.choices for name in one if name in node} - {NAME})
            if twice:
                raise SpaceError((*where, key), f"`{twice[0]}` stands beside '{key}' and in it; keep one of the two")
    if _order(node) is None:
        raise SpaceError(where, "numbers are to stay below one another in a circle; remove one `below`")


def _order(node: Mapping[str, Any]) -> list[str] | None:
    """Keys in the order of choosing: a number comes after the one that it stays below; None if they form a circle."""
    order, waiting = [], list(node)
    while waiting:
        free = [key for key in waiting if getattr(node[key], "below", None) not in waiting]
        if not free:
            return None
        order += free
        waiting = [key for key in waiting if key not in free]
    return order


def _allowed(node: NumberRange, bound: float) -> list[float]:
    """The declared values up to a bound."""
    return list(itertools.takewhile(lambda value: value <= bound, node.values or ()))
