"""Memorised samples: those that lie far nearer to one training image than to any other.

    x is memorised  if  |x - a_1| < (1/3) |x - a_2|,  a_1 and a_2 the nearest and second nearest training images

in the Euclidean distance of pixels (Yoon, Choi, Kwon and Ryu 2023, "Diffusion probabilistic models generalize when they
fail to memorize", SPIGM workshop at ICML; restated and used by Gu et al. 2023, arXiv 2310.02664). The ratio needs no
unit and no threshold of distance. A copy (distance 0) counts as memorised also where the training set holds it twice,
which the inequality alone, 0 < 0, would let pass; near copies in the training set still hide a near copy.

The nearest few are found from products of the vectors, and their distances computed again from differences in float64:
products cancel just where a sample is close to a training image.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.metrics.base import Column
from harness.metrics.feature_metric import ComparedMetric, kept_features
from harness.metrics.features.configs import EXTRACTORS, ExtractorConfig, Pixels
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import Estimate, block_sizes, mean_estimate, quantiles
from harness.metrics.statistics.pairs import checked, cuts, nearest, same_width

RATIO = 1 / 3

CANDIDATES = 4
"""Training images a sample whose distance is computed again; two would do but for rounding among near ties."""


class Memorisation(ComparedMetric):
    """Share of images much nearer to one training image than to any other, in pixels: copies; lower is better."""

    word: ClassVar[str] = "Share of copies"
    is_share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    needs_training: ClassVar[bool] = True
    why_no_floor: ClassVar[str] = "draws from the reference's own data are copies of it"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("exact", "count", ("copies",), "“Exact” counts images at distance 0 of a training image."),
        Column(
            "nearest",
            "range",
            ("distance.0.05", "distance.0.95"),
            "“Nearest” is the distance to the nearest training image, 5 to 95 % of images.",
        ),
    )

    kind: Literal["memorisation"] = "memorisation"
    extractor: Annotated[ExtractorConfig, EXTRACTORS] = Pixels()

    @property
    def name(self) -> str:
        """The kind, with the extractor where that is not pixels."""
        pixels = isinstance(self.extractor, Pixels) and self.extractor.size is None
        return self.label or (self.kind if pixels else f"{self.kind}-{self.extractor.title.lower() or 'inception'}")

    @property
    def title(self) -> str:
        return self.label or self.word

    @property
    def method(self) -> str:
        return f"nearest within {RATIO:.3g} of the second"

    def cautions_of_reference(self, count: int, width: int) -> list[str]:
        return []  # all training images are there: no others would do

    def compute(self, blocks: Sequence[FeatureSummary], reference: Reference | None, device: str = "cpu") -> Estimate:
        if reference is None or reference.training is None:
            raise InputError("memorisation needs the training images; give a data set as its reference")
        fake, sizes = kept_features(blocks)
        return memorisation(fake, reference.training(), sizes, device=device)


class Nearest(NamedTuple):
    """The training images next to each sample.

    Args:
        first: [N] distance to the nearest.
        second: [N] distance to the second nearest.
        which: [N] index of the nearest; the lowest of equals.
    """

    first: np.ndarray
    second: np.ndarray
    which: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """first / second [N], in [0, 1]; 0 where both are 0."""
        return np.divide(self.first, self.second, out=np.zeros_like(self.first), where=self.second > 0)

    @property
    def memorised(self) -> np.ndarray:
        """Whether each sample [N] counts as memorised."""
        return (self.first < RATIO * self.second) | (self.first == 0)


def memorisation(
    fake: np.ndarray,
    training: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    *,
    pairs: int = 16,
    device: str = "cpu",
) -> Estimate:
    """The share of generated images that are memorised; lower is better.

    Args:
        fake: [N, d] generated images as bytes or numbers, or their features.
        training: [M, d] training images in the same unit.
        sizes: [g] samples in each consecutive block of `fake`.
        pairs: how many of the closest pairs the details list.
        device: where to search, in float64.

    Returns:
        Details: `copies`, the number at distance 0; `distance`, quantiles of the distance to the nearest training
        image; `pairs`, the closest by distance, each with `fake` and `training` (indices), `distance` and `ratio`.

    Raises:
        InputError: no generated images, fewer than 2 training images, unequal lengths, or sizes that do not fit.
        SamplingError: values that are not finite.
    """
    fake, training = checked(fake, "generated"), checked(training, "training", 2)
    same_width(fake, training)
    blocks = block_sizes(sizes, len(fake))
    nearest = nearest_training(fake, training, device)
    details = {
        "copies": int((nearest.first == 0).sum()),
        "distance": quantiles(nearest.first),
        "pairs": _closest(nearest, pairs),
    }
    return mean_estimate(nearest.memorised, blocks, details)


def nearest_training(fake: np.ndarray, training: np.ndarray, device: str = "cpu") -> Nearest:
    """The nearest and second nearest training image [M, d] of each generated one [N, d], distances from differences."""
    _, candidates = nearest(fake, training, min(CANDIDATES, len(training)), device)
    squares = np.empty(candidates.shape)
    for rows in cuts(len(fake), fake.shape[1] * candidates.shape[1]):
        apart = fake[rows, None].astype(np.float64) - training[candidates[rows]]
        squares[rows] = np.square(apart).sum(-1)
    order = np.lexsort((candidates, squares))
    first, second = np.sqrt(np.take_along_axis(squares, order, 1)[:, :2]).T
    return Nearest(first, second, np.take_along_axis(candidates, order, 1)[:, 0])


def _closest(nearest: Nearest, count: int) -> list[dict[str, Any]]:
    ratio = nearest.ratio
    chosen = np.lexsort((np.arange(len(ratio)), ratio, nearest.first))[:count]
    return [
        {
            "fake": int(i),
            "training": int(nearest.which[i]),
            "distance": float(nearest.first[i]),
            "ratio": float(ratio[i]),
        }
        for i in chosen
    ]
