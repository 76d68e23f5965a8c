"""FID and the Frechet distance of any features: `harness.metrics.statistics.frechet_distance` of Gaussians fitted to
generated and to real images, with the distances without each block of seeds.
"""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar, Literal

import numpy as np

from harness.metrics.cautions import known_reference, singular
from harness.metrics.feature_metric import ComparedMetric, FeatureMetric, fitting_statistics
from harness.metrics.features.configs import DigitsFeatures, ExtractorConfig
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.few_samples import FewSamples
from harness.metrics.statistics.frechet_distance import FrechetJackknife, FrechetReference
from harness.metrics.statistics.jackknife import Estimate
from harness.metrics.statistics.moments import Moments

CUSTOMARY_LEAST = 10_000
"""Images, generated or real, below which an FID is not what papers call one."""


class _FrechetDistance(FeatureMetric):
    """A Frechet distance between finite sets of images."""

    is_distance: ClassVar[bool] = True
    why_no_floor: ClassVar[str] = ""

    def compute(self, blocks: Sequence[FeatureSummary], reference: Reference | None, device: str = "cpu") -> Estimate:
        statistics = fitting_statistics(self, blocks, reference)
        return frechet([block.moments for block in blocks], statistics.frechet(device))

    def cautions_for(self, n: int, width: int) -> list[str]:
        return singular("N", n, width)

    def cautions_of_reference(self, count: int, width: int) -> list[str]:
        return frechet_reference(count, width, self.features)


class FrechetDigits(_FrechetDistance):
    """FD-digits: Frechet distance to the digits in the features of the digit classifier; lower is better."""

    kind: Literal["fd-digits"] = "fd-digits"

    @property
    def features(self) -> ExtractorConfig:
        return DigitsFeatures()

    @property
    def source(self) -> str:
        return "digits"

    @property
    def name(self) -> str:
        return self.label or self.kind

    @property
    def title(self) -> str:
        return self.label or "FD-digits"


class FID(_FrechetDistance, ComparedMetric):
    """Frechet distance of features to those of real images; lower is better. With Inception this is FID."""

    kind: Literal["fid"] = "fid"

    @property
    def name(self) -> str:
        """`fid`, and `fd-...` in other features than Inception's."""
        return self.label or (f"fd-{self.extractor.title.lower()}" if self.extractor.title else self.kind)

    @property
    def title(self) -> str:
        """FID, and FD-... in other features than Inception's."""
        return self.label or (f"FD-{self.extractor.title}" if self.extractor.title else "FID")

    def cautions_for(self, n: int, width: int) -> list[str]:
        told = singular("N", n, width)
        customary = self.extractor.customary_samples
        if customary and n < CUSTOMARY_LEAST and not self.extractor.title:
            told.append(
                f"FID by {n:,} images is not the FID of papers, which take {customary:,}: it is larger by a bias that "
                "depends on the sampler."
            )
        return told


def frechet_reference(count: int, width: int, features: ExtractorConfig) -> list[str]:
    """What to keep in mind about a Frechet distance to so many real images with features of a width."""
    told = singular("M", count, width, "real images") + known_reference(count, width)
    if features.customary_samples and count < CUSTOMARY_LEAST and not features.title:
        told.append(
            f"FID to {count:,} real images is not the FID of papers, which take a whole data set: it is larger by a "
            "bias that the interval leaves out."
        )
    return told


def frechet(blocks: Sequence[Moments], reference: FrechetReference) -> Estimate:
    """The distance to the reference of all blocks together and without each, one at a time; all exact.

    For 2048 features a covariance takes 34 MB; ten of them at once, and what is made on the way, would take a gigabyte.

    Args:
        blocks: the moments of disjoint blocks of seeds, at least one; empty ones are left aside.
        reference: the other side of the distance.

    Raises:
        InputError: no samples, or fewer than 2.
        SamplingError: moments that are not finite.
    """
    blocks = [block for block in blocks if block.n]
    sizes = np.array([block.n for block in blocks])
    n, few = int(sizes.sum()), FewSamples.of(reference, blocks)
    many = cache(lambda: FrechetJackknife(reference, Moments.merge(blocks)))
    exact = few.distance() if few else None
    value = many().distance() if exact is None else exact
    if len(blocks) < 2 or n - sizes.max() < 2:
        return Estimate(value, np.empty(0), sizes, {})
    replicates = np.empty(len(blocks))
    for number, block in enumerate(blocks):
        exact = few.without(number) if few else None
        replicates[number] = many().without(block) if exact is None else exact
    return Estimate(value, replicates, sizes, {})
