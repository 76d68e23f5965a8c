"""Measurements: a metric of the grid, the trials that it is asked of, and the seeds."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.execution.provenance import revision
from harness.execution.reference import reference_of
from harness.execution.results import gathered
from harness.execution.seed_ranges import SeedRange
from harness.experiments.plan import Plan, Planned
from harness.experiments.trial import Trial
from harness.metrics.base import Metric
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import BLOCKS
from harness.store.database import Store

CHUNK, WIDE_CHUNK = 32, 1000
"""Seeds per unit of work at most: moments of 64 features are small, and those of 2048 take 17 MB whatever they are of.

There are at least as many chunks as the jackknife has blocks, unless they would have fewer seeds than `LEAST_CHUNK`. A
chunk has a power of two, so that grids of other N cut the same seeds alike: a trial that two grids share can then be
paired with the other trials of both.
"""

LEAST_CHUNK = 8
"""Seeds below which smaller chunks cost more than the blocks that they would give are worth."""


class Measurement(NamedTuple):
    """One metric of a plan on one range of seeds.

    Args:
        metric: what is measured.
        extractor: identity of what is taken from images: of a feature network, or of the diagnostic itself.
        sources: names under which the store has chunks that will do; new ones go under the first.
        reference: identity of what it is compared with, and how; "" while that is not known.
        samples: N.
        first: the first seed.
        chunk: seeds per unit of work.
        trials: by fingerprint; the first of equal ones, its images kept if any of them asks for it.
        sharing: how many trials of a panel are compared with the same thing, by panel and its key.
        against: the reference, ready for use; None for a metric without one.
    """

    metric: Metric
    extractor: str
    sources: tuple[str, ...]
    reference: str
    samples: int
    first: int
    chunk: int
    trials: dict[str, Planned]
    sharing: Mapping[tuple[str, str], int]
    against: Reference | None = None

    @property
    def last(self) -> int:
        """The last seed."""
        return self.first + self.samples - 1

    @property
    def seeds(self) -> SeedRange:
        """All of them."""
        return SeedRange(self.first, self.last)

    @property
    def source(self) -> str:
        """Name under which new chunks are stored."""
        return self.sources[0]

    @property
    def kept(self) -> tuple[str, ...]:
        """What new chunks keep of images beside moments: `features`, `classes`."""
        return tuple(self.source.removeprefix(self.extractor).split("+")[1:])

    @property
    def is_wide(self) -> bool:
        """Whether the moments of a chunk are large, so that finished chunks are merged."""
        return self.metric.is_wide

    def pictures(self, fingerprint: str) -> dict[str, str]:
        """Keys of the pictures that are to be kept of a trial, by name; none for most."""
        keys = {name: picture_key(fingerprint, self.extractor, name) for name in self.metric.pictures}
        if self.metric.samples_images and self.trials[fingerprint].mosaic:
            keys["mosaic"] = fingerprint
        return keys

    def row(
        self,
        trial: Trial,
        values: Mapping[str, Any],
        infos: Sequence[Mapping[str, Any]],
        notes: Sequence[str] = (),
        levels: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The row of a result for `Store.put_result`: what was measured of a trial, with where the number comes from.

        Args:
            trial: what was measured.
            values: `status` and what goes with it: value and interval, or reason and step.
            infos: what the workers said of each chunk.
            notes: settings of the sampler without effect, in sentences.
            levels: the sampler's noise levels on the denoiser, which reports write for other tools; None to keep none.
        """
        provenance = gathered(infos) | {
            "denoiser": trial.denoiser if isinstance(trial.denoiser, str) else trial.denoiser.kind,
            "weights": trial.weights,
            "labels": trial.labels,
            "chunks": sum(info.get("parts", 1) for info in infos),
            "choice": self.metric.model_dump(mode="json", exclude_none=True),
            "display": self.metric.display(),
            "revision": revision(),
            **({"notes": list(notes)} if notes else {}),
            **({"levels": dict(levels)} if levels else {}),
        }
        return {
            "fingerprint": trial.fingerprint,
            "extractor": self.extractor,
            "reference": self.reference,
            "first_seed": self.first,
            "n": self.samples,
            "metric": self.metric.name,
            "trial": trial.model_dump(mode="json"),
            "provenance": provenance,
            **values,
        }

    def evaluations(self, fingerprint: str, workers: int) -> int:
        """About how many evaluations a sample of a trial costs, where so many workers do the trials.

        What trials of a denoiser share is computed once a worker, so each trial has its part of that.
        """
        item = self.trials[fingerprint]
        own = self.metric.evaluations(item.trial.sampler, item.nfe)
        shared = self.metric.shared_evaluations(item.trial.sampler, item.nfe)
        if shared is None:
            return own
        trials = self.sharing[item.panel, shared.key]
        return own + -(-shared.evaluations * min(workers, trials) // trials)


def measurements(plan: Plan) -> list[Measurement]:
    """The metrics of a plan, each on its ranges of seeds, without their references; loads no network."""
    return _pooled([measurement for metric in plan.grid.metrics for measurement in _measurements(plan, metric)])


def _pooled(every: list[Measurement]) -> list[Measurement]:
    """New chunks of measurements of the same images keep what any of them needs, so each image is sampled once."""
    needs: dict[Any, frozenset[str]] = {}
    for measurement in every:
        needs[_images(measurement)] = needs.get(_images(measurement), frozenset()) | measurement.metric.needs
    return [
        measurement._replace(
            sources=_first("+".join([measurement.extractor, *sorted(needs[_images(measurement)])]), measurement.sources)
        )
        for measurement in every
    ]


def _images(measurement: Measurement) -> tuple[Any, ...]:
    """Which images a measurement looks at, and through what."""
    return measurement.extractor, measurement.first, measurement.samples, tuple(measurement.trials)


def _first(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return (name, *(other for other in names if other != name))


def _measurements(plan: Plan, metric: Metric) -> list[Measurement]:
    samples, first = metric.default_samples(plan.grid.samples), plan.grid.first_seed
    trials = unique_trials(plan.asked_of(metric))
    most = WIDE_CHUNK if metric.is_wide else CHUNK
    chunk = plan.grid.chunk or default_chunk(samples, most)
    every = ((item.panel, metric.shared_evaluations(item.trial.sampler, item.nfe)) for item in trials.values())
    sharing = Counter((panel, shared.key) for panel, shared in every if shared is not None)
    one = Measurement(metric, metric.identity, metric.sources, "", samples, first, chunk, trials, sharing)
    return [one._replace(first=first + index * samples) for index in range(metric.range_count)]


def default_chunk(samples: int, most: int) -> int:
    """Seeds per unit of work for N samples: a power of two that gives at least twelve chunks, or the most if less."""
    return min(most, max(LEAST_CHUNK, 2 ** ((samples // BLOCKS) or 1).bit_length() // 2))


def with_reference(measurement: Measurement, store: Store, device: str | None = None) -> Measurement:
    """The measurement with its reference, computed once a store, and its floor among the store's facts."""
    known = reference_of(measurement.metric, measurement.samples, store, device)
    return measurement._replace(reference=known.id, against=known.reference)


def unique_trials(items: Iterable[Planned]) -> dict[str, Planned]:
    """Trials by fingerprint; the first of equal ones, its images kept if any of them asks for it."""
    unique: dict[str, Planned] = {}
    for item in items:
        key = item.trial.fingerprint
        unique[key] = unique.get(key, item)._replace(mosaic=item.mosaic or (key in unique and unique[key].mosaic))
    return unique


def picture_key(fingerprint: str, extractor: str, name: str) -> str:
    """Under which a measure's picture of a trial is stored."""
    return hashlib.sha256(f"{fingerprint}\n{extractor}\n{name}".encode()).hexdigest()
