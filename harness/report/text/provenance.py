"""Where the numbers come from: every fact that the rows carry, each distinct value with how many rows have it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.report.text.numbers import plural, significant

SHOWN = 6
"""Distinct values printed of one fact; of numbers, more than this become a range."""


class Fact(NamedTuple):
    """A named fact and its values in words."""

    name: str
    values: list[str]


def facts(rows: Sequence[Mapping[str, Any]]) -> list[Fact]:
    """What the rows' `provenance` says, whatever its keys are, nested ones joined by a dot."""
    found: dict[str, Counter[Any]] = {}
    for row in rows:
        for name, value in _flat(row.get("provenance") or {}, ""):
            found.setdefault(name, Counter())[value] += 1
    return [Fact(name, _words(values, len(rows))) for name, values in found.items()]


def card_facts(card: Mapping[str, Any]) -> list[Fact]:
    """A denoiser's card, likewise."""
    found: dict[str, list[Any]] = {}
    for name, value in _flat(card, ""):
        found.setdefault(name, []).append(value)
    return [Fact(name, [_text(value) for value in values]) for name, values in found.items()]


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their dotted names; the entries of a list share their name, lists of numbers stay whole."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _flat(child, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and not (len(value) > 1 and all(isinstance(entry, (int, float)) for entry in value)):
        for child in value:
            yield from _flat(child, name)
    elif value is not None and value != "":
        yield name, value if isinstance(value, (str, int, float)) else json.dumps(value)


def _words(values: Counter[Any], total: int) -> list[str]:
    if len(values) == 1:
        return [_text(next(iter(values)))]
    if len(values) > SHOWN and all(isinstance(value, (int, float)) for value in values):
        return [f"{significant(min(values))} to {significant(max(values))}"]
    words = [f"{_text(value)} ({count} of {plural(total, 'row')})" for value, count in values.most_common(SHOWN)]
    return words + ([f"and {len(values) - SHOWN} more"] if len(values) > SHOWN else [])


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
