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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from harness.core.yaml import Where
from harness.search.template import NAME, Choices, NumberRange, SpaceError, is_number, places, read_template

Path = tuple[str, ...]

__all__ = ["Choices", "Chooser", "NumberRange", "SpaceParameter", "SpacePoint", "SearchSpace", "read_template"]


class SpaceParameter(NamedTuple):
    """Something that is searched.

    Args:
        name: short, unique in its space.
        path: where it stands; kinds of choices included.
        node: what it may be.
        where: the same place in the file.
    """

    name: str
    path: tuple[str, ...]
    node: NumberRange | Choices
    where: Where = ()


class SpacePoint(NamedTuple):
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
    """Chooses coordinates, one by one; Optuna's trials are choosers."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number from low to high, both included."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """An integer from low to high, both included."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """One of the words."""


class SearchSpace:
    """A template and the parameters in it.

    Args:
        template: nested mappings, with `NumberRange` and `Choices` where something is searched.
        on_grid: search declared values only.

    Raises:
        SpaceError: nothing is searched, numbers that are to stay below others cannot, fields stand twice, or a grid
            lacks declared values.
    """

    def __init__(self, template: Mapping[str, Any], on_grid: bool = False) -> None:
        self.template, self.on_grid = dict(template), on_grid
        everything = list(places(self.template, ()))
        found = [(path, where, node) for path, where, node in everything if isinstance(node, NumberRange | Choices)]
        paths = [path for path, _, _ in found]
        self.parameters = [SpaceParameter(_short(path, paths), path, node, where) for path, where, node in found]
        self._names = {one.path: one.name for one in self.parameters}
        if not self.parameters:
            raise SpaceError((), "nothing to search: the space has no range `{low, high}` and no `{choices}`")
        for _, where, node in everything:
            if isinstance(node, Mapping):
                _check_fields(node, where)
        for one in self.parameters:
            if on_grid and isinstance(one.node, NumberRange) and one.node.values is None:
                raise SpaceError(
                    one.where, f"'{one.name}' has no declared `values`, which a grid needs; give it some, or use tpe"
                )

    def draw(self, chooser: Chooser) -> SpacePoint:
        """Choose a point."""
        point = SpacePoint({}, {}, {})
        point.filled.update(self._fill(self.template, (), chooser, point))
        return point

    def branches(self) -> Iterator[tuple[SpaceParameter, dict[str, str]]]:
        """Every choice's labels, one at a time, with those of the choices that it stands in."""
        among = [one for one in self.parameters if isinstance(one.node, Choices)]
        for one in among:
            above = {
                other.name: one.path[len(other.path)]
                for other in among
                if len(other.path) < len(one.path) and one.path[: len(other.path)] == other.path
            }
            assert isinstance(one.node, Choices)
            for label in one.node.labels:
                yield one, {**above, one.name: label}

    def _fill(self, node: Any, path: tuple[str, ...], chooser: Chooser, point: SpacePoint) -> Any:
        if isinstance(node, NumberRange):
            return self._number(node, path, chooser, point)
        if isinstance(node, Choices):
            name = self._names[path]
            label = chooser.suggest_categorical(name, node.labels)
            point.coordinates[name] = point.settings[name] = label
            return self._fill(node.choices[node.labels.index(label)], (*path, label), chooser, point)
        if isinstance(node, Mapping):
            return _joined(
                node, {key: self._fill(node[key], (*path, key), chooser, point) for key in _order(node) or ()}
            )
        return node

    def _bound(self, node: NumberRange, path: tuple[str, ...], settings: Mapping[str, Any]) -> float:
        """What a number may not exceed, of those that are chosen already."""
        return math.inf if node.below is None else float(settings[self._names[*path[:-1], node.below]])

    def _number(self, node: NumberRange, path: tuple[str, ...], chooser: Chooser, point: SpacePoint) -> float | int:
        name, bound = self._names[path], self._bound(node, path, point.settings)
        if self.on_grid:
            values = _allowed(node, bound)
            if node.below is None:
                at = chooser.suggest_int(name, 0, len(values) - 1)
                point.coordinates[name] = at
            else:
                share = chooser.suggest_float(f"{name} position", 0.0, 1.0)
                point.coordinates[f"{name} position"] = share
                at = min(int(share * len(values)), len(values) - 1)
            value = values[at]
        elif node.below is not None:
            share = chooser.suggest_float(f"{name} position", 0.0, 1.0)
            point.coordinates[f"{name} position"] = share
            value = min(node.rounded(node.between(share, min(node.high, bound))), bound)
            value = math.floor(value) if node.whole else value
        elif node.whole:
            value = chooser.suggest_int(name, int(node.low), int(node.high), log=node.log)
            point.coordinates[name] = value
        else:
            chosen = chooser.suggest_float(name, node.low, node.high, log=node.log)
            point.coordinates[name] = chosen
            value = node.rounded(chosen)
        point.settings[name] = result = _typed(node, value)
        return result

    def grid(self) -> Iterator[SpacePoint]:
        """Every combination of declared values and choices that is allowed.

        Raises:
            SpaceError: a number without declared values.
        """
        SearchSpace(self.template, on_grid=True)
        for settings, filled in self._combinations(self.template, (), {}):
            yield SpacePoint({}, settings, filled)

    def _combinations(
        self, node: Any, path: tuple[str, ...], before: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], Any]]:
        """Settings, those before included, and what stands at `path` with them."""
        if isinstance(node, NumberRange):
            for value in _allowed(node, self._bound(node, path, before)):
                result = _typed(node, value)
                yield before | {self._names[path]: result}, result
        elif isinstance(node, Choices):
            for label, choice in zip(node.labels, node.choices, strict=True):
                yield from self._combinations(choice, (*path, label), before | {self._names[path]: label})
        elif isinstance(node, Mapping):
            yield from self._mappings(node, _order(node) or [], path, before, {})
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
            yield before, _joined(node, filled)
            return
        for settings, value in self._combinations(node[keys[0]], (*path, keys[0]), before):
            yield from self._mappings(node, keys[1:], path, settings, filled | {keys[0]: value})

    def locate(self, filled: Mapping[str, Any], full: Mapping[str, Any] | None = None) -> SpacePoint | None:
        """The point whose filled template this is; None if the space does not contain it.

        Args:
            filled: the template with values.
            full: the same with every default written out; for keys that `filled` leaves out.
        """
        point = SpacePoint({}, {}, dict(filled))
        return point if self._find(self.template, filled, full or {}, (), point) else None

    def _find(self, node: Any, value: Any, full: Any, path: tuple[str, ...], point: SpacePoint) -> bool:
        if isinstance(node, NumberRange):
            return self._place(node, value, path, point)
        if isinstance(node, Choices):
            return any(self._is_chosen(label, value, full, path, point) for label in node.labels)
        if isinstance(node, Mapping):
            value, full = ({"kind": one} if isinstance(one, str) else one for one in (value, full))
            full = full if isinstance(full, Mapping) else {}
            for candidate in (value, full):  # the latter where an alias was given, such as heun for rk2
                trial = SpacePoint({}, {**point.settings}, {})
                if isinstance(candidate, Mapping) and self._matches(node, {**candidate}, full, path, trial):
                    point.coordinates.update(trial.coordinates)
                    point.settings.update(trial.settings)
                    return True
            return False
        return bool(_bare(node) == _bare(value))

    def _is_chosen(self, label: str, value: Any, full: Any, path: tuple[str, ...], point: SpacePoint) -> bool:
        """Whether a choice's label stands for a value; if so its coordinates are noted."""
        name = self._names[path]
        node = next(one.node for one in self.parameters if one.path == path)
        assert isinstance(node, Choices)
        trial = SpacePoint({}, {**point.settings, name: label}, {})
        if not self._find(node.choices[node.labels.index(label)], value, full, (*path, label), trial):
            return False
        point.coordinates.update({name: label, **trial.coordinates})
        point.settings.update(trial.settings)
        return True

    def _matches(
        self,
        node: Mapping[str, Any],
        value: dict[str, Any],
        full: Mapping[str, Any],
        path: tuple[str, ...],
        point: SpacePoint,
    ) -> bool:
        """Whether fields are those of a mapping, of its sets of fields one each."""
        sets = [key for key, inner in node.items() if isinstance(inner, Choices) and inner.together]
        plain = [key for key in _order(node) or () if key not in sets and key != NAME]
        known = {key: full[key] for key in plain if key in full} | value
        if not all(
            key in known and self._find(node[key], known[key], full.get(key), (*path, key), point) for key in plain
        ):
            return False
        rest = {key: found for key, found in value.items() if key not in plain}
        if not sets:
            return not rest
        if len(sets) > 1:  # which fields are whose is not worth finding out
            return False
        node_of = node[sets[0]]
        return any(self._is_chosen(label, rest, full, (*path, sets[0]), point) for label in node_of.labels)

    def _place(self, node: NumberRange, value: Any, path: tuple[str, ...], point: SpacePoint) -> bool:
        if not is_number(value):
            return False
        name, bound, given = self._names[path], self._bound(node, path, point.settings), value
        point.settings[name] = value = _typed(node, value)
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
        if not node.low <= value <= min(node.high, bound) or (node.whole and value != given):
            return False
        if node.below is not None:
            share = node.position(value, min(node.high, bound))
            point.coordinates[f"{name} position"] = min(max(share, 0.0), 1.0)
        else:
            point.coordinates[name] = _typed(node, value)
        return True


def _joined(node: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
    """Filled fields in their order, a set of fields in the place of its key."""
    found: dict[str, Any] = {}
    for key, inner in node.items():
        if isinstance(inner, Choices) and inner.together:
            found |= {name: value for name, value in filled[key].items() if name != NAME}
        else:
            found[key] = filled[key]
    return found


def _typed(node: NumberRange, value: float) -> float | int:
    return int(value) if node.whole else float(value)


def _bare(value: Any) -> Any:
    """A kind without fields as the bare word."""
    return value["kind"] if isinstance(value, Mapping) and set(value) == {"kind"} else value


def _short(path: tuple[str, ...], paths: list[tuple[str, ...]]) -> str:
    """The end of a path that no other one has."""
    for count in range(1, len(path)):
        if sum(other[-count:] == path[-count:] for other in paths) == 1:
            return ".".join(path[-count:])
    return ".".join(path)


def _check_fields(node: Mapping[str, Any], where: Where) -> None:
    """Numbers of a mapping can stay below the others that they name, and no field stands twice."""
    for key, inner in node.items():
        if isinstance(inner, NumberRange) and inner.below is not None:
            other = node.get(inner.below)
            if not isinstance(other, NumberRange) or inner.below == key:
                raise SpaceError(
                    (*where, key, "below"),
                    f"'{key}' is to stay below '{inner.below}', which is not a range beside it; name one that is",
                )
            _check_below(key, inner, other, where)
        if isinstance(inner, Choices) and inner.together:
            twice = sorted({name for one in inner.choices for name in one if name in node} - {NAME})
            if twice:
                raise SpaceError((*where, key), f"`{twice[0]}` stands beside '{key}' and in it; keep one of the two")
    if _order(node) is None:
        raise SpaceError(where, "numbers are to stay below one another in a circle; remove one `below`")


def _check_below(key: str, inner: NumberRange, other: NumberRange, where: Where) -> None:
    """Whatever the other number is, there is something left below it."""
    for lowest, least, what in (
        (inner.low, other.low, "low"),
        ((inner.values or (0,))[0], (other.values or (math.inf,))[0], "its lowest value"),
    ):
        if lowest > least:
            raise SpaceError(
                (*where, key),
                f"'{key}' is to stay below '{inner.below}', which may be {least:g}, and {what} is {lowest:g}; lower it",
            )


def _order(node: Mapping[str, Any]) -> list[str] | None:
    """Keys in the order of choosing: what is to stay below another number comes after it; None in a circle."""
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
