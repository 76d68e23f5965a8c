"""Covering seeds with chunks: exact, disjoint, and nothing stored is cut up."""

from hypothesis import given
from hypothesis import strategies as st

from harness.execution.seed_ranges import Span, cover

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


def test_a_long_chunk_that_leads_nowhere_is_left_aside():
    """Chunks of another cut may begin at the same seed and end between the others."""
    stored = [Span(0, 7), Span(8, 15), Span(0, 10)]
    assert cover(0, 15, stored, 8) == [Span(0, 7), Span(8, 15)]
    assert cover(0, 10, stored, 8) == [Span(0, 10)]
    assert cover(0, 23, stored, 8) == [Span(0, 10), Span(11, 15), Span(16, 23)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(spans, max_size=8), st.integers(1, 64))
def test_what_suffices_is_all_that_is_taken(sizes, others, size):
    """The seeds in one cut that is complete, and any other chunks beside it."""
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    whole = [Span(end - width, end - 1) for end, width in zip(ends, sizes, strict=True)]
    assert set(cover(0, ends[-1] - 1, [*others, *whole], size)) <= {*others, *whole}
