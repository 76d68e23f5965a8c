"""Mean and covariance of features, streamed: n, the mean and the scatter about it, in float64.

    mean = (1/n) sum f        scatter = sum (f - mean)(f - mean)^T        covariance = scatter / (n - 1)

Two sets merge exactly in real arithmetic (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
variance"), with d = mean_b - mean_a:

    mean = mean_a + d n_b / n        scatter = scatter_a + scatter_b + d d^T n_a n_b / n

The scatter is kept about the mean, not as the raw sum of f f^T: that sum loses as many digits as mean^2 / variance has,
and a fixed shift that would save them has to be agreed between all who add to a result. Any order and any cut into
chunks give the same numbers to about 1e-13 of their size.

`MomentStream` sums batches in place about the mean p of the first one, on the device where the features are:

    T = sum (f - p),   S = sum (f - p)(f - p)^T       mean = p + T / n       scatter = S - T T^T / n

Nothing of the size of the scatter is made for a batch, which counts for 2048 features. Another p gives the same moments
to about 1e-13, so streams merge as `Moments` do.

The scatter of a few wide features is kept as a root of it, R [n - 1, d] with R^T R = scatter: n - 1 contrasts of the
features, and after a merge the rows of both with (n_a n_b / n)^(1/2) d. For 64 images and 2048 features it takes 1 MB,
half a scatter 17 MB.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from operator import add
from typing import Any

import numpy as np

from harness.core.errors import InputError, SamplingError

WIDE, THIN = 256, 0.25
"""Features from which a scatter is kept by its root, and rows of the root at most, of the features."""


class Moments:
    """Count, mean and scatter of features of one length.

    Args:
        n: number of feature vectors, at least 0.
        mean: [d] float64; zeros where n is 0.
        scatter: [d, d] float64, symmetric; the sum of (f - mean)(f - mean)^T. None where there is a root, from which it
            is made when it is asked for.
        root: R [r, d] with R^T R the scatter; None where there is none, or it would not be thin.
    """

    def __init__(
        self, n: int, mean: np.ndarray, scatter: np.ndarray | None = None, root: np.ndarray | None = None
    ) -> None:
        assert scatter is not None or root is not None
        self.n, self.mean, self.root = n, mean, root
        self._scatter = scatter

    @property
    def scatter(self) -> np.ndarray:
        """The sum of (f - mean)(f - mean)^T, [d, d]; made of the root anew each time, where there is one."""
        if self._scatter is not None:
            return self._scatter
        assert self.root is not None
        return self.root.T @ self.root

    @property
    def trace(self) -> float:
        """Of the scatter."""
        return float(self.scatter.trace() if self.root is None else np.square(self.root).sum())

    @classmethod
    def empty(cls, width: int) -> "Moments":
        """The moments of no features of length `width`: the neutral element of `+`."""
        return cls(0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, features: Any) -> "Moments":
        """The moments of features [B, d].

        Raises:
            SamplingError: rows that are not finite, with their number.
        """
        rows = as_rows(features)
        if not len(rows):
            return cls.empty(rows.shape[1])
        mean = rows.mean(0)
        about = rows - mean
        if _is_thin(about):
            return cls(len(rows), mean, root=_contrasts(len(rows)) @ about)
        return cls(len(rows), mean, about.T @ about)

    @classmethod
    def merge(cls, parts: Iterable["Moments"]) -> "Moments":
        """The moments of all parts together, at least one.

        Raises:
            InputError: no parts, or parts of unequal lengths.
        """
        chunks = list(parts)
        if not chunks:
            raise InputError("nothing to merge: needs the moments of at least one chunk")
        return reduce(add, chunks)

    def update(self, features: Any) -> None:
        """Add features [B, d], in place; unchanged if it raises.

        Raises:
            SamplingError: rows that are not finite, with their number.
            InputError: features of another length.
        """
        total = self + Moments.of(features)
        self.n, self.mean, self.root, self._scatter = total.n, total.mean, total.root, total._scatter

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together.

        Raises:
            InputError: features of unequal lengths.
        """
        if self.mean.shape != other.mean.shape:
            raise InputError(f"features must have one length; we got {len(self.mean)} and {len(other.mean)}")
        if not (self.n and other.n):
            one = self if self.n else other
            return one._copy()
        n, apart = self.n + other.n, other.mean - self.mean
        mean, weight = self.mean + apart * (other.n / n), self.n / n * other.n
        if self.root is not None and other.root is not None:
            root = np.concatenate([self.root, other.root, weight**0.5 * apart[None]])
            if _is_thin(root):
                return Moments(n, mean, root=root)
        return Moments(n, mean, self.scatter + other.scatter + np.outer(apart, apart) * weight)

    def _copy(self) -> "Moments":
        root = None if self.root is None else self.root.copy()
        return Moments(self.n, self.mean.copy(), None if root is not None else self.scatter.copy(), root)

    def without(self, part: "Moments") -> "Moments":
        """The moments with a part of the features taken away, of which at least one is left: a merge read backwards."""
        rest = self.n - part.n
        mean = self.mean + (self.mean - part.mean) * (part.n / rest)
        apart = part.mean - mean
        scatter = self.scatter - part.scatter
        scatter -= np.outer(apart, apart) * (rest * (part.n / self.n))
        return Moments(rest, mean, scatter)

    @property
    def width(self) -> int:
        """Length d of a feature vector."""
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance [d, d], scatter / (n - 1).

        Raises:
            InputError: fewer than 2 samples.
        """
        if self.n < 2:
            raise InputError(f"a covariance needs at least 2 samples; we got {self.n}; use more seeds")
        return self.scatter / (self.n - 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to keep in a file: `n` int64 [], `mean` [d], and either `root` [r, d] or `half` [d (d + 1) / 2],
        the scatter's upper half row by row with its diagonal."""
        kept = {"half": self.scatter[_upper(self.width)]} if self.root is None else {"root": self.root}
        return {"n": np.array(self.n, dtype=np.int64), "mean": self.mean, **kept}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Moments":
        """Read back what `arrays` gave, for instance from `np.load(..., allow_pickle=False)`.

        Raises:
            InputError: arrays missing, of the wrong type or shape, or not finite.
        """
        is_other = "scatter" in arrays or "root" in arrays  # earlier versions wrote the whole scatter
        missing = {"n", "mean", "half"} - set(arrays) - ({"half"} if is_other else set())
        if missing:
            raise InputError(f"not a file of moments: lacks {sorted(missing)}")
        n, mean = arrays["n"], arrays["mean"]
        if n.shape != () or n.dtype.kind != "i" or n < 0:
            raise InputError(f"not a file of moments: n must be one integer, at least 0; we got {n!r}")
        if "root" in arrays:
            return cls._of_root(int(n), mean, arrays["root"])
        scatter = arrays["scatter"] if "scatter" in arrays else _whole(arrays["half"], mean)
        if mean.ndim != 1 or scatter.shape != 2 * mean.shape or {mean.dtype, scatter.dtype} != {np.dtype(np.float64)}:
            raise InputError(
                "not a file of moments: needs float64 mean [d] and half [d (d + 1) / 2]; "
                f"we got {mean.dtype} {list(mean.shape)} and {scatter.dtype} {list(scatter.shape)}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise InputError("not a file of moments: holds values that are not finite; compute the chunk again")
        return cls(int(n), mean, scatter)

    @classmethod
    def _of_root(cls, n: int, mean: np.ndarray, root: np.ndarray) -> "Moments":
        is_right = mean.ndim == 1 and root.ndim == 2 and root.shape[1:] == mean.shape
        if not is_right or {mean.dtype, root.dtype} != {np.dtype(np.float64)}:
            raise InputError(
                "not a file of moments: needs float64 mean [d] and root [r, d]; "
                f"we got {mean.dtype} {list(mean.shape)} and {root.dtype} {list(root.shape)}"
            )
        if not (np.isfinite(mean).all() and np.isfinite(root).all()):
            raise InputError("not a file of moments: holds values that are not finite; compute the chunk again")
        return cls(n, mean, root=root)


def _is_thin(root: np.ndarray) -> bool:
    """Whether a root [r, d] is worth being kept in place of its scatter."""
    return root.shape[1] >= WIDE and len(root) <= THIN * root.shape[1]


@lru_cache(maxsize=8)
def _contrasts(count: int) -> np.ndarray:
    """Helmert's matrix [n - 1, n]: orthonormal rows that are 0 on equal numbers."""
    number = np.arange(1, count)
    rows = np.tril(np.ones((count - 1, count)))
    rows[number - 1, number] = -number
    return rows / np.sqrt(number * (number + 1))[:, None]


@lru_cache(maxsize=2)
def _upper(width: int) -> np.ndarray:
    """Which numbers of a matrix [d, d] are on or above the diagonal."""
    return np.triu(np.ones((width, width), dtype=bool))


def _whole(half: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The symmetric matrix of an upper half; the half itself where it cannot be one of `mean`'s length."""
    if mean.ndim != 1 or half.shape != (len(mean) * (len(mean) + 1) // 2,):
        return half
    upper = _upper(len(mean))
    matrix = np.zeros((len(mean), len(mean)), dtype=half.dtype)
    matrix[upper] = half
    return np.where(upper, matrix, matrix.T)


def as_rows(features: Any) -> np.ndarray:
    """Features [B, d] as float64, from a numpy array or a torch tensor on any device.

    Raises:
        InputError: not two-dimensional.
        SamplingError: rows that are not finite, with their number.
    """
    if not isinstance(features, np.ndarray):
        import torch

        features = torch.as_tensor(features).detach().cpu().numpy()
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        raise InputError(f"features must be [B, d]; we got shape {list(rows.shape)}")
    bad = int((~np.isfinite(rows).all(1)).sum())
    if bad:
        raise SamplingError(f"{bad} of {len(rows)} feature vectors are not finite")
    return rows


class MomentStream:
    """Sums over features [B, d] given batch by batch, as numpy arrays or as tensors on one device."""

    def __init__(self) -> None:
        self.n = 0
        self._pilot: Any = None
        self._total: Any = None
        self._scatter: Any = None

    def add(self, features: Any) -> None:
        """Add a batch; unchanged if it raises.

        Raises:
            InputError: not [B, d], or features of another length than before.
            SamplingError: rows that are not finite, with their number.
        """
        import torch

        if isinstance(features, np.ndarray):
            features = np.require(features, requirements=["C", "W"])  # torch takes no view of a read-only array
        rows = torch.as_tensor(features).detach()
        rows = (rows.cpu() if rows.device.type == "mps" else rows).double()
        if rows.ndim != 2 or (self._pilot is not None and rows.shape[1] != len(self._pilot)):
            wanted = "d" if self._pilot is None else len(self._pilot)
            raise InputError(f"features must be [B, {wanted}]; we got shape {list(rows.shape)}")
        if not len(rows):
            return
        bad = int((~torch.isfinite(rows).all(1)).sum())
        if bad:
            raise SamplingError(f"{bad} of {len(rows)} feature vectors are not finite")
        if self._pilot is None:
            self._pilot = rows.mean(0)
            self._total = torch.zeros_like(self._pilot)
            self._scatter = rows.new_zeros(rows.shape[1], rows.shape[1])
        about = rows - self._pilot
        self._total += about.sum(0)
        self._scatter.addmm_(about.T, about)
        self.n += len(rows)

    def moments(self) -> Moments:
        """What was seen so far.

        Raises:
            InputError: nothing yet, so that the features' length is not known.
        """
        if self._pilot is None:
            raise InputError("no features yet; add a batch first")
        total, scatter = self._total.cpu().numpy(), self._scatter.cpu().numpy()
        scatter = scatter - np.outer(total, total) / self.n
        return Moments(self.n, self._pilot.cpu().numpy() + total / self.n, (scatter + scatter.T) / 2)
