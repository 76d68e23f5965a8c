"""A search's space as numbers: each parameter of each slot, whether it is a number or a choice, and on which axis."""

import math
from typing import Any, NamedTuple

from harness.report.study import Search, Slot, Value
from harness.report.text.settings import text


class Parameter(NamedTuple):
    """A parameter of the space.

    Args:
        name, path: for people, and in the sampler.
        is_choice: whether it takes words.
        log: whether it is searched on a logarithmic scale.
        low, high: its ends; NaN for a choice.
        choices: what it may be, in words.
    """

    name: str
    path: str
    is_choice: bool
    log: bool
    low: float
    high: float
    choices: tuple[str, ...]

    def of(self, slot: Slot) -> float | str | None:
        """Its value in a slot; None where it is not active, or no number although it should be one."""
        value = slot.settings.get(self.name)
        if value is None:
            return None
        if self.is_choice:
            return text(value)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if is_number and not (self.log and value <= 0) else None


class Point(NamedTuple):
    """A slot with its value at the first rung, which is of the same seeds for all."""

    slot: Slot
    value: Value


def parameters(search: Search) -> list[Parameter]:
    """The space, with the ends that were declared, or those of what was tried."""
    return [_parameter(search, entry) for entry in search.parameters]


def points(search: Search) -> list[Point]:
    """Every slot that ran, repeats left aside, by its value at the first rung."""
    return [Point(slot, slot.first) for slot in search.own if slot.first]


def _parameter(search: Search, entry: dict[str, Any]) -> Parameter:
    name, is_choice = str(entry["name"]), entry["kind"] == "choice"
    tried = [slot.settings[name] for slot in search.own if slot.settings.get(name) is not None]
    bare = Parameter(name, str(entry["path"]), is_choice, False, math.nan, math.nan, ())
    if is_choice:
        words = [text(each) for each in [*(entry.get("choices") or entry.get("values") or []), *tried]]
        return bare._replace(choices=tuple(dict.fromkeys(words)))
    ends = [end for end in (entry.get("low"), entry.get("high"), *(entry.get("values") or [])) if _is_finite(end)]
    ends = ends or [value for value in tried if _is_finite(value)] or [0.0]
    low, high = float(min(ends)), float(max(ends))
    return bare._replace(low=low, high=high, log=bool(entry.get("log")) and low > 0)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
