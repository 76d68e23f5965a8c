"""What a metric is measured against: the reference statistics and the floor, computed once a store."""

import hashlib
from typing import Any, NamedTuple

from harness.metrics import extractors
from harness.metrics.frechet import FrechetReference
from harness.store import Store


class Baseline(NamedTuple):
    """A metric's other side: identities of extractor and reference, and the reference ready for distances."""

    extractor: str
    reference: str
    frechet: FrechetReference


def baseline(metric: str, samples: int, store: Store) -> Baseline:
    """The reference of a metric and, as facts for the report, the floor at this number of samples.

    The first call on a store runs the extractor over the real images; later ones read what it kept.
    """
    extractor = extractors.extractor_id(metric)
    fact = store.fact(f"reference:{extractor}")
    if fact is None or not store.files.has(fact["key"]):
        fact = _compute(metric, extractor, store)
    arrays = store.files.read(fact["key"], fact["sha256"])
    floor_key = f"floor:{extractor}:{fact['id']}:{samples}"
    if store.fact(floor_key) is None:
        from harness.datasets.reference import floor

        low_to_high = floor(arrays["features"], samples)
        store.put_fact(floor_key, low_to_high._asdict() | {"band": f"least to greatest of {low_to_high.draws} draws"})
    return Baseline(extractor, fact["id"], FrechetReference(arrays["mu"], arrays["sigma"]))


def _compute(metric: str, extractor: str, store: Store) -> dict[str, Any]:
    from harness.datasets.reference import reference

    found = reference(extractors.load_extractor(metric), extractors.metric(metric).dataset)
    key = hashlib.sha256(f"reference\n{found.id}".encode()).hexdigest()
    arrays = {"mu": found.mu, "sigma": found.sigma, "features": found.features}
    fact = {"id": found.id, "key": key, "sha256": store.files.write(key, arrays), "n": found.n}
    store.put_fact(f"reference:{extractor}", fact)
    return fact
