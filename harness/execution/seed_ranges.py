"""Which chunks make up a run of seeds, given those that are there already."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple


class SeedRange(NamedTuple):
    """Seeds from first to last, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many seeds."""
        return self.last - self.first + 1

    def holds(self, other: "SeedRange") -> bool:
        """Whether all seeds of another are among these."""
        return self.first <= other.first and other.last <= self.last


def seeds_of(row: Mapping[str, Any]) -> SeedRange:
    """The seeds of a chunk's row."""
    return SeedRange(row["first_seed"], row["last_seed"])


def shares(total: int, sizes: Sequence[int]) -> list[int]:
    """A whole number shared out in proportion to sizes, so that the parts add up to it."""
    ends = [round(total * end / sum(sizes)) for end in accumulate(sizes, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def partition_seeds(first: int, last: int, present: Iterable[SeedRange], size: int) -> list[SeedRange]:
    """Cut the seeds first..last into ranges, taking those that are present as they are.

    Where those that are present suffice, they are all that is taken. Else what is missing is cut at multiples of
    `size`, so that a larger number of samples adds chunks and changes none.

    Args:
        first, last: the seeds wanted, both included.
        present: ranges already in the store, in any order; those reaching outside are left aside.
        size: seeds per new range.

    Returns:
        Disjoint ranges in order, which together are first..last.
    """
    seed_ranges: list[SeedRange] = []
    inside = {seed_range for seed_range in present if SeedRange(first, last).holds(seed_range)}
    ends = _ends(last, inside)
    usable = sorted(inside, key=lambda seed_range: (seed_range.first, -seed_range.last))
    at = first
    for seed_range in usable:
        if seed_range.first < at or (first in ends and seed_range.last + 1 not in ends):
            continue
        seed_ranges += _cut(at, seed_range.first - 1, size)
        seed_ranges.append(seed_range)
        at = seed_range.last + 1
    return seed_ranges + _cut(at, last, size)


def _ends(last: int, present: Iterable[SeedRange]) -> set[int]:
    """Seeds from which ranges that are present lead to the last, without a gap."""
    ends = {last + 1}
    for seed_range in sorted(present, key=lambda seed_range: seed_range.first, reverse=True):
        if seed_range.last + 1 in ends:
            ends.add(seed_range.first)
    return ends


def _cut(first: int, last: int, size: int) -> list[SeedRange]:
    seed_ranges = []
    while first <= last:
        end = min(last, (first // size + 1) * size - 1)
        seed_ranges.append(SeedRange(first, end))
        first = end + 1
    return seed_ranges
