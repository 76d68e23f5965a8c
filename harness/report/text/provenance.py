"""Where the numbers come from: what identifies a metric, the facts that rows carry, and what was spent on them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.experiments.notes import joined_notes
from harness.report.data import GridData
from harness.report.text.numbers import NONE, evaluations, listing, plural, significant, whole

LEVELS = "levels"
"""What rows keep of their sampler's noise levels, which is no fact to print."""

SHOWN = 6
"""Distinct values printed of one fact; of numbers, more than this become a range."""


class Fact(NamedTuple):
    """A named fact and its values in words."""

    name: str
    values: list[str]


def facts(rows: Sequence[Mapping[str, Any]]) -> list[Fact]:
    """What the rows' `provenance` says, whatever its keys are, nested ones joined by a dot."""
    counts: dict[str, Counter[Any]] = {}
    for row in rows:
        kept = {name: value for name, value in (row.get("provenance") or {}).items() if name != LEVELS}
        for name, value in _flat(kept, ""):
            counts.setdefault(name, Counter())[value] += 1
    return [Fact(name, _words(values, len(rows))) for name, values in counts.items()]


def card_facts(card: Mapping[str, Any]) -> list[Fact]:
    """A denoiser's card, likewise."""
    lines: dict[str, list[Any]] = {}
    for name, value in _flat(card, ""):
        lines.setdefault(name, []).append(value)
    return [Fact(name, [_text(value) for value in values]) for name, values in lines.items()]


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


class Spent(NamedTuple):
    """Network evaluations, padding included, and seconds of computing."""

    evaluations: int
    seconds: float


def spent(rows: Iterable[Mapping[str, Any]]) -> Spent:
    """The sum over rows; samples that several metrics of the same features share are counted once.

    A row is left aside where another row of its trial and extractor holds all of its seeds.
    """
    infos: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["first_seed"], -row["n"], -(row["evaluations"] or 0))):
        own = infos.setdefault((row["fingerprint"], row["extractor"]), [])
        if not any(other["first_seed"] + other["n"] >= row["first_seed"] + row["n"] for other in own):
            own.append(row)
    counted = [row for own in infos.values() for row in own]
    return Spent(sum(row["evaluations"] or 0 for row in counted), sum(row["seconds"] or 0 for row in counted))


NO_REFERENCE = "none"


class Identity(NamedTuple):
    """A metric: its title, N, its seeds, and what must be equal for numbers to be comparable."""

    title: str
    n: str
    seeds: str
    extractor: str
    reference: str
    method: str


def identity(data: GridData) -> Identity:
    """A metric's identity as text; `reference` is "–" where it compares with nothing."""
    metric = data.metric
    method = str(metric.get("method") or "")
    reference = str(metric["reference"]).removeprefix(f"{method} | " if method else "")
    return Identity(
        title=data.title,
        n=whole(metric["n"]),
        seeds=seeds(data),
        extractor=str(metric["extractor"]),
        reference=NONE if reference in (method, NO_REFERENCE) else reference,
        method=method or ("Fréchet distance" if data.is_distance else NONE),
    )


def seeds(data: GridData) -> str:
    """The ranges of seeds: `0 to 511`, or `0 to 511, 512 to 1023 and 1024 to 1535`."""
    n = data.metric["n"]
    return listing([f"{first} to {first + n - 1}" for first in data.first_seeds])


def cautions(data: GridData) -> list[str]:
    """What the rows of a metric ask to keep in mind, each sentence once."""
    told = (sentence for row in data.rows for sentence in (row.get("details") or {}).get("cautions", []))
    return list(dict.fromkeys(told))


def setting_notes(plan: Mapping[str, Any]) -> list[str]:
    """Settings of a plan's samplers without effect, each with the trials that it is about."""
    return joined_notes(
        (note, f"{item['panel']} · {item['series']}", evaluations(item["nfe"]))
        for item in plan["items"]
        for note in item.get("notes", ())
    )


def all_cautions(every: list[GridData]) -> list[str]:
    """The same of all metrics, each sentence once, after the titles of those that it is about."""
    titles: dict[str, list[str]] = {}
    for data in every:
        for sentence in cautions(data):
            titles.setdefault(sentence, []).append(data.title)
    return [f"{listing(about)}: {sentence}" if len(every) > 1 else sentence for sentence, about in titles.items()]
