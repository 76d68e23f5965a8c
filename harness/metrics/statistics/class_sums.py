"""Sums over the class probabilities of samples: all that an inception score needs, mergeable in any order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core.errors import InputError
from harness.metrics.statistics.moments import as_rows

TOLERANCE = 1e-3
"""How far the probabilities of a sample may be from adding up to 1: half precision gets within this."""


@dataclass(eq=False)
class ClassSums:
    """Sums over the class probabilities of samples.

    Args:
        n: number of samples, at least 0.
        p: [classes] float64, sum of the probabilities.
        p_log_p: sum over samples and classes of p log p, natural logarithm, at most 0.
    """

    n: int
    p: np.ndarray
    p_log_p: float

    @classmethod
    def empty(cls, classes: int) -> "ClassSums":
        """The sums over no samples: the neutral element of `+`."""
        return cls(0, np.zeros(classes), 0.0)

    @classmethod
    def of(cls, probabilities: Any) -> "ClassSums":
        """The sums over probabilities [N, classes], each row brought to add up to 1 exactly.

        Raises:
            InputError: rows that are no probabilities, or no classes.
            SamplingError: rows that are not finite, with their number.
        """
        p = as_rows(probabilities)
        if not p.shape[1]:
            raise InputError("probabilities must be [N, classes] with at least 1 class; we got none")
        off = (p < 0).any(1) | (np.abs(p.sum(1) - 1) > TOLERANCE)
        if off.any():
            raise InputError(
                f"probabilities must be at least 0 and add up to 1 within {TOLERANCE:g}; {int(off.sum())} of {len(p)} "
                f"rows are not, the first adds up to {p[off][0].sum():.6g} with minimum {p[off][0].min():.6g}; "
                "give the softmax, not logits"
            )
        p = p / p.sum(1, keepdims=True)
        return cls(len(p), p.sum(0), _p_log_p(p))

    def update(self, probabilities: Any) -> None:
        """Add probabilities [N, classes], in place; unchanged if it raises.

        Raises:
            InputError: rows that are no probabilities, or another number of classes.
            SamplingError: rows that are not finite, with their number.
        """
        total = self + ClassSums.of(probabilities)
        self.n, self.p, self.p_log_p = total.n, total.p, total.p_log_p

    def __add__(self, other: "ClassSums") -> "ClassSums":
        """The sums over both sets.

        Raises:
            InputError: unequal numbers of classes.
        """
        if self.p.shape != other.p.shape:
            raise InputError(f"probabilities must have one number of classes; we got {len(self.p)} and {len(other.p)}")
        return ClassSums(self.n + other.n, self.p + other.p, self.p_log_p + other.p_log_p)

    def score(self) -> float:
        """The inception score, from 1 to the number of classes.

        Raises:
            InputError: no samples.
        """
        if not self.n:
            raise InputError("an inception score needs at least 1 sample; we got none; use more seeds")
        divergence = self.p_log_p / self.n - _p_log_p(self.p / self.n)
        return float(np.exp(max(divergence, 0.0)))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to keep in a file: `n` int64 [], `p` [classes] and `p_log_p` []."""
        return {"n": np.array(self.n, dtype=np.int64), "p": self.p, "p_log_p": np.array(self.p_log_p)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "ClassSums":
        """Read back what `arrays` gave, for instance from `np.load(..., allow_pickle=False)`.

        Raises:
            InputError: arrays missing, of the wrong type or shape, or of values that cannot be.
        """
        missing = {"n", "p", "p_log_p"} - set(arrays)
        if missing:
            raise InputError(f"not a file of class sums: lacks {sorted(missing)}")
        n, p, p_log_p = arrays["n"], arrays["p"], arrays["p_log_p"]
        if n.shape != () or n.dtype.kind != "i" or n < 0:
            raise InputError(f"not a file of class sums: n must be one integer, at least 0; we got {n!r}")
        if p.ndim != 1 or p_log_p.shape != () or {p.dtype, p_log_p.dtype} != {np.dtype(np.float64)}:
            raise InputError(
                "not a file of class sums: needs float64 p [classes] and p_log_p []; "
                f"we got {p.dtype} {list(p.shape)} and {p_log_p.dtype} {list(p_log_p.shape)}"
            )
        if not (np.isfinite(p).all() and (p >= 0).all() and np.isfinite(p_log_p)):
            raise InputError(
                "not a file of class sums: holds values that are negative or not finite; compute the chunk again"
            )
        return cls(int(n), p, float(p_log_p))


def _p_log_p(p: np.ndarray) -> float:
    return float((p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum())
