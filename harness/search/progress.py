"""Where a study stands, from its trials as they are stored: budget, cost, the best. Loads nothing that samples."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.store.studies import DONE

Rows = Mapping[int, Mapping[str, Any]]
"""The trials of a study by number, as they are stored."""


class Budget(NamedTuple):
    """Limits of a study over all its runs: trials begun, and network evaluations; None for no limit."""

    trials: int | None
    evaluations: int | None = None


def spent(rows: Rows) -> int:
    """Network evaluations of a study."""
    return sum(int(row["evaluations"]) for row in rows.values())


def best_of(rows: Sequence[Mapping[str, Any]], better: str) -> int | None:
    """The number of the best trial that is measured at all its seeds; of equals the first."""
    full = [row for row in rows if row["status"] == DONE and row["twin"] is None]
    if not full:
        return None
    sign = 1.0 if better == "lower" else -1.0
    return int(min(full, key=lambda row: (sign * row["value"], row["number"]))["number"])
