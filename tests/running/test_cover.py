"""Covering seeds with chunks: exact, disjoint, and nothing stored is cut up."""

from hypothesis import given
from hypothesis import strategies as st

from harness.running.cover import Span, cover

spans = st.builds(lambda first, size: Span(first, first + size - 1), st.integers(0, 200), st.integers(1, 60))


@given(st.integers(0, 100), st.integers(1, 200), st.lists(spans, max_size=8), st.integers(1, 64))
def test_covers_exactly(first, count, present, size):
    last = first + count - 1
    found = cover(first, last, present, size)
    assert [seed for span in found for seed in range(span.first, span.last + 1)] == list(range(first, last + 1))
    assert all(span in present or span.size <= size for span in found)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_more_samples_only_add_chunks(few, more, size):
    before = cover(0, few - 1, [], size)
    after = cover(0, few + more - 1, before, size)
    assert after[: len(before)] == before


def test_cuts_at_multiples():
    assert cover(0, 99, [], 64) == [Span(0, 63), Span(64, 99)]
    assert cover(0, 199, [Span(64, 99)], 64) == [
        Span(0, 63),
        Span(64, 99),
        Span(100, 127),
        Span(128, 191),
        Span(192, 199),
    ]
