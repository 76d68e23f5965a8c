"""What a perfect sampler gets: a metric over draws from the reference's own data, against the same reference.

Finite sets of images have a distance above zero, whatever made them. A sampler that draws from the reference's own
data, N images with replacement, gets the floor of N: a band, since draws differ. A sampler inside the band cannot be
told from the data by this metric and this N, and N alone moves the band.

Of a data set with more images than a reference keeps features of, those kept are drawn from, and measured against
themselves. Where a reference holds its mean and covariance only, images are drawn from the Gaussian of these moments:
that floor is approximate, since features are not Gaussian. The covariance of N such draws is Wishart, and is made by
Bartlett's decomposition (Bartlett 1933, "On the theory of statistical regression"), whatever N is.
"""

import math
from typing import NamedTuple

import numpy as np

from harness.metrics.base import Metric
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import Reference
from harness.metrics.statistics.moments import Moments

MOST_DRAWS, LEAST_DRAWS = 1000, 12
"""Draws where one is cheap, and where one costs as much as a trial's own distance."""

MOST_PAIRED = 100
"""Draws of a metric that compares single images: each takes some hundredths of a second, however few they are."""

WORK = 3e10
"""Multiplications that all draws may take."""

PART = 5000
"""Images taken at a time, which bounds the memory."""

BAND = (0.05, 0.95)
"""Of the draws, between the ends of the band."""


class Floor(NamedTuple):
    """The numbers of a perfect sampler.

    Args:
        mean: over the draws.
        sd: of single draws.
        low, high: the ends of the band that holds 90 % of the draws.
        n: images of a draw.
        draws: how many.
        source: what was drawn from, in words.
        approximate: it was a Gaussian of the reference's moments.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    draws: int
    source: str
    approximate: bool


def floor_key(metric: str, extractor: str, reference: str, n: int) -> str:
    """The name under which a store keeps a floor, or the reason why there is none."""
    return f"perfect sampler:{metric}:{extractor}:{reference}:{n}"


def why_no_floor(metric: Metric, statistics: Statistics, n: int) -> str:
    """Why a metric has no floor against a reference at N = n; "" where it has one."""
    if metric.why_no_floor:
        return metric.why_no_floor
    if not metric.is_distance and statistics.features is None:
        return "the reference holds a mean and a covariance only, and this metric compares single images"
    if metric.is_distance and n <= statistics.width:
        return f"N = {n:,} is not above the {statistics.width:,} features of an image"
    return ""


def floor(metric: Metric, reference: Reference, n: int, seed: int = 0, device: str = "cpu") -> Floor:
    """The numbers of a perfect sampler.

    Args:
        metric: one that has a floor, see `why_no_floor`.
        reference: what it compares with.
        n: images of a draw.
        seed: of the draws; the same seed gives the same numbers.
        device: where large matrices and pairs are computed.
    """
    statistics, rng = reference.statistics, np.random.default_rng(seed)
    rows, root, source = statistics.features, None, "all images of the reference"
    if metric.is_distance and rows is None:
        root, source = _root(statistics.sigma), "a Gaussian with the reference's mean and covariance"
    elif rows is not None and len(rows) != statistics.n:
        source = f"the {len(rows):,} images of the reference whose features are kept"
        if metric.is_distance:
            of_rows = Moments.of(rows)
            reference = Reference(reference.id, Statistics(of_rows.mean, of_rows.covariance, len(rows)))
    draws = _draws(n, statistics.width, 0 if metric.is_distance or rows is None else len(rows))
    metric, values = metric.for_floor(), np.empty(draws)
    for index in range(draws):
        if root is not None:
            block = FeatureSummary(gaussian_draw(statistics.mu, root, n, rng))
        else:
            assert rows is not None
            drawn = rng.integers(len(rows), size=n)
            moments = Moments.merge(Moments.of(rows[drawn[at : at + PART]]) for at in range(0, n, PART))
            block = FeatureSummary(moments, None if metric.is_distance else rows[drawn])
        values[index] = metric.compute([block], reference, device).value
    low, high = (float(end) for end in np.quantile(values, BAND))
    return Floor(float(values.mean()), float(values.std(ddof=1)), low, high, n, draws, source, root is not None)


def gaussian_draw(mean: np.ndarray, root: np.ndarray, n: int, rng: np.random.Generator) -> Moments:
    """The moments of n draws from a Gaussian, made without the draws.

    Args:
        mean: [d].
        root: [d, d] with root root^T the covariance.
        n: more than d.
        rng: where random numbers come from.
    """
    d = len(mean)
    # Bartlett: n unit normals have the scatter A A^T, A lower triangular, chi_(n-1), chi_(n-2), ... on its diagonal
    lower = np.tril(rng.standard_normal((d, d)), -1)
    lower[np.diag_indices(d)] = np.sqrt(rng.chisquare(n - 1 - np.arange(d)))
    half = root @ lower
    return Moments(n, mean + root @ rng.standard_normal(d) / math.sqrt(n), half @ half.T)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0))


def _draws(n: int, width: int, others: int) -> int:
    """How many draws of n images with so many features; `others` are compared with each, one by one."""
    each = 10 * n * (n + others) * width if others else n * width**2 + 30 * width**3
    return int(min(MOST_PAIRED if others else MOST_DRAWS, max(LEAST_DRAWS, WORK / each)))
