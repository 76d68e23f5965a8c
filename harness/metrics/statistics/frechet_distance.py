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

`FrechetJackknife` gives the distance of samples and the distances without each block of them, exact all of them. With
M = F2^T S1 F2 of all n samples, m samples in a block and a = mean_block - mean_rest,

    (n - m - 1) M_rest = (n - 1) M - F2^T (scatter_block + (n - m) m / n a a^T) F2

so a block costs one product of its own scatter, which has rank m at most with the last term, and one symmetric
eigenvalue problem. n samples have a covariance of rank n - 1 at most: where that is less than d, the d - n + 1 lowest
eigenvalues of M are rounding of 0 and are left out. For few samples `FewSamples` is faster.

Why the replicates are not taken from the derivative of the distance (Efron 1982, "The Jackknife, the Bootstrap and
Other Resampling Plans", chapter 6, the infinitesimal jackknife), which needs one factorisation for all blocks:

    d tr (S1 S2)^(1/2) = 1/2 tr (A dS1)        A = F2 M^(-1/2) F2^T, the map that transports N(0, S1) to N(0, S2)

The root is concave, and what the first order leaves out grows with a block's own spread, as the first order does. At
n = 4 d nine standard errors in ten are then 0.8 to 1.2 times those of the jackknife for Gaussian features, 0.7 to 1.4
for skewed ones and up to 2.3 for heavy tails, for which they are 1.5 times as large at n = 24 d still. The bias of 1/n,
which the pseudo-values remove, is missing altogether; from two disjoint halves it scatters more. Measured by
`python -m benchmarks.frechet_replicates`.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from harness.core.errors import InputError, SamplingError
from harness.metrics.statistics.moments import Moments

EPS = float(np.finfo(np.float64).eps)
DOUBT = 1e-9
"""Of the traces: what the roots of a product's eigenvalues may be off together."""

CLEAR = 100.0
"""How many times the rounding of eigenvalues that are 0 the least of the others has to be, to be told from them."""

WIDE = 256
"""Features from which torch's matrix routines are faster than NumPy's, and worth loading."""

LOW_RANK = 0.25
"""Of the features: rank below which a thin root and its product are faster than a product of the whole scatter."""


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
        self.dense: _Dense = _NumPy() if device == "cpu" and len(self.mu) < WIDE else _Torch(device)
        self._factor = self._factored(self.dense.of(self.sigma))
        self.trace = float(np.trace(self.sigma))

    @property
    def factor(self) -> np.ndarray:
        """F [d, r] with F F^T the covariance; r is its rank."""
        matrix = self._factor.matrix
        return matrix if isinstance(matrix, np.ndarray) else matrix.cpu().numpy()

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
        overlap = np.array([self._overlap(self.dense.of(sigma)) for sigma in sigmas])
        apart = np.square(mus - self.mu).sum(-1)
        return apart + self.trace + np.trace(sigmas, axis1=-2, axis2=-1) - 2 * overlap

    def _overlap(self, sigma: Any) -> float:
        """The trace of the root of the product."""
        own, other = self._factor, self._factored(sigma)
        if own.full and other.full:
            values = self.dense.eigenvalues(self.dense.congruence(own.matrix, sigma, len(self.mu)))
            if doubt(values) <= DOUBT * (self.trace + float(sigma.trace())):
                return float(np.sqrt(np.maximum(values, 0)).sum())
        return float(self.dense.singular_values(other.matrix.T @ own.matrix).sum())

    def has_full_rank(self, sigma: np.ndarray) -> bool:
        """Whether a covariance [d, d] has full rank, by the pivots of its Cholesky factor."""
        return self._lower(self.dense.of(sigma)) is not None

    def _lower(self, sigma: Any) -> Any | None:
        """Cholesky's factor of a covariance of full rank; else None."""
        lower = self.dense.cholesky(sigma)
        if lower is None:
            return None
        pivots = lower.diagonal() ** 2
        return lower if float(pivots.min()) > len(self.mu) * EPS * float(pivots.max()) else None

    def _factored(self, sigma: Any) -> _Factor:
        width, lower = len(self.mu), self._lower(sigma)
        if lower is not None:
            return _Factor(lower, True)
        values, vectors = self.dense.eigh(sigma)
        live = values > width * EPS * values[-1]
        live[-1] = True  # a covariance of zeros has a factor too
        return _Factor(vectors[:, live] * abs(values[live]) ** 0.5, False)


class FrechetJackknife:
    """The Frechet distance of samples to a reference, of all of them and without a block of them; all exact.

    Args:
        reference: the other side of the distance.
        total: the moments of all samples, at least 2.

    Raises:
        InputError: fewer than 2 samples, or features of another length than the reference's.
        SamplingError: moments that are not finite.
    """

    def __init__(self, reference: FrechetReference, total: Moments) -> None:
        self._reference, self._total, self._dense = reference, total, reference.dense
        _check(total.mean[None], total.covariance[None], len(reference.mu))
        factor = reference._factor
        self._factor = factor.matrix if factor.full else None
        """F2; None where the reference has no full rank: then every distance is computed by itself."""

    @cached_property
    def _product(self) -> Any:
        """M [d, d]; made when it is first asked for, since the distance of all samples alone seldom needs it."""
        return self._dense.congruence(self._factor, self._dense.of(self._total.covariance), self._total.n - 1)

    def distance(self) -> float:
        """The distance of all samples; unit: that of the features, squared."""
        total = self._total
        overlap, trace = None, total.trace / (total.n - 1)
        if self._factor is not None and total.n <= total.width:
            overlap = self._overlap(self._product, trace, total.n, lambda: total)
        return self._from(total.mean, trace, overlap, lambda: total)

    def without(self, block: Moments) -> float:
        """The distance of all samples but those of a block, of which at least 2 are left."""
        total, rest = self._total, self._total.n - block.n
        mean = total.mean + (total.mean - block.mean) * (block.n / rest)
        apart, weight = block.mean - mean, rest * (block.n / total.n)
        trace = float(total.trace - block.trace - apart @ apart * weight) / (rest - 1)
        overlap = None
        if self._factor is not None:
            scatter = self._dense.congruence(self._factor, self._dense.of(block.scatter), block.n - 1)
            moved = self._dense.of(apart) @ self._factor  # F2^T a
            product = self._product * (total.n - 1)
            product -= scatter
            product -= (moved[:, None] * (moved * weight)).T  # in columns, as LAPACK's product is
            product /= rest - 1
            overlap = self._overlap(product, trace, rest, lambda: total.without(block))
        return self._from(mean, trace, overlap, lambda: total.without(block))

    def _overlap(self, product: Any, trace: float, n: int, samples: Callable[[], Moments]) -> float | None:
        """The trace of the root from M [d, d] of n samples, whose covariance has this trace; it needs their moments
        only where M alone does not tell that their covariance has full rank.

        None where the rank is less than n samples and d features give, or rounding is not small: there the distance
        needs factors of its own.
        """
        width = len(product)
        values, dead = self._dense.eigenvalues(product), max(width - (n - 1), 0)
        live, noise = values[dead:], abs(values[:dead]).max(initial=0.0)
        if doubt(live) > DOUBT * (self._reference.trace + trace):
            return None
        if dead:
            is_full = bool(live[0] > CLEAR * noise)
        else:
            is_full = bool(live[0] > width * EPS * live[-1]) or self._reference.has_full_rank(samples().covariance)
        return float(np.sqrt(np.maximum(live, 0)).sum()) if is_full else None

    def _from(self, mean: np.ndarray, trace: float, overlap: float | None, samples: Callable[[], Moments]) -> float:
        if overlap is None:
            moments = samples()
            return self._reference.distance(moments.mean, moments.covariance)
        return float(np.square(mean - self._reference.mu).sum()) + self._reference.trace + trace - 2 * overlap


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


def doubt(values: np.ndarray) -> float:
    """How far the sum of the roots of eigenvalues [d], ascending, is off by rounding, as if each were independent."""
    off = EPS * max(float(values[-1]), 0.0)
    return float(np.sqrt((off / (4 * np.maximum(values, off or 1.0))).sum() * off))


def thin_root(matrix: np.ndarray, rank: int) -> np.ndarray:
    """B [d, r] with B B^T a positive semidefinite matrix [d, d] of rank `rank` at most; r is that or less.

    Cholesky's factor with pivots by size, which ends where all that is left is rounding.
    """
    from scipy.linalg.lapack import dpstrf

    factor, pivots, found, _ = dpstrf(matrix, tol=EPS * float(matrix.diagonal().max()), lower=1)
    thin = np.empty((len(matrix), min(found, rank)))
    thin[pivots - 1] = np.tril(factor[:, : thin.shape[1]])
    return thin


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

    def congruence(self, factor: Any, matrix: Any, rank: int) -> Any:
        """F^T S F [d, d] of a lower triangular F and a symmetric S of a rank at most; its lower half is filled in."""

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        """Of a symmetric matrix, whose lower half is read; ascending."""

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

    def congruence(self, factor: np.ndarray, matrix: np.ndarray, rank: int) -> np.ndarray:
        product = factor.T @ matrix @ factor
        return (product + product.T) / 2

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

    def congruence(self, factor: Any, matrix: Any, rank: int) -> Any:
        if matrix.device.type != "cpu":
            product = factor.T @ matrix @ factor
            return (product + product.T) / 2
        lower, symmetric = np.asfortranarray(factor.numpy()), matrix.numpy().T
        thin = thin_root(symmetric, rank) if rank < LOW_RANK * len(symmetric) else None
        if thin is None:
            from scipy.linalg.lapack import dsygst

            product, _ = dsygst(symmetric, lower, itype=2, lower=1)  # half the multiplications of two products
        else:
            half = lower.T @ thin
            product = (half @ half.T).T
        return self.torch.from_numpy(product)

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        return self.torch.linalg.eigvalsh(matrix).cpu().numpy()

    def singular_values(self, matrix: Any) -> np.ndarray:
        if matrix.device.type == "cpu":  # NumPy's driver is the faster one there
            return np.linalg.svd(matrix.numpy(), compute_uv=False)
        return self.torch.linalg.svdvals(matrix).cpu().numpy()
