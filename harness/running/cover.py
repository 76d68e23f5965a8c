"""Which chunks make up a run of seeds, given those that are there already."""

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """Seeds from first to last, both included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many seeds."""
        return self.last - self.first + 1


def cover(first: int, last: int, present: Iterable[Span], size: int) -> list[Span]:
    """Cut the seeds first..last into spans, taking those that are present as they are.

    What is missing is cut at multiples of `size`, so that a larger number of samples adds chunks and changes none.

    Args:
        first, last: the seeds wanted, both included.
        present: spans already in the store, in any order; those reaching outside are left aside.
        size: seeds per new span.

    Returns:
        Disjoint spans in order, which together are first..last.
    """
    spans: list[Span] = []
    usable = sorted(set(present), key=lambda span: (span.first, -span.last))
    at = first
    for span in usable:
        if span.first < at or span.last > last:
            continue
        spans += _cut(at, span.first - 1, size)
        spans.append(span)
        at = span.last + 1
    return spans + _cut(at, last, size)


def _cut(first: int, last: int, size: int) -> list[Span]:
    spans = []
    while first <= last:
        end = min(last, (first // size + 1) * size - 1)
        spans.append(Span(first, end))
        first = end + 1
    return spans
