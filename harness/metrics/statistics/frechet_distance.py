"""The Frechet distance of two Gaussians fitted to features.

    FD = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

(Dowson and Landau 1982; for image features, Heusel et al. 2017, arXiv 1706.08500, eq. 6). With S1 = F1 F1^T and
S2 = F2 F2^T the last trace is the sum of the singular values of F2^T F1, or of the square roots of the eigenvalues of
the symmetric F1^T S2 F1. No general matrix root is needed, no complex numbers arise, and nothing is added to the
diagonal. With one side fixed, its factor is computed once.

Where both covariances have full rank the factors are Cholesky's and the eigenvalues serve, the faster way. Each is off
by about e = eps * largest, and its root by e / (2 root): where that adds up to 1e-9 of the traces, many being small,
the singular values are taken, whose rounding is not under a root. So it is without full rank, where rounding would turn
a dead eigenvalue into a root of 1e-8: there a covariance is factored by its own eigenvalues, those below
d * eps * largest being dead. All is good to about 1e-9 of the traces, mostly to 1e-12.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from harness.core.errors import InputError, SamplingError

EPS = float(np.finfo(np.float64).eps)
DOUBT = 1e-9
"""Of the traces: what the roots of a product's eigenvalues may be off together."""

WIDE = 256
"""Features from which torch's matrix routines are faster than NumPy's, and worth loading."""


class _Factor(NamedTuple):
    """F with F F^T = S, and whether S has full rank."""

    matrix: Any
    full: bool


class FrechetReference:
    """One side of the distance, its factor computed once.

    Args:
        mu: [d] mean.
        sigma: [d, d] symmetric positive semidefinite covariance.
        device: where large matrices are factored: "cpu", "cuda", "cuda:1".

    Raises:
        InputError: shapes that do not fit.
        SamplingError: values that are not finite.
    """

    def __init__(self, mu: np.ndarray, sigma: np.ndarray, device: str = "cpu") -> None:
        self.mu = np.asarray(mu, dtype=np.float64)
        self.sigma = np.asarray(sigma, dtype=np.float64)
        if self.mu.ndim != 1:
            raise InputError(f"a mean must be [d]; we got shape {list(self.mu.shape)}")
        _check(self.mu[None], self.sigma[None], len(self.mu))
        self._dense: _Dense = _NumPy() if device == "cpu" and len(self.mu) < WIDE else _Torch(device)
        self._factor = self._factored(self._dense.of(self.sigma))
        self.trace = float(np.trace(self.sigma))

    def distance(self, mu: np.ndarray, sigma: np.ndarray) -> float:
        """The Frechet distance to N(mu [d], sigma [d, d]); unit: that of the features, squared.

        Raises:
            InputError: shapes that do not fit.
            SamplingError: values that are not finite.
        """
        return float(self.distances(np.asarray(mu)[None], np.asarray(sigma)[None])[0])

    def distances(self, mus: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
        """The Frechet distances [m] to m Gaussians, from means [m, d] and covariances [m, d, d].

        Raises:
            InputError: shapes that do not fit.
            SamplingError: values that are not finite.
        """
        mus, sigmas = np.asarray(mus, dtype=np.float64), np.asarray(sigmas, dtype=np.float64)
        _check(mus, sigmas, len(self.mu))
        overlap = np.array([self._overlap(self._dense.of(sigma)) for sigma in sigmas])
        apart = np.square(mus - self.mu).sum(-1)
        return apart + self.trace + np.trace(sigmas, axis1=-2, axis2=-1) - 2 * overlap

    def _overlap(self, sigma: Any) -> float:
        """The trace of the root of the product."""
        own, other = self._factor, self._factored(sigma)
        if own.full and other.full:
            product = own.matrix.T @ sigma @ own.matrix
            values = self._dense.eigenvalues((product + product.T) / 2)
            if _doubt(values) <= DOUBT * (self.trace + float(sigma.trace())):
                return float(np.sqrt(np.maximum(values, 0)).sum())
        return float(self._dense.singular_values(other.matrix.T @ own.matrix).sum())

    def _factored(self, sigma: Any) -> _Factor:
        width = len(self.mu)
        lower = self._dense.cholesky(sigma)
        if lower is not None:
            pivots = lower.diagonal() ** 2
            if float(pivots.min()) > width * EPS * float(pivots.max()):
                return _Factor(lower, True)
        values, vectors = self._dense.eigh(sigma)
        values = values * (values > width * EPS * values[-1])
        return _Factor(vectors * abs(values) ** 0.5, False)


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


def _doubt(values: np.ndarray) -> float:
    """How far the sum of the roots of eigenvalues [d], ascending, is off by rounding, as if each were independent."""
    off = EPS * max(float(values[-1]), 0.0)
    return float(np.sqrt((off / (4 * np.maximum(values, off or 1.0))).sum() * off))


def _check(mus: np.ndarray, sigmas: np.ndarray, width: int) -> None:
    if width < 1 or mus.shape[1:] != (width,) or sigmas.shape != (len(mus), width, width):
        raise InputError(
            f"features of length {width} need means [m, {width}] and covariances [m, {width}, {width}]; "
            f"we got {list(mus.shape)} and {list(sigmas.shape)}"
        )
    if not (np.isfinite(mus).all() and np.isfinite(sigmas).all()):
        raise SamplingError("a Frechet distance needs finite moments; we got NaN or infinity")


class _Dense(Protocol):
    """Routines over float64 matrices of one library; both call LAPACK."""

    def of(self, array: np.ndarray) -> Any:
        """The library's own array."""

    def cholesky(self, matrix: Any) -> Any | None:
        """The lower factor of a positive definite matrix; None where it is none."""

    def eigh(self, matrix: Any) -> Any:
        """Eigenvalues [d] of a symmetric matrix, ascending, and eigenvectors [d, d] in columns."""

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        """Of a symmetric matrix, ascending."""

    def singular_values(self, matrix: Any) -> np.ndarray:
        """Of any matrix, descending."""


class _NumPy:
    """For narrow features on the CPU."""

    def of(self, array: np.ndarray) -> np.ndarray:
        return array

    def cholesky(self, matrix: np.ndarray) -> np.ndarray | None:
        try:
            return np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return None

    def eigh(self, matrix: np.ndarray) -> Any:
        return np.linalg.eigh(matrix)

    def eigenvalues(self, matrix: np.ndarray) -> np.ndarray:
        return np.linalg.eigvalsh(matrix)

    def singular_values(self, matrix: np.ndarray) -> np.ndarray:
        return np.linalg.svd(matrix, compute_uv=False)


class _Torch:
    """For wide features, several times as fast on a CPU at 2048, and for GPUs; a device without float64 is replaced by
    the CPU."""

    def __init__(self, device: str) -> None:
        import torch

        self.torch, self.device = torch, "cpu" if device.startswith("mps") else device

    def of(self, array: np.ndarray) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def cholesky(self, matrix: Any) -> Any | None:
        factor, trouble = self.torch.linalg.cholesky_ex(matrix)
        return None if int(trouble) else factor

    def eigh(self, matrix: Any) -> Any:
        return self.torch.linalg.eigh(matrix)

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        return self.torch.linalg.eigvalsh(matrix).cpu().numpy()

    def singular_values(self, matrix: Any) -> np.ndarray:
        if matrix.device.type == "cpu":  # NumPy's driver is the faster one there
            return np.linalg.svd(matrix.numpy(), compute_uv=False)
        return self.torch.linalg.svdvals(matrix).cpu().numpy()
