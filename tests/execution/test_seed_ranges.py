"""Covering seeds with chunks: exact, disjoint, and nothing stored is cut up."""

from hypothesis import given
from hypothesis import strategies as st

from harness.execution.seed_ranges import SeedRange, partition_seeds

spans = st.builds(lambda first, size: SeedRange(first, first + size - 1), st.integers(0, 200), st.integers(1, 60))


@given(st.integers(0, 100), st.integers(1, 200), st.lists(spans, max_size=8), st.integers(1, 64))
def test_covers_exactly(first, count, present, size):
    last = first + count - 1
    found = partition_seeds(first, last, present, size)
    assert [seed for span in found for seed in range(span.first, span.last + 1)] == list(range(first, last + 1))
    assert all(span in present or span.size <= size for span in found)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_more_samples_only_add_chunks(few, more, size):
    before = partition_seeds(0, few - 1, [], size)
    after = partition_seeds(0, few + more - 1, before, size)
    assert after[: len(before)] == before


def test_cuts_at_multiples():
    assert partition_seeds(0, 99, [], 64) == [SeedRange(0, 63), SeedRange(64, 99)]
    assert partition_seeds(0, 199, [SeedRange(64, 99)], 64) == [
        SeedRange(0, 63),
        SeedRange(64, 99),
        SeedRange(100, 127),
        SeedRange(128, 191),
        SeedRange(192, 199),
    ]


def test_a_long_chunk_that_leads_nowhere_is_left_aside():
    """Chunks of another cut may begin at the same seed and end between the others."""
    stored = [SeedRange(0, 7), SeedRange(8, 15), SeedRange(0, 10)]
    assert partition_seeds(0, 15, stored, 8) == [SeedRange(0, 7), SeedRange(8, 15)]
    assert partition_seeds(0, 10, stored, 8) == [SeedRange(0, 10)]
    assert partition_seeds(0, 23, stored, 8) == [SeedRange(0, 10), SeedRange(11, 15), SeedRange(16, 23)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(spans, max_size=8), st.integers(1, 64))
def test_what_suffices_is_all_that_is_taken(sizes, others, size):
    """The seeds in one cut that is complete, and any other chunks beside it."""
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    whole = [SeedRange(end - width, end - 1) for end, width in zip(ends, sizes, strict=True)]
    assert set(partition_seeds(0, ends[-1] - 1, [*others, *whole], size)) <= {*others, *whole}
