"""The number of a metric, from what was seen of generated images block by block and what it is compared with."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.metrics import choices
from harness.metrics.cautions import cautions
from harness.metrics.choices import FeatureMetric
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.inception_score import inception_score
from harness.metrics.kid import kid
from harness.metrics.memorization import memorisation
from harness.metrics.prdc import neighbours
from harness.metrics.reference_statistics import Statistics
from harness.metrics.statistics.estimate import Estimate
from harness.metrics.statistics.extrapolation import frechet_at_infinity
from harness.metrics.statistics.jackknife import Interval, Replicates, interval, jackknife, replicates

Training = Callable[[], np.ndarray]
"""Gives the features of every training image, [M, d]."""


class Against(NamedTuple):
    """What generated images are compared with.

    Args:
        statistics: of real images; None for a metric that compares with nothing.
        training: features of every training image, for memorisation.
    """

    statistics: Statistics | None
    training: Training | None = None


class Measured(NamedTuple):
    """A metric's number.

    Args:
        value: of all images.
        interval: by the jackknife over blocks; None where they are too few.
        replicates: [g] the number without each block; empty where there is no interval.
        details: what else there is to say.
    """

    value: float
    interval: Interval | None
    replicates: list[float]
    details: dict[str, Any]


def measure(metric: FeatureMetric, blocks: Sequence[FeatureSummary], against: Against, device: str = "cpu") -> Measured:
    """Compute a metric; what to keep in mind about the number stands among its details, under `cautions`.

    Args:
        metric: which.
        blocks: what was seen of consecutive blocks of images, at least one.
        against: the other side.
        device: where large matrices and pairs are computed.

    Raises:
        InputError: features of another width than the reference has, features that the reference lacks, or too few
            images.
        SamplingError: numbers that are not finite.
    """
    found = _measure(metric, blocks, against, device)
    told = cautions(metric, sum(block.n for block in blocks), blocks[0].moments.width)
    return found._replace(details=found.details | {"cautions": told}) if told else found


def _measure(metric: FeatureMetric, blocks: Sequence[FeatureSummary], against: Against, device: str) -> Measured:
    if isinstance(metric, choices.InceptionScore):
        return _found(inception_score([_classes(block) for block in blocks]))
    if isinstance(metric, choices.Memorisation):
        return _found(_memorised(blocks, against, device))
    statistics = _statistics(metric, blocks, against)
    match metric:
        case choices.FrechetDigits() | choices.FID():
            return _frechet(blocks, statistics, device)
        case choices.FIDInfinity():
            return _found(frechet_at_infinity([block.moments for block in blocks], statistics.frechet(device)))
        case choices.KID():
            real, sizes = real_features(metric, statistics), _kept(blocks)
            chosen = {"subset": metric.subset, "subsets": metric.subsets}
            return _found(kid(_features(blocks), real, sizes, device=device, **chosen))
    return _found(_by_neighbours(metric, blocks, statistics, device))


def _frechet(blocks: Sequence[FeatureSummary], statistics: Statistics, device: str) -> Measured:
    found: Replicates = replicates([block.moments for block in blocks], statistics.frechet(device))
    return Measured(found.full, interval(found), found.left_out.tolist(), {})


def _by_neighbours(
    metric: FeatureMetric, blocks: Sequence[FeatureSummary], statistics: Statistics, device: str
) -> Estimate:
    assert isinstance(metric, choices.Precision | choices.Recall | choices.Density | choices.Coverage)
    real, sizes = real_features(metric, statistics), _kept(blocks)
    found = neighbours(_features(blocks), real, sizes, k=metric.k, k_density=metric.k, device=device)
    return getattr(found, metric.kind)


def _memorised(blocks: Sequence[FeatureSummary], against: Against, device: str) -> Estimate:
    if against.training is None:
        raise InputError("memorisation needs the training images; give a data set as its reference")
    return memorisation(_features(blocks), against.training(), _kept(blocks), device=device)


def _statistics(metric: FeatureMetric, blocks: Sequence[FeatureSummary], against: Against) -> Statistics:
    assert against.statistics is not None
    width = blocks[0].moments.width
    if against.statistics.width != width:
        raise InputError(
            f"reference '{metric.source}' has {against.statistics.width:,} features an image and extractor "
            f"'{metric.features.identity}' gives {width:,}; build it again with `harness ref build`"
        )
    return against.statistics


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


def _features(blocks: Sequence[FeatureSummary]) -> np.ndarray:
    parts = [block.features for block in blocks if block.features is not None]
    assert len(parts) == len(blocks), "features were not kept"
    return np.concatenate(parts)


def _classes(block: FeatureSummary) -> Any:
    assert block.classes is not None, "class sums were not kept"
    return block.classes


def _kept(blocks: Sequence[FeatureSummary]) -> np.ndarray:
    """Images of each block whose features were kept."""
    return np.array([0 if block.features is None else len(block.features) for block in blocks])


def _found(estimate: Estimate) -> Measured:
    between = jackknife(estimate.value, estimate.replicates, estimate.sizes)
    return Measured(estimate.value, between, np.asarray(estimate.replicates).tolist(), estimate.details)
