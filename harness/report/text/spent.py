"""What a run spent, from rows that may share the same samples."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Network evaluations, padding included, and seconds of computing."""

    evaluations: int
    seconds: float


def spent(rows: Iterable[Mapping[str, Any]]) -> Spent:
    """The sum over rows; samples that several metrics of the same features share are counted once.

    A row is left aside where another row of its trial and extractor holds all of its seeds.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["first_seed"], -row["n"], -(row["evaluations"] or 0))):
        own = found.setdefault((row["fingerprint"], row["extractor"]), [])
        if not any(other["first_seed"] + other["n"] >= row["first_seed"] + row["n"] for other in own):
            own.append(row)
    counted = [row for own in found.values() for row in own]
    return Spent(sum(row["evaluations"] or 0 for row in counted), sum(row["seconds"] or 0 for row in counted))
