"""A bounded random subset of a stream of feature vectors, the same whatever the order of the stream.

Every sample has an index, and h(salt, index) puts all indices in a random order; the subset is the `capacity` samples
that come first in it ("bottom-k sampling", Cohen and Kaplan 2007). h is the finaliser of SplitMix64 (Steele, Lea and
Flood 2014), a bijection of 64-bit numbers, so no two samples tie and, for a salt chosen without looking at the
features, the subset is a uniform one without replacement. Whether a sample is among the first depends on the indices
alone: chunks, merges, workers and resumed runs keep the same rows, bit by bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core.errors import InputError, SamplingError
from harness.metrics.statistics.moments import as_rows

LARGEST = 2**64 - 1


@dataclass(eq=False)
class Reservoir:
    """At most `capacity` feature vectors of all that were seen.

    Args:
        capacity: the most rows to keep, at least 1.
        salt: which random order, from 0 to 2^64 - 1.
        seen: number of samples added.
        indices: [n] int64 sample indices, in no order; see `arrays`.
        rows: [n, d] float32 their features.
    """

    capacity: int
    salt: int
    seen: int
    indices: np.ndarray
    rows: np.ndarray

    @classmethod
    def empty(cls, width: int, capacity: int, salt: int = 0) -> "Reservoir":
        """A reservoir without samples, for features of length `width`: the neutral element of `+`.

        Raises:
            InputError: a capacity below 1, or a salt out of range.
        """
        if capacity < 1 or not 0 <= salt <= LARGEST:
            raise InputError(
                f"a reservoir needs capacity >= 1 and salt from 0 to 2^64 - 1; we got {capacity} and {salt}"
            )
        return cls(capacity, salt, 0, np.empty(0, dtype=np.int64), np.empty((0, width), dtype=np.float32))

    def add(self, indices: Any, features: Any) -> None:
        """Offer samples, in place; unchanged if it raises.

        Args:
            indices: [B] whole numbers, at least 0, each sample's own.
            features: [B, d] features, kept as float32.

        Raises:
            InputError: another length, indices that do not fit, or an index that is already in.
            SamplingError: rows that are not finite, or too large for float32.
        """
        given, kept = np.asarray(indices), _float32(features)
        if given.shape != (len(kept),) or (given.size and (given.dtype.kind not in "iu" or given.min() < 0)):
            raise InputError(
                f"each sample needs an index, a whole number of at least 0; we got {given.dtype} {list(given.shape)} "
                f"for features {list(kept.shape)}"
            )
        self._take(given.astype(np.int64), kept, len(kept))

    def __add__(self, other: "Reservoir") -> "Reservoir":
        """The reservoir of both sets of samples.

        Raises:
            InputError: unequal capacities, salts or lengths, or an index that is in both.
        """
        if (self.capacity, self.salt) != (other.capacity, other.salt):
            one, two = f"{self.capacity} and {self.salt}", f"{other.capacity} and {other.salt}"
            raise InputError(f"reservoirs must share capacity and salt; we got {one}, and {two}")
        total = Reservoir(self.capacity, self.salt, self.seen, self.indices.copy(), self.rows.copy())
        total._take(other.indices, other.rows, other.seen)
        return total

    def _take(self, indices: np.ndarray, rows: np.ndarray, seen: int) -> None:
        """Keep the first `capacity` of the present rows and the new ones."""
        if rows.shape[1] != self.rows.shape[1]:
            raise InputError(f"features must have one length; we got {self.rows.shape[1]} and {rows.shape[1]}")
        twice = len(np.unique(indices)) < len(indices) or np.isin(indices, self.indices).any()
        if twice:
            raise InputError("each sample goes into a reservoir once; we got an index for the second time")
        order = np.argsort(self._keys(np.concatenate((self.indices, indices))))
        first, there = order[: self.capacity], len(self.indices)
        new = first[first >= there] - there
        free = np.setdiff1d(np.arange(there), first)  # rows to overwrite: copying all at every chunk would be slow
        self.indices[free], self.rows[free] = indices[new[: len(free)]], rows[new[: len(free)]]
        if len(new) > len(free):
            self.indices = np.concatenate((self.indices, indices[new[len(free) :]]))
            self.rows = np.concatenate((self.rows, rows[new[len(free) :]]))
        self.seen += seen

    def _keys(self, indices: np.ndarray) -> np.ndarray:
        """The place [n] uint64 of each index in the random order."""
        return _mixed(indices.astype(np.uint64) ^ _mixed(np.array([self.salt], dtype=np.uint64)))

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays to keep in a file, by ascending index: `indices` int64 [n], `rows` float32 [n, d]; and the numbers
        `capacity`, `seen` int64 [] and `salt` uint64 []."""
        order = np.argsort(self.indices)
        return {
            "capacity": np.array(self.capacity, dtype=np.int64),
            "salt": np.array(self.salt, dtype=np.uint64),
            "seen": np.array(self.seen, dtype=np.int64),
            "indices": self.indices[order],
            "rows": self.rows[order],
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Reservoir":
        """Read back what `arrays` gave, for instance from `np.load(..., allow_pickle=False)`.

        Raises:
            InputError: arrays missing, of the wrong type or shape, or that contradict each other.
        """
        kinds = {"capacity": (0, "i"), "salt": (0, "u"), "seen": (0, "i"), "indices": (1, "i"), "rows": (2, "f")}
        missing = set(kinds) - set(arrays)
        if missing:
            raise InputError(f"not a file of a reservoir: lacks {sorted(missing)}")
        given = {name: arrays[name] for name in kinds}
        for name, (ndim, kind) in kinds.items():
            if given[name].ndim != ndim or given[name].dtype.kind != kind:
                array = given[name]
                raise InputError(f"not a file of a reservoir: {name} cannot be {array.dtype} {list(array.shape)}")
        indices, rows, seen = given["indices"].astype(np.int64), given["rows"].astype(np.float32), int(given["seen"])
        capacity = int(given["capacity"])
        if not len(indices) == len(rows) == min(seen, capacity) or len(np.unique(indices)) < len(indices):
            raise InputError(
                f"not a file of a reservoir: {len(indices)} indices and {len(rows)} rows do not fit {seen} samples "
                f"seen, capacity {capacity}"
            )
        if not np.isfinite(rows).all() or (indices < 0).any():
            raise InputError("not a file of a reservoir: holds values that are not finite, or negative indices")
        return cls(capacity, int(given["salt"]), seen, indices, rows)


def _float32(features: Any) -> np.ndarray:
    rows = as_rows(features)
    large = int((np.abs(rows) > np.finfo(np.float32).max).any(1).sum())
    if large:
        raise SamplingError(f"{large} of {len(rows)} feature vectors are too large for float32")
    return rows.astype(np.float32)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser after one step of its counter, on uint64 [n]; wraps around."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
