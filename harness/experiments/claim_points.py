"""What the tests of claims look at: finished trials with their blocks of seeds, and differences of paired ones.

Tests of training configurations look at what the networks of one got, a number for each training seed.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from harness.metrics.statistics.decisions import Curve
from harness.metrics.statistics.jackknife import Interval, Replicates, jackknife_of, pseudo_values

FEW_BLOCKS = 6
"""Blocks of seeds below which a difference decides nothing: Student's t knows their scatter too badly."""


class ClaimPoint(NamedTuple):
    """One finished trial, as a test sees it.

    Args:
        fingerprint: which trial.
        x: its place on the curve: NFE, or the grid's own axis.
        nfe: denoiser evaluations per image.
        blocks: first seed of each block and the seed after the last; only equal ones are paired.
        replicates: the metric with all blocks and without each.
        is_distance: its bias is of 1/N, so that it is taken at infinite N.
    """

    fingerprint: str
    x: float
    nfe: float
    blocks: tuple[int, ...]
    replicates: Replicates
    is_distance: bool


class SeedScores(NamedTuple):
    """The last snapshots of one training configuration on one architecture, as a test sees them.

    Args:
        values: the metric of each finished network, a training seed each; distances at infinite N.
        trials: their fingerprints.
        missing: why there are fewer than planned; "" where all are there.
        lower_is_better: which way the metric is better.
    """

    values: tuple[float, ...]
    trials: tuple[str, ...]
    missing: str
    lower_is_better: bool


class Look(NamedTuple):
    """What a test looks at on one denoiser, or on one architecture of a grid that trains.

    Args:
        points: of a denoiser: the finished trials of a series under a metric on one of its ranges of seeds (0 the
            first), by x.
        missing: why there are fewer than planned; "" where all are there.
        scores: of an architecture: the networks of a configuration under a metric, judged by a series; None for the
            first.
    """

    points: Callable[[str, str, int], list[ClaimPoint]] = lambda series, metric, part: []
    missing: Callable[[str, str, int], str] = lambda series, metric, part: "has no trials here"
    scores: Callable[[str, str, str | None], SeedScores] = lambda row, metric, series: SeedScores((), (), "", True)


class Undecided(Exception):
    """Why a test cannot be asked of what is there."""


def with_enough(point: ClaimPoint) -> ClaimPoint:
    """The point, if it has blocks enough for an interval."""
    blocks = len(point.replicates.left_out)
    if blocks < FEW_BLOCKS:
        raise Undecided(f"{blocks} blocks of seeds are too few for an interval; it takes {FEW_BLOCKS}")
    return point


def check_paired(points: Sequence[ClaimPoint]) -> None:
    """See that all points are of the same blocks of seeds, and enough of them."""
    for point in points:
        with_enough(point)
        if point.blocks != points[0].blocks:
            raise Undecided("the trials were not measured on the same blocks of seeds")


def shared_points(one: list[ClaimPoint], two: list[ClaimPoint]) -> tuple[list[ClaimPoint], list[ClaimPoint]]:
    """The points of two series at the places that both have."""
    if len(one) == len(two) == 1:
        pairs = [(one[0], two[0])]
    else:
        pairs = [(a, b) for a in one for b in two if a.x == b.x]
    if not pairs:
        raise Undecided("the series share no place on the axis")
    check_paired([point for pair in pairs for point in pair])
    return [a for a, _ in pairs], [b for _, b in pairs]


def values_of(point: ClaimPoint, to: float | None = None) -> np.ndarray:
    """Pseudo-values [g] of the metric, or of its distance from a value."""
    replicates = point.replicates
    if to is not None:
        replicates = Replicates(abs(replicates.full - to), abs(replicates.left_out - to), replicates.sizes)
    return pseudo_values(replicates)


def mean_of(point: ClaimPoint) -> float:
    """The metric at infinite N."""
    return jackknife_of(values_of(with_enough(point)), point.replicates.sizes).estimate


def gap_of(one: np.ndarray, two: np.ndarray, sizes: np.ndarray, logs: bool) -> np.ndarray:
    """Pseudo-values of one less two, or of the logarithm of their ratio."""
    if not logs:
        return one - two
    shares = sizes / sizes.sum()
    top, bottom = float(shares @ one), float(shares @ two)
    # the delta method: a block's part in log(top / bottom)
    return math.log(top / bottom) + (one - top) / top - (two - bottom) / bottom


def curve_of(points: Sequence[ClaimPoint]) -> Curve:
    ordered = sorted(points, key=lambda point: point.nfe)
    return Curve(
        np.array([point.nfe for point in ordered]),
        np.stack([values_of(point) for point in ordered], 1),
        ordered[0].replicates.sizes,
    )


def difference(one: ClaimPoint, two: ClaimPoint, confidence: float) -> Interval:
    """The value of one less that of another of the same seeds, distances at infinite N."""
    sizes = one.replicates.sizes
    return jackknife_of(gap_of(values_of(one), values_of(two), sizes, False), sizes, confidence)
