"""The Frechet distance of two Gaussians fitted to features.

    FD = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

(Dowson and Landau 1982; for image features, Heusel et al. 2017, arXiv 1706.08500, eq. 6). S1 S2 is not symmetric, but
it has the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2), so the last trace is the sum of the square roots of
those. No general matrix root is needed, no complex numbers arise, and nothing is added to the diagonal. With one side
fixed, its root is computed once.

Rounding moves an eigenvalue by about eps times the largest one, and a root turns that into 1e-8: eigenvalues below
d * eps * largest are dead and count as zero. So the distance is good to about 1e-12 of the traces where both
covariances have full rank, 1e-7 where not, and may fall below zero by as much.
"""

import numpy as np

from harness.errors import InputError, SamplingError


class FrechetReference:
    """One side of the distance, its root computed once.

    Args:
        mu: [d] mean.
        sigma: [d, d] symmetric positive semidefinite covariance.

    Raises:
        InputError: shapes that do not fit.
        SamplingError: values that are not finite.
    """

    def __init__(self, mu: np.ndarray, sigma: np.ndarray) -> None:
        self.mu = np.asarray(mu, dtype=np.float64)
        self.sigma = np.asarray(sigma, dtype=np.float64)
        if self.mu.ndim != 1:
            raise InputError(f"a mean must be [d]; we got shape {list(self.mu.shape)}")
        _check(self.mu[None], self.sigma[None], len(self.mu))
        values, vectors = np.linalg.eigh(self.sigma)
        self.root = (vectors * np.sqrt(_alive(values))) @ vectors.T
        self.trace = float(np.trace(self.sigma))

    def distance(self, mu: np.ndarray, sigma: np.ndarray) -> float:
        """The Frechet distance to N(mu [d], sigma [d, d]); unit: that of the features, squared.

        Raises:
            InputError: shapes that do not fit.
            SamplingError: values that are not finite.
        """
        return float(self.distances(np.asarray(mu)[None], np.asarray(sigma)[None])[0])

    def distances(self, mus: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
        """The Frechet distances [m] to m Gaussians at once, from means [m, d] and covariances [m, d, d].

        Raises:
            InputError: shapes that do not fit.
            SamplingError: values that are not finite.
        """
        mus, sigmas = np.asarray(mus, dtype=np.float64), np.asarray(sigmas, dtype=np.float64)
        _check(mus, sigmas, len(self.mu))
        product = self.root @ sigmas @ self.root
        values = np.linalg.eigvalsh((product + product.swapaxes(-1, -2)) / 2)
        overlap = np.sqrt(_alive(values)).sum(-1)
        apart = np.square(mus - self.mu).sum(-1)
        return apart + self.trace + np.trace(sigmas, axis1=-2, axis2=-1) - 2 * overlap


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The Frechet distance of N(mu1, sigma1) and N(mu2, sigma2); see `FrechetReference`, which is faster for many.

    Args:
        mu1: [d] mean.
        sigma1: [d, d] covariance.
        mu2: [d] mean.
        sigma2: [d, d] covariance.

    Raises:
        InputError: shapes that do not fit.
        SamplingError: values that are not finite.
    """
    return FrechetReference(mu2, sigma2).distance(mu1, sigma1)


def _alive(values: np.ndarray) -> np.ndarray:
    """Eigenvalues [..., d] in ascending order, those within rounding of zero set to zero."""
    threshold = values.shape[-1] * np.finfo(np.float64).eps * values[..., -1:]
    return np.where(values > threshold, values, 0.0)


def _check(mus: np.ndarray, sigmas: np.ndarray, width: int) -> None:
    if width < 1 or mus.shape[1:] != (width,) or sigmas.shape != (len(mus), width, width):
        raise InputError(
            f"features of length {width} need means [m, {width}] and covariances [m, {width}, {width}]; "
            f"we got {list(mus.shape)} and {list(sigmas.shape)}"
        )
    if not (np.isfinite(mus).all() and np.isfinite(sigmas).all()):
        raise SamplingError("a Frechet distance needs finite moments; we got NaN or infinity")
