"""The base of metrics of features: what an extractor sees of generated images, compared with real ones or by itself."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from harness.core.data_range import BYTES, DataRange
from harness.core.errors import InputError
from harness.datasets.image_set import said_shape
from harness.datasets.pictures import pictures
from harness.metrics.base import DEFAULT_SAMPLES, Arrays, Certainty, Metric, SamplingJob, Sheet, halve_batch
from harness.metrics.cautions import ImageKind, known_reference, unlike
from harness.metrics.features.configs import EXTRACTORS, ExtractorConfig, Inception
from harness.metrics.features.summary import FeatureSummary, ImageFeatures, extract_features
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import KEPT_FEATURES, Reference, find_reference
from harness.metrics.statistics.jackknife import ROUNDING, Estimate

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.features.extractor import Extractor
    from harness.sampling.sampler import Sampler

MOSAIC = 64
"""Images of a trial that a picture shows."""


class FeatureMetric(Metric):
    """Base of all metrics of features.

    Args:
        samples: N of this metric in a grid; by default the grid's own number, of metrics that look at pairs at most
            10,000.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.
        ranges: disjoint ranges of N seeds, one after the other, each measured by itself. The paper takes three.
        label: a name for this metric in place of its own, where a grid has two of a kind.
    """

    better: ClassVar[Literal["lower", "higher"]] = "lower"
    samples_images: ClassVar[bool] = True
    picture_seeds: ClassVar[int | None] = MOSAIC
    merges_chunks: ClassVar[bool] = True

    samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    ranges: Annotated[int, Field(ge=1, le=100)] = 1
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None

    @property
    @abstractmethod
    def features(self) -> ExtractorConfig:
        """The extractor."""

    @property
    def name(self) -> str:
        """The kind, with the extractor where that is not Inception."""
        return self.label or "-".join(filter(None, [super().name, self.features.title.lower()]))

    @property
    def title(self) -> str:
        word = self.word or super().name
        return self.label or (f"{word} ({self.features.title})" if self.features.title else word)

    @property
    def identity(self) -> str:
        """The extractor's: network, weights, layer, resizing."""
        return self.features.identity

    @property
    def sources(self) -> tuple[str, ...]:
        """Chunks that keep what this metric needs of images; then richer ones."""
        rest = sorted({"features", "classes"} - self.needs)
        more = [self.needs | set(extra) for count in range(len(rest) + 1) for extra in combinations(rest, count)]
        return tuple("+".join([self.identity, *sorted(kept)]) for kept in more)

    @property
    def is_wide(self) -> bool:
        return self.features.is_wide

    @property
    def range_count(self) -> int:
        return self.ranges

    def default_samples(self, grid: int | None) -> int:
        """640, or the field's 50,000 in Inception's features; where pairs are looked at, 10,000 at most."""
        if self.samples is not None:
            return self.samples
        if grid is None:
            grid = self.features.customary_samples or DEFAULT_SAMPLES
        return min(grid, KEPT_FEATURES) if self.compares_single_images else grid

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        if shape is not None:
            self.check_shape(shape)

    def for_range(self, data_range: DataRange) -> Self:
        features = self.features.for_range(data_range)
        return self if features == self.features else self.model_copy(update={"extractor": features})

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """See that the extractor takes images of a shape.

        Raises:
            InputError: it does not.
        """
        needs = self.features.needs(shape)
        if needs:
            raise InputError(
                f"'{self.name}' {needs}, not {list(shape)}; use another metric, or in a grid name the "
                "`denoisers` that it is asked of"
            )

    def check_files(self) -> None:
        self.features.check()
        if self.source is not None:
            find_reference(self.source, self.features, self.compares_single_images)

    def is_same_number(self, other: Metric) -> bool:
        return isinstance(other, FeatureMetric) and all(
            getattr(self, part) == getattr(other, part) for part in ("features", "source", "method", "samples")
        )

    def observe(self, job: SamplingJob) -> "FeatureObservation":
        from harness.sampling.denoiser import data_range
        from harness.sampling.sample import sample

        device, shown_range = str(job.device or job.denoiser.device), data_range(job.denoiser)
        features = self.features.for_range(shown_range)
        out = sample(job.denoiser, job.sampler, job.seeds, labels=job.labels, device=job.device, batch=job.batch)
        extractor = _loaded(features, features.identity, job.denoiser.shape, device)
        keep = frozenset(job.keep) | self.needs
        seen, _ = halve_batch(
            lambda size: extract_features(extractor, out.images, keep, size), job.batch or len(job.seeds)
        )
        return FeatureObservation(out.nfe, out.rows, seen, keep, out.images[:MOSAIC].clone(), shown_range)

    def cautions(
        self, blocks: Sequence[FeatureSummary], reference: Reference | None = None, images: ImageKind | None = None
    ) -> list[str]:
        told = self.cautions_for(sum(block.n for block in blocks), blocks[0].moments.width)
        if reference is None:
            return told
        if reference.names_no_extractor:
            told.append(
                f"Reference '{self.source}' does not say which network made it: the number says something only if that "
                f"was '{self.identity}'."
            )
        statistics = reference.statistics
        count = statistics.n if statistics.features is None or not self.compares_single_images else statistics.kept
        if count is not None:
            told += self.cautions_of_reference(count, statistics.width)
        return told + (unlike(images, statistics) if images else [])

    def cautions_for(self, n: int, width: int) -> list[str]:
        """What to keep in mind about a number of n images with features of a width, in sentences."""
        return []

    def cautions_of_reference(self, count: int, width: int) -> list[str]:
        """The same of so many real images."""
        return known_reference(count, width)

    def certainty(self, estimate: Estimate) -> Certainty:
        found, values = super().certainty(estimate), [estimate.value, *estimate.replicates]
        if found.interval is not None and np.ptp(values) <= ROUNDING * abs(estimate.value):
            return Certainty(None, "every block of images gives the same value")
        return found

    def read(self, chunks: Sequence[Arrays]) -> FeatureSummary:
        return FeatureSummary.merge(FeatureSummary.from_arrays(arrays) for arrays in chunks)


class ComparedMetric(FeatureMetric):
    """Base of metrics of any extractor against any reference.

    Args:
        extractor: the network whose features are compared.
        reference: what they are compared with: `digits`, the name of a card, a file of statistics, or a data set.
    """

    why_no_floor: ClassVar[str] = ""

    extractor: Annotated[ExtractorConfig, EXTRACTORS] = Inception()
    reference: Annotated[str, Field(min_length=1)]

    @property
    def features(self) -> ExtractorConfig:
        return self.extractor

    @property
    def source(self) -> str:
        return self.reference

    def check_reference(self, statistics: Statistics) -> None:
        if self.compares_single_images and not self.needs_training:
            real_features(self, statistics)


@dataclass(frozen=True, eq=False)
class FeatureObservation:
    """What an extractor sees of a trial's images, of which `keep` is stored; and the first images with their range."""

    nfe: "Tensor"
    rows: int
    features: ImageFeatures
    keep: frozenset[str]
    images: "Tensor"
    data_range: DataRange = BYTES

    def arrays(self, part: slice) -> Arrays:
        return self.features.summary(part, self.keep).arrays()

    def sheets(self) -> Mapping[str, Sheet]:
        return {"mosaic": Sheet(pictures(self.images.cpu().numpy(), self.data_range), 8)}


def fitting_statistics(
    metric: FeatureMetric, blocks: Sequence[FeatureSummary], reference: Reference | None
) -> Statistics:
    """The statistics of a metric's reference.

    Raises:
        InputError: they are of features of another width than the blocks'.
    """
    assert reference is not None
    width, shape = blocks[0].moments.width, reference.statistics.shape
    if reference.statistics.width != width:
        remedy = "build it again with `harness ref build`"
        if metric.features.sees_floats and shape is not None:
            remedy = f"its floats are {list(shape)}"
        elif shape is not None:
            remedy = f"its images are {said_shape(shape)}: `harness data convert` makes one set like the other"
        raise InputError(
            f"reference '{metric.source}' has {reference.statistics.width:,} features an image and extractor "
            f"'{metric.features.identity}' gives {width:,}; {remedy}"
        )
    return reference.statistics


def real_features(metric: FeatureMetric, statistics: Statistics) -> np.ndarray:
    """Features [M, d] of real images.

    Raises:
        InputError: the reference has none.
    """
    if statistics.features is None:
        raise InputError(
            f"'{metric.name}' compares single images, and reference '{metric.source}' holds `mu` and `sigma` only; "
            "give a data set, or build it with `harness ref build`, which keeps features"
        )
    return statistics.features


def kept_features(blocks: Sequence[FeatureSummary]) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, d] of generated images, and how many of them [g] are of each block."""
    parts = [block.features for block in blocks if block.features is not None]
    assert len(parts) == len(blocks), "features were not kept"
    return np.concatenate(parts), np.array([len(part) for part in parts])


@lru_cache(maxsize=2)
def _loaded(features: ExtractorConfig, identity: str, shape: tuple[int, ...], device: str) -> "Extractor":
    """The last extractors used stay loaded: chunks of one metric follow each other; other weights are another one."""
    return features.load(shape, device)
