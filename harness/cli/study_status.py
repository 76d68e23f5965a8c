"""Where the studies of a store stand, from the store alone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from harness.cli.console import plain
from harness.core.errors import InputError
from harness.search.progress import Budget, Rows, best_of, spent
from harness.store.database import Store
from harness.store.studies import DONE, FAILED, PRUNED, RUNNING, Studies


def status_table(store: Store, name: str | None = None) -> Table:
    """A line for each study of a store, or for one.

    Raises:
        InputError: there is none, or none of that name.
    """
    studies = Studies(store)
    every = studies.names()
    if not every:
        raise InputError(f"{store.name}: no search has been run into this store; `harness search` begins one")
    if name is not None and name not in every:
        raise InputError(f"no study '{name}' in this store; it has: {', '.join(every)}")
    table = Table("study", "target", "denoiser", "metric", "NFE", "where it stands", "fresh seeds", "updated")
    for one in [name] if name else every:
        row = studies.find(one)
        assert row is not None
        spec, record = row["spec"], row["record"]
        rows = {slot["number"]: slot for slot in studies.slots(one)}
        stands = study_line(rows, Budget(**(row["budget"] or {"trials": None})), record["objective"]["better"])
        finals = row["finals"]
        measured = len(fresh_rows(store, row)) if finals else 0
        wanted = len({final["fingerprint"] for final in finals or []})
        fresh = f"{measured} of {wanted}" if finals else "not yet"
        moment = f"{row['updated_at'][:19]}Z"
        names = (one, spec["target"], record["denoiser"], record["metric"]["title"])
        table.add_row(*map(plain, names), str(spec["nfe"]), stands, fresh, moment)
    return table


def study_line(rows: Rows, budget: Budget, better: str) -> str:
    """Where a study stands, in one line."""
    counts = Counter(row["status"] for row in rows.values())
    cost = spent(rows)
    repeats = sum(row["twin"] is not None for row in rows.values())
    finished = len(rows) - counts[RUNNING]
    parts = [f"{finished}/{budget.trials} trials" if budget.trials is not None else f"{finished} trials"]
    parts.append(
        f"{cost:,}/{budget.evaluations:,} evaluations" if budget.evaluations is not None else f"{cost:,} evaluations"
    )
    parts += [f"{counts[status]} {status}" for status in (DONE, PRUNED, FAILED) if counts[status]]
    parts += [f"{repeats} repeats"] if repeats else []
    best = best_of(list(rows.values()), better)
    if best is not None:
        parts.append(f"best {rows[best]['value']:.4g} (no. {best})")
    return " · ".join(parts)


def fresh_rows(store: Store, row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Finished results on the fresh seeds, by trial."""
    metric = row["record"]["metric"]
    same = (metric["extractor"], metric["reference"], metric["n"], row["spec"]["fresh_seed"])
    names = list({final["fingerprint"] for final in row["finals"] or []})
    return {
        result["fingerprint"]: result
        for result in store.results(names)
        if (result["extractor"], result["reference"], result["n"], result["first_seed"]) == same
        and result["status"] == "done"
    }
