"""Results computed again from what the store kept of the images: a number in a report is then more than a claim.

The moments, features or values of a result's chunks are read, their checksums compared, and the metric is computed anew
against the reference that its row names.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.core.errors import InputError, SamplingError
from harness.core.yaml import explain
from harness.execution.chunks import load_blocks
from harness.execution.reference import Known, reference_of
from harness.execution.results import measure
from harness.execution.seed_ranges import SeedRange
from harness.experiments.trial import canonical
from harness.metrics import METRICS
from harness.metrics.base import Metric
from harness.metrics.references import is_same_reference
from harness.metrics.statistics.frechet_distance import WIDE
from harness.store.database import Store

TOLERANCE, FLOAT32_TOLERANCE = 1e-9, 1e-6
"""Of a value's size: what another order of sums, or another library, may change; and what another processor may change
in float32 features. The store may have the features of real images from another one than a result has: they are
computed where they are lacking, and stores are merged. Of wide features the roots of many small eigenvalues add up, and
another number of threads changes them as much."""

CHECKED = ("value", "low", "high", "nfe")


class Verified(NamedTuple):
    """A result and what became of computing it again.

    Args:
        row: of the result.
        problem: what is wrong, in words; "" if it is as it was.
        worst: the largest difference, of the value's size.
    """

    row: Mapping[str, Any]
    problem: str
    worst: float


def verify(store: Store, fingerprints: list[str] | None = None, device: str | None = None) -> Iterator[Verified]:
    """Compute finished results again, one after the other.

    Args:
        store: where they are.
        fingerprints: of some trials; None for all.
        device: where features of a data set of reference are computed, if that has to be done again.
    """
    store.check_files()
    references: dict[tuple[Any, ...], Known] = {}
    for row in store.results(fingerprints):
        if row["status"] == "done":
            yield _verify(row, store, device, references)


def _verify(
    row: Mapping[str, Any], store: Store, device: str | None, references: dict[tuple[Any, ...], Known]
) -> Verified:
    try:
        again, tolerance = _again(row, store, device, references)
    except (InputError, SamplingError) as error:
        return Verified(row, str(error), math.nan)
    worst, problem = 0.0, ""
    for name in CHECKED:
        before, now = row[name], again[name]
        if name in ("low", "high") and before is not None:
            before = as_now(metric_of(row), row, before, now)
        if before is None or now is None:
            problem = problem or (f"{name} was {before} and is {now}" if before != now else "")
            continue
        size = max(abs(again["value"]), 1e-12) if name != "nfe" else max(abs(now), 1.0)
        apart = abs(before - now) / size
        worst = max(worst, apart)
        if not apart <= tolerance:
            problem = problem or f"{name} was {before:.10g} and is {now:.10g}"
    return Verified(row, problem, worst)


def as_now(metric: Metric, row: Mapping[str, Any], end: float, now: float | None) -> float | None:
    """An interval's end as it is written now: earlier versions wrote no width, and ends out of bounds."""
    if now is None and row["low"] == row["high"]:
        return None
    return metric.bounded(end)


def _again(
    row: Mapping[str, Any], store: Store, device: str | None, references: dict[tuple[Any, ...], Known]
) -> tuple[dict[str, Any], float]:
    """The columns computed anew, and what they may be off; each reference is looked up once."""
    metric, seeds = metric_of(row), SeedRange(row["first_seed"], row["first_seed"] + row["n"] - 1)
    if metric.identity != row["extractor"]:
        raise InputError(f"extractor is '{metric.identity}' now, and was '{row['extractor']}'")
    asked = metric.model_dump_json(), row["n"]
    if asked not in references:
        references[asked] = reference_of(metric, row["n"], store, device, keep=False)
    known = references[asked]
    if not is_same_reference(known.id, row["reference"], row["extractor"]):
        raise InputError(f"reference '{metric.source}' is {known.id} now, and was {row['reference']}")
    chunks = load_blocks(store, metric.sources, row["fingerprint"], seeds, row["blocks"] or [seeds.first])
    is_wide = known.reference is not None and known.reference.statistics.width >= WIDE
    tolerance = FLOAT32_TOLERANCE if is_wide or known.is_of_images else TOLERANCE
    return measure(metric, chunks, known.reference, cut_at=row["blocks"] or None), tolerance


def metric_of(row: Mapping[str, Any]) -> Metric:
    """The metric of a result's row.

    Raises:
        InputError: the row does not say.
    """
    choice = row["provenance"].get("choice")
    if choice is None:
        if METRICS.find(row["metric"]) is None:
            raise InputError(f"the row does not say how '{row['metric']}' was measured")
        choice = {"kind": row["metric"]}
    try:
        return METRICS.read_json(canonical(choice))
    except ValidationError as error:
        told = explain(error.errors()[0])
        raise InputError(f"the row's choice of '{row['metric']}' is none that this version knows: {told}") from None
