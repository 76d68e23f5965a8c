"""A known truth near the digits: a Gaussian mixture with 100 means fitted to them.

Its score is exact, its mean and covariance are known, and fresh data never end. So a sampler can be judged against the
very distribution that it should draw from, by any number of images, and an error of the denoiser can be dosed; see
`harness.denoisers.with_error`.

The fit is k-means (Lloyd 1982, "Least squares quantization in PCM") on counts of ink dots. These are whole numbers, so
that the sums behind each mean are exact and the result is the same on every machine.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from harness.hub.digits import SHAPE, read_digits

COMPONENTS = 100
ROUNDS = 100
"""Rounds of k-means at most; it ends sooner, at a fixed point."""


class DigitsMixture(NamedTuple):
    """sum_k w_k N(mean_k, std^2 I), in image units.

    Args:
        means: [K, d] float64.
        weights: [K], of sum 1.
        std: standard deviation of every pixel about its component's mean.
    """

    means: np.ndarray
    weights: np.ndarray
    std: float

    @property
    def mean(self) -> np.ndarray:
        """[d]."""
        return self.weights @ self.means

    @property
    def covariance(self) -> np.ndarray:
        """[d, d]."""
        about = self.means - self.mean
        return (about * self.weights[:, None]).T @ about + self.std**2 * np.eye(about.shape[1])

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Fresh images [n, 1, 8, 8] float64, not clipped to [-1, 1]."""
        rng = np.random.default_rng(seed)
        component = np.searchsorted(np.cumsum(self.weights)[:-1], rng.random(n), side="right")
        noise = rng.standard_normal((n, self.means.shape[1]))
        return (self.means[component] + self.std * noise).reshape(n, *SHAPE)


@cache
def digits_mixture() -> DigitsMixture:
    """The mixture: k-means from every eighteenth digit on, after sorting by class."""
    counts, classes = read_digits()
    points = counts.reshape(len(counts), -1).astype(np.float64)  # [N, d]
    order = np.argsort(classes, kind="stable")
    means = points[order[np.arange(COMPONENTS) * len(points) // COMPONENTS]]
    nearest = np.full(len(points), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, _squared(points, means).argmin(1)
        if (before == nearest).all():
            break
        means = np.stack(
            [points[nearest == k].mean(0) if (nearest == k).any() else means[k] for k in range(len(means))]
        )
    sizes = np.bincount(nearest, minlength=COMPONENTS)
    kept = sizes > 0
    variance = np.square(points - means[nearest]).mean() / 64  # a dot is 1/8 of an image unit
    return DigitsMixture(means[kept] / 8 - 1, sizes[kept] / len(points), float(np.sqrt(variance)))


def _squared(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Squared distances [N, K], exact up to the means' own rounding."""
    return np.square(points).sum(1)[:, None] - 2 * points @ means.T + np.square(means).sum(1)
