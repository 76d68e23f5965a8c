"""What a run is after: a metric of the grid, the trials that it is asked of, and the seeds."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from harness.laboratory import Measure
from harness.metrics import extractors
from harness.metrics.choices import FrechetDigits
from harness.metrics.frechet import FrechetReference
from harness.planning.metric import evaluations, samples_of
from harness.planning.plan import Plan, Planned
from harness.running.reference import baseline
from harness.store import Store

NO_REFERENCE = "none"
"""The reference of a metric that compares with nothing outside of its own observation."""


class Aim(NamedTuple):
    """One metric of a plan.

    Args:
        metric: what is measured.
        extractor: identity of what is taken from images: of a feature network, or of the measure itself.
        reference: identity of what it is compared with; "" while that is not known.
        samples: N.
        first: the first seed.
        trials: by fingerprint; the first of equal ones, its images kept if any of them asks for it.
        frechet: the reference of a distance, ready for use; None for a measure.
    """

    metric: FrechetDigits | Measure
    extractor: str
    reference: str
    samples: int
    first: int
    trials: dict[str, Planned]
    frechet: FrechetReference | None = None

    @property
    def last(self) -> int:
        """The last seed."""
        return self.first + self.samples - 1

    def pictures(self, fingerprint: str) -> dict[str, str]:
        """Keys of the pictures that are to be kept of a trial, by name; none for most."""
        if isinstance(self.metric, Measure):
            return {name: picture_key(fingerprint, self.extractor, name) for name in self.metric.pictures}
        return {"mosaic": fingerprint} if self.trials[fingerprint].mosaic else {}

    def evaluations(self, fingerprint: str) -> int:
        """About how many evaluations a sample of a trial costs."""
        item = self.trials[fingerprint]
        return evaluations(self.metric, item.trial.sampler, item.nfe)


def aims(plan: Plan) -> list[Aim]:
    """The metrics of a plan, without their references; loads no network."""
    found = []
    for metric in plan.grid.metrics:
        extractor = metric.identity if isinstance(metric, Measure) else extractors.extractor_id(metric.name)
        reference = NO_REFERENCE if isinstance(metric, Measure) else ""
        samples = samples_of(metric, plan.grid.samples)
        trials = unique_trials(plan.asked_of(metric))
        found.append(Aim(metric, extractor, reference, samples, plan.grid.first_seed, trials))
    return found


def with_reference(aim: Aim, store: Store) -> Aim:
    """The aim with its reference, computed once a store, and its floor among the store's facts."""
    if isinstance(aim.metric, Measure):
        return aim
    base = baseline(aim.metric.name, aim.samples, store)
    return aim._replace(reference=base.reference, frechet=base.frechet)


def unique_trials(items: Iterable[Planned]) -> dict[str, Planned]:
    """Trials by fingerprint; the first of equal ones, its images kept if any of them asks for it."""
    found: dict[str, Planned] = {}
    for item in items:
        key = item.trial.fingerprint
        found[key] = found.get(key, item)._replace(mosaic=item.mosaic or (key in found and found[key].mosaic))
    return found


def picture_key(fingerprint: str, extractor: str, name: str) -> str:
    """Under which a measure's picture of a trial is stored."""
    return hashlib.sha256(f"{fingerprint}\n{extractor}\n{name}".encode()).hexdigest()
