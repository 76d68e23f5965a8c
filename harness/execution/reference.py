"""What a metric is measured against: the reference statistics and the floor, computed once a store."""

import hashlib
import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from harness.core.embedded import is_settled
from harness.core.errors import InputError
from harness.datasets.folders import folder_digest, folder_state
from harness.metrics.base import Metric
from harness.metrics.features.configs import ExtractorConfig
from harness.metrics.floor import floor, floor_key, why_no_floor
from harness.metrics.reference_statistics import Statistics, from_arrays
from harness.metrics.references import Place, Reference, all_features, find_reference, read_reference
from harness.store.database import Store

NO_REFERENCE = "none"
"""The reference of a metric that compares with nothing."""


class Known(NamedTuple):
    """The reference of a metric.

    Args:
        id: its identity, with the method where there is one.
        reference: what to measure against.
        is_of_images: whether its features were computed here, from images, and not read from a file of statistics.
    """

    id: str
    reference: Reference | None
    is_of_images: bool = False


def reference_of(metric: Metric, samples: int, store: Store, device: str | None = None, keep: bool = True) -> Known:
    """The reference of a metric and, as facts for the report, the floor at this number of samples.

    The first call on a store runs the extractor over the real images; later ones read what it kept.

    Args:
        metric: whose reference.
        samples: N.
        store: what was computed before, and where new facts go.
        device: where features are computed.
        keep: write what is computed to the store, unless it is only read; otherwise the store stays as it is.

    Raises:
        InputError: a reference that is not there, or does not go with the extractor.
    """
    source, extractor, keep = metric.source, metric.features, keep and not store.read_only
    if source is None or extractor is None:
        return Known(" | ".join(filter(None, [metric.method, metric.plugin])) or NO_REFERENCE, None)
    place = find_reference(source, extractor, metric.compares_single_images)
    facts = _ReferenceFacts(place, extractor, store, device, keep)
    id, statistics = facts.statistics()
    metric.check_reference(statistics)  # better said before anything is sampled
    whole = " | ".join(filter(None, [metric.method, metric.plugin, id]))
    training = facts.training if metric.needs_training else None
    known = Known(whole, Reference(id, statistics, training), is_of_images=place.path is None)
    if keep:
        _keep_floor(metric, known, samples, store, device)
    return known


class _ReferenceFacts(NamedTuple):
    """What a store remembers of a reference under an extractor."""

    place: Place
    extractor: ExtractorConfig
    store: Store
    device: str | None
    keep: bool

    def statistics(self) -> tuple[str, Statistics]:
        """Identity and statistics: of a file as they are; of a data set those that the store has, or new ones."""
        if self.place.path is not None:
            reference = read_reference(self.place, self.extractor)
            return reference.id, reference.statistics
        key, files = self.key(), self.store.files
        name = f"reference:{self.extractor.identity}:{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        fact = self.store.fact(name)
        if fact is not None and files.has(fact["key"]):
            return fact["id"], from_arrays(files.read(fact["key"], fact["sha256"]), str(files.folder))
        computed = self._computed()
        if self.key() != key:
            raise InputError(f"reference '{self.place.source}' changed while its features were computed; run again")
        if self.keep:
            file = hashlib.sha256(f"reference\n{computed.id}".encode()).hexdigest()
            arrays = computed.statistics.arrays()
            self.store.put_fact(name, {"id": computed.id, "key": file, "sha256": files.write(file, arrays)})
        return computed.id, computed.statistics

    def key(self) -> str:
        """Identity of the content; the digest of a folder is remembered for as long as its files are as they were."""
        folder = self.place.data
        if folder is None or not folder.is_dir():
            return self.place.key
        begun, state, name = time.time_ns(), folder_state(folder), f"folder:{folder.resolve()}"
        known = self.store.fact(name)
        if known is not None and known["listing"] == state.listing:
            return self.place.key_of(known["digest"])
        digest = folder_digest(folder)
        if self.keep and is_settled(state.changed, begun):
            self.store.put_fact(name, {"listing": state.listing, "digest": digest})
        return self.place.key_of(digest)

    def training(self) -> np.ndarray:
        """Features of every real image."""
        return _training(self.place.source, self.key(), self.extractor, self.extractor.identity)

    def _computed(self) -> Reference:
        from harness.execution.devices import devices_for

        where = devices_for(self.device)[0]
        return read_reference(self.place, self.extractor, lambda shape: self.extractor.load(shape, where))


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
def _training(source: str, key: str, extractor: ExtractorConfig, identity: str) -> np.ndarray:
    """Features of every training image, kept while a run compares many trials with them.

    The key is that of the images, and the identity that of the extractor: either may be replaced in its place.
    """
    return all_features(source, extractor)
