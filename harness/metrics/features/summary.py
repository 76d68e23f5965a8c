"""What is kept of generated images: the moments of their features, and for some metrics the features themselves or sums
over class probabilities. Observations of disjoint images merge, in the order of the images.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np

from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.moments import Moments, as_rows

if TYPE_CHECKING:
    from torch import Tensor

    from harness.metrics.features.extractor import Extractor

CLASSES = "classes_"
"""Before the names of the arrays of class sums in a file."""


@dataclass(frozen=True, eq=False)
class FeatureSummary:
    """What was seen of n images.

    Args:
        moments: of their features.
        features: [n, d] float32, in order; None where they are not kept.
        classes: sums over their class probabilities; None where they are not kept.
    """

    moments: Moments
    features: np.ndarray | None = None
    classes: ClassSums | None = None

    @property
    def n(self) -> int:
        """Number of images."""
        return self.moments.n

    def __add__(self, other: "FeatureSummary") -> "FeatureSummary":
        """Both together; what only one has kept is dropped."""
        features, classes = None, None
        if self.features is not None and other.features is not None:
            features = np.concatenate([self.features, other.features])
        if self.classes is not None and other.classes is not None:
            classes = self.classes + other.classes
        return FeatureSummary(self.moments + other.moments, features, classes)

    @classmethod
    def merge(cls, parts: Iterable["FeatureSummary"]) -> "FeatureSummary":
        """All parts together, at least one, in order."""
        return reduce(add, parts)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to keep in a file."""
        arrays = dict(self.moments.arrays())
        if self.features is not None:
            arrays["features"] = self.features
        if self.classes is not None:
            arrays |= {CLASSES + name: array for name, array in self.classes.arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "FeatureSummary":
        """Read back what `arrays` gave.

        Raises:
            InputError: arrays that are missing or cannot be.
        """
        sums = {name.removeprefix(CLASSES): array for name, array in arrays.items() if name.startswith(CLASSES)}
        classes = ClassSums.from_arrays(sums) if sums else None
        return cls(Moments.from_arrays(arrays), arrays.get("features"), classes)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What an extractor says of n images in order: features [n, d] and probabilities [n, classes] or None."""

    features: np.ndarray
    probabilities: np.ndarray | None

    def summary(self, part: slice, kept: Iterable[str]) -> FeatureSummary:
        """What is to be kept of a part of the images.

        Args:
            part: of the images.
            kept: beside the moments: `features`, `classes`.
        """
        rows = self.features[part]
        features = rows.astype(np.float32) if "features" in kept else None
        chances = self.probabilities
        classes = ClassSums.of(chances[part]) if "classes" in kept and chances is not None else None
        return FeatureSummary(Moments.of(rows), features, classes)


def extract_features(extractor: "Extractor", images: "Tensor", kept: Iterable[str], batch: int) -> ImageFeatures:
    """Features of images [n, C, H, W] in calls of exactly `batch` rows, so that they depend on no neighbour.

    The last call is padded with copies of its last image.

    Raises:
        InputError: images that the extractor does not take.
        SamplingError: images or features that are not finite.
    """
    import torch

    from harness.sampling.conditions import pad

    parts = [extractor.outputs(pad(part, batch), "classes" in kept) for part in images.split(batch)]
    features = as_rows(torch.cat([part.features for part in parts])[: len(images)])
    if "classes" not in kept:
        return ImageFeatures(features, None)
    chances = [part.probabilities for part in parts if part.probabilities is not None]
    return ImageFeatures(features, as_rows(torch.cat(chances)[: len(images)]))
