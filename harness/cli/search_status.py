"""Where studies stand, and what one came to, in lines for a terminal; read from the store alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from harness.cli.search_progress import words
from harness.core.errors import InputError
from harness.core.text import printable
from harness.metrics.statistics.jackknife import Interval, Replicates, jackknife
from harness.search.loop import Budget
from harness.search.plan import SearchPlan
from harness.search.study import StudyOutcome
from harness.store.database import Store
from harness.store.studies import Studies

KNOWN = ("baseline", "paper")
"""Roles of what the best is compared with."""


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
        stands = words(rows, Budget(**(row["budget"] or {"trials": None})), record["objective"]["better"])
        finals = row["finals"]
        measured = len(_fresh(store, row)) if finals else 0
        wanted = len({final["fingerprint"] for final in finals or []})
        fresh = f"{measured} of {wanted}" if finals else "not yet"
        names = (one, spec["target"], record["denoiser"], record["metric"]["title"])
        table.add_row(*(escape(printable(text)) for text in names), str(spec["nfe"]), stands, fresh, row["updated_at"])
    return table


def result_lines(search: SearchPlan, outcome: StudyOutcome, store: Store) -> list[str]:
    """What a study came to: trials, cost, and the best setting on fresh seeds against what it is compared with."""
    studies = Studies(store)
    row = studies.find(search.name)
    assert row is not None
    budget = Budget(**(row["budget"] or {"trials": None}))
    lines = [f"{search.name}: {words(outcome.rows, budget, search.objective.better)}"]
    if outcome.note:
        lines.append(f"note: {outcome.note}")
    if outcome.holdout is not None:
        fresh = outcome.holdout
        lines.append(
            f"fresh seeds, outside the budget: {fresh.done} settings measured, {fresh.failed} failed; "
            f"{fresh.evaluations:,} network evaluations in {fresh.seconds:.0f} s"
        )
    return lines + _best_lines(store, row)


def _best_lines(store: Store, row: Mapping[str, Any]) -> list[str]:
    """The best on fresh seeds of all that was measured there, and its paired differences."""
    rows = _fresh(store, row)
    metric, finals = row["record"]["metric"], row["finals"] or []
    sign = 1.0 if metric["better"] == "lower" else -1.0
    measured = [final for final in finals if final["fingerprint"] in rows]
    if not measured or row["spec"]["pareto"]:
        return []

    def value(final: Mapping[str, Any]) -> float:
        return sign * float(rows[final["fingerprint"]]["value"])

    best = min(measured, key=value)
    lines = [f"best on fresh seeds: {_named(best, rows, metric)}", *_against(best, finals, rows, sign)]
    known = {final["fingerprint"] for final in finals if final["role"] in KNOWN}
    found = [final for final in measured if final["fingerprint"] not in known]
    if found and best["fingerprint"] in known:
        best = min(found, key=value)
        lines += [f"best that the search found: {_named(best, rows, metric)}", *_against(best, finals, rows, sign)]
    return lines


def _named(final: Mapping[str, Any], rows: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    return f"{final['label']}, {metric['title']} {_number(rows[final['fingerprint']])}{_settings(final)}"


def _against(
    best: Mapping[str, Any], finals: Sequence[Mapping[str, Any]], rows: Mapping[str, Any], sign: float
) -> list[str]:
    """The differences of a setting from the baseline and the paper's."""
    mine = rows[best["fingerprint"]]
    others = [(final, rows.get(final["fingerprint"])) for final in finals if final["role"] in KNOWN]
    return [
        f"  against {final['label']}, {_number(other)}: {_difference(mine, other, sign)}"
        for final, other in others
        if other is not None and other is not mine
    ]


def _fresh(store: Store, row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Finished results on the fresh seeds, by trial."""
    metric = row["record"]["metric"]
    same = (metric["extractor"], metric["reference"], metric["n"], row["spec"]["fresh_seed"])
    names = list({final["fingerprint"] for final in row["finals"] or []})
    return {
        found["fingerprint"]: found
        for found in store.results(names)
        if (found["extractor"], found["reference"], found["n"], found["first_seed"]) == same
        and found["status"] == "done"
    }


def _number(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.4g}"
    return f"{row['value']:.4g} ({row['low']:.4g} to {row['high']:.4g})"


def _settings(final: Mapping[str, Any]) -> str:
    settings = final["settings"] or {}
    return "".join(
        f", {key} {value:g}" if isinstance(value, float) else f", {key} {value}" for key, value in settings.items()
    )


def _difference(a: Mapping[str, Any], b: Mapping[str, Any], sign: float) -> str:
    """The paired difference of two results on the same seeds, in words."""
    found = paired(a, b)
    if found is None:
        return f"difference {a['value'] - b['value']:+.4g}"
    better = sign * found.low < 0 and sign * found.high < 0
    worse = sign * found.low > 0 and sign * found.high > 0
    verdict = "better" if better else "worse" if worse else "the seeds do not tell them apart"
    return f"difference {found.estimate:+.4g} ({found.low:+.4g} to {found.high:+.4g}), {verdict}"


def paired(a: Mapping[str, Any], b: Mapping[str, Any]) -> Interval | None:
    """The difference of two results on the same blocks of seeds with its interval; None with others, or too few."""
    if a["blocks"] != b["blocks"] or len(a["blocks"] or []) < 2 or a["fingerprint"] == b["fingerprint"]:
        return None
    sizes = np.diff([*a["blocks"], a["first_seed"] + a["n"]])
    one, other = (Replicates(row["value"], np.array(row["replicates"]), sizes) for row in (a, b))
    return jackknife(one.full - other.full, one.left_out - other.left_out, sizes)
