"""What a metric is measured against: the reference statistics and the floor, computed once a store."""

import hashlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.features.configs import ExtractorConfig
from harness.metrics.floor import floor, floor_key, why_no_floor
from harness.metrics.reference_statistics import Statistics, from_arrays
from harness.metrics.references import Place, Reference, all_features, find_reference, read_reference
from harness.store.database import Store

NO_REFERENCE = "none"
"""The reference of a metric that compares with nothing."""


class Known(NamedTuple):
    """The reference of a metric: its identity, with the method where there is one, and what to measure against."""

    id: str
    reference: Reference | None


def reference_of(
    metric: Metric, samples: int, store: Store, device: str | None = None, keeps_floor: bool = True
) -> Known:
    """The reference of a metric and, as facts for the report, the floor at this number of samples.

    The first call on a store runs the extractor over the real images; later ones read what it kept.

    Raises:
        InputError: a reference that is not there, or does not go with the extractor.
    """
    source, extractor = metric.source, metric.features
    if source is None or extractor is None:
        return Known(" | ".join(filter(None, [metric.method, metric.plugin])) or NO_REFERENCE, None)
    place = find_reference(source, extractor)
    id, statistics = _statistics(place, extractor, store, device)
    metric.check_reference(statistics)  # better said before anything is sampled
    training = (lambda: _training(source, extractor)) if metric.needs_training else None
    whole = " | ".join(filter(None, [metric.method, metric.plugin, id]))
    known = Known(whole, Reference(id, statistics, training))
    if keeps_floor:
        _keep_floor(metric, known, samples, store, device)
    return known


def _statistics(place: Place, extractor: ExtractorConfig, store: Store, device: str | None) -> tuple[str, Statistics]:
    """Of a file as they are; of a data set those that the store has, or new ones for it."""
    if place.path is not None:
        reference = read_reference(place, extractor)
        return reference.id, reference.statistics
    name = f"reference:{extractor.identity}:{hashlib.sha256(place.key.encode()).hexdigest()[:32]}"
    fact = store.fact(name)
    if fact is None or not store.files.has(fact["key"]):
        computed = _computed(place, extractor, device)
        if store.read_only:
            return computed.id, from_arrays(computed.statistics.arrays(), computed.id)
        fact = _kept(computed, store)
        store.put_fact(name, fact)
    return fact["id"], from_arrays(store.files.read(fact["key"], fact["sha256"]), str(store.files.folder))


def _computed(place: Place, extractor: ExtractorConfig, device: str | None) -> Reference:
    from harness.execution.devices import devices_for

    where = devices_for(device)[0]
    return read_reference(place, extractor, lambda shape: extractor.load(shape, where))


def _kept(computed: Reference, store: Store) -> dict[str, Any]:
    """The fact of a reference whose statistics are a file of the store now."""
    key = hashlib.sha256(f"reference\n{computed.id}".encode()).hexdigest()
    return {"id": computed.id, "key": key, "sha256": store.files.write(key, computed.statistics.arrays())}


def _keep_floor(metric: Metric, known: Known, samples: int, store: Store, device: str | None) -> None:
    """The floor as a fact of the store, or why there is none."""
    assert known.reference is not None
    key = floor_key(metric.name, metric.identity, known.id, samples)
    if store.fact(key) is not None:
        return
    why = why_no_floor(metric, known.reference.statistics, samples)
    if why:
        store.put_fact(key, {"why": why})
        return
    from harness.execution.devices import devices_for

    try:
        fact = floor(metric, known.reference, samples, device=devices_for(device)[0])._asdict()
    except Exception as error:  # of any metric, a plugin's too: its trials fail with their reason, and the run goes on
        fact = {"why": f"{type(error).__name__}: {error}"}
    store.put_fact(key, fact)


@lru_cache(maxsize=1)
def _training(source: str, extractor: ExtractorConfig) -> np.ndarray:
    """Features of every training image, kept while a run compares many trials with them."""
    return all_features(source, extractor)
