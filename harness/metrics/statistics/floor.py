"""The distance that real images themselves have, which no sampler can be much below.

n' real images, drawn at random, against the remaining ones, over several draws. It is above zero only because both sets
are finite, so a sampler near it at n' images cannot be told from the data. The same seed gives the same draws.
"""

from typing import NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.metrics.frechet import FrechetReference
from harness.metrics.statistics.moments import Moments, as_rows


class Floor(NamedTuple):
    """Distances of real images to real images, over random draws.

    Args:
        mean: their mean.
        sd: their standard deviation (draws - 1), of single draws, not of the mean.
        low: the least of them.
        high: the greatest.
        n: images drawn, n'.
        rest: images they are measured against.
        draws: number of draws.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    rest: int
    draws: int


def floor(features: np.ndarray, n: int, draws: int = 20, seed: int = 0) -> Floor:
    """The distance of n' = min(n, half) random real images to all the others, over `draws` draws.

    With half the images at most, the others stay the larger set (1,797 digits: 898 against 899). The bias falls with
    both sizes, so for n above n' this is the floor of n', which n generated images against all real ones can
    undercut.

    Args:
        features: [N, d] features of the real images.
        n: images that a sampler makes.
        draws: number of random draws, at least 1.
        seed: of the draws.

    Raises:
        InputError: fewer than 2 images on a side, or no draws.
        SamplingError: features that are not finite.
    """
    rows = as_rows(features)
    taken = min(n, len(rows) // 2)
    if taken < 2 or draws < 1:
        raise InputError(
            f"a floor needs at least 2 images a side and 1 draw; we got {taken} of {len(rows)} images, {draws} draws"
        )
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(rows)) for _ in range(draws)]
    found = np.array([_split_distance(rows[order[:taken]], rows[order[taken:]]) for order in orders])
    sd = float(found.std(ddof=1)) if draws > 1 else 0.0
    return Floor(float(found.mean()), sd, float(found.min()), float(found.max()), taken, len(rows) - taken, draws)


def _split_distance(some: np.ndarray, others: np.ndarray) -> float:
    one, rest = Moments.of(some), Moments.of(others)
    return FrechetReference(rest.mean, rest.covariance).distance(one.mean, one.covariance)
