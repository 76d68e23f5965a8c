"""Two trials side by side: on every metric that both were measured by, on the same seeds.

Numbers that differ in extractor, reference, number of images, seeds or label policy are not compared; the reasons are
given instead.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from harness.core.errors import InputError
from harness.metrics import METRICS
from harness.metrics.statistics.jackknife import Interval, Replicates, compare, jackknife
from harness.store.database import Store
from harness.store.names import find_in_store

SAME = ("metric", "extractor", "reference", "first_seed", "n")
SHORTEST = 6
"""Letters of a fingerprint that name a trial."""

Verdict = Literal["a better", "b better", "undecided"]


class Pair(NamedTuple):
    """Two trials under one metric, on common seeds.

    Args:
        metric: its name.
        extractor, reference, first_seed, n: what both share.
        a, b: their values.
        difference: a - b with its interval, paired by blocks of seeds; None with too few blocks.
        ratio: a / b with its interval; None where a value is not above zero.
        unpaired: half-width of the difference's interval if the seeds were not shared; None like `difference`.
        verdict: which is better.
    """

    metric: str
    extractor: str
    reference: str
    first_seed: int
    n: int
    a: float
    b: float
    difference: Interval | None
    ratio: Interval | None
    unpaired: float | None
    verdict: Verdict


class Compared(NamedTuple):
    """Two trials, the metrics that both have, and what could not be compared, in words."""

    a: str
    b: str
    pairs: list[Pair]
    apart: list[str]


def compare_trials(store: Store, a: str, b: str, other: Store | None = None) -> Compared:
    """Compare two trials of a store, or of two.

    Args:
        store: where they are.
        a, b: the beginning of a fingerprint, or `GRID:DENOISER:SERIES@NFE`.
        other: where b is, if that is another store; it may be the same trial there.

    Raises:
        InputError: no such trial, several, the same twice, or label policies that differ.
    """
    names = find_trial(store, a), find_trial(other or store, b)
    if names[0] == names[1] and other is None:
        raise InputError(f"'{a}' and '{b}' are one trial, {names[0][:12]}; name two")
    mine, theirs = _finished(store, names[0]), _finished(other or store, names[1])
    labels = [rows[0]["trial"]["labels"] for rows in (mine, theirs)]
    if labels[0] != labels[1]:
        raise InputError(f"label policies differ ({labels[0]} and {labels[1]}), so the numbers cannot be compared")
    by_key = {_key(row): row for row in theirs}
    pairs = [_pair(row, by_key[_key(row)]) for row in sorted(mine, key=_key) if _key(row) in by_key]
    return Compared(*names, pairs, _apart(mine, theirs))


def _finished(store: Store, fingerprint: str) -> list[dict[str, Any]]:
    """The finished results of a trial, one at least."""
    rows = [row for row in store.results([fingerprint]) if row["status"] == "done"]
    if not rows:
        raise InputError(f"trial {fingerprint[:12]} has no finished result; run its grid")
    return rows


def find_trial(store: Store, name: str) -> str:
    """The fingerprint of a trial by its beginning, or by its place in a grid.

    Raises:
        InputError: none, or several.
    """
    if ":" in name:
        return _in_grid(store, name)
    if len(name) < SHORTEST:
        raise InputError(
            f"'{name}': a trial is named by at least {SHORTEST} letters of its fingerprint; see show --csv"
        )
    fingerprints = sorted(
        {row["fingerprint"] for row in store.results() if row["fingerprint"].startswith(name.lower())}
    )
    if len(fingerprints) != 1:
        have = (
            f"{len(fingerprints)} trials begin so; give more letters"
            if fingerprints
            else "no trial begins so; see show --csv"
        )
        raise InputError(f"'{name}': {have}")
    return str(fingerprints[0])


def _in_grid(store: Store, name: str) -> str:
    """`GRID:DENOISER:SERIES@NFE`; names of denoisers and series may have colons themselves."""
    place, _, nfe = name.rpartition("@")
    grid, _, curve = place.partition(":")
    if ":" not in curve or not nfe.isdigit():
        raise InputError(f"'{name}': a trial of a grid is named GRID:DENOISER:SERIES@NFE")
    plan = store.grid(find_in_store(store, grid)) or {}
    items = [item for item in plan["items"] if f"{item['panel']}:{item['series']}" == curve]
    if not items:
        known = sorted({f"{item['panel']}:{item['series']}" for item in plan["items"]})
        raise InputError(f"'{name}': no such series; grid '{grid}' has: {', '.join(known)}")
    fingerprints = {item["fingerprint"] for item in items if item["nfe"] == int(nfe)}
    if len(fingerprints) != 1:
        known = sorted({item["nfe"] for item in items})
        raise InputError(f"'{name}': {len(fingerprints)} trials at that NFE; there are: {', '.join(map(str, known))}")
    return str(fingerprints.pop())


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in SAME)


def _pair(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pair:
    shared = {name: a[name] for name in SAME}
    numbers = a["value"], b["value"]
    count = len(a["blocks"] or [])
    if count < 2 or a["blocks"] != b["blocks"] or any(len(side["replicates"] or []) != count for side in (a, b)):
        return Pair(
            **shared, a=numbers[0], b=numbers[1], difference=None, ratio=None, unpaired=None, verdict="undecided"
        )
    end = a["first_seed"] + a["n"]
    one, other = (Replicates.stored(row["value"], row["replicates"], row["blocks"], end) for row in (a, b))
    comparison = compare(one, other)
    alone = [jackknife(*side) for side in (one, other)]
    apart = math.hypot(*(side.high - side.estimate for side in alone if side is not None))
    verdict: Verdict = comparison.verdict
    if verdict != "undecided" and _higher_is_better(a):
        verdict = "b better" if verdict == "a better" else "a better"
    return Pair(
        **shared,
        a=numbers[0],
        b=numbers[1],
        difference=comparison.difference,
        ratio=comparison.ratio,
        unpaired=apart,
        verdict=verdict,
    )


def _higher_is_better(row: Mapping[str, Any]) -> bool:
    """Which way a metric is better, as the row says, or in older rows its class; lower, if nothing says."""
    better = row["provenance"].get("display", {}).get("better")
    if better is None:
        member = METRICS.find((row["provenance"].get("choice") or {}).get("kind", row["metric"]))
        better = member.better if member else "lower"
    return bool(better == "higher")


def _apart(mine: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    """For every number that only one has: what the nearest of the other differs in."""
    differences = []
    for row, others in [*((row, theirs) for row in mine), *((row, mine) for row in theirs)]:
        if any(_key(row) == _key(other) for other in others):
            continue
        near = [other for other in others if other["metric"] == row["metric"]]
        if not near:
            differences.append(f"{row['metric']} (N = {row['n']:,}) was measured of {row['fingerprint'][:12]} only")
            continue
        differ = [f"{name} {row[name]} and {near[0][name]}" for name in SAME if row[name] != near[0][name]]
        differences.append(f"{row['metric']}: not comparable, {', '.join(differ)}")
    return list(dict.fromkeys(differences))
