"""Moments of a stream: those of all features at once, however they come."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError, SamplingError
from harness.metrics.frechet import frechet
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.moments import Moments, MomentStream

seeds = st.integers(0, 2**32 - 1)


def streamed(parts):
    stream = MomentStream()
    for part in parts:
        stream.add(part)
    return stream.moments()


def close(a, b, tolerance=1e-11):
    spread = np.abs(b.scatter).max() + np.finfo(float).tiny
    same = np.allclose(a.mean, b.mean, rtol=1e-13, atol=1e-13)
    return a.n == b.n and same and np.abs(a.scatter - b.scatter).max() <= tolerance * spread


def drawn(rng, count, width, offset):
    mix = rng.normal(size=(width, width)) / width**0.5
    return rng.normal(size=(count, width)) @ mix + offset


@given(seeds, st.integers(40, 120), st.integers(1, 6), st.sampled_from([0.0, 1.0, 1e4]))
@settings(max_examples=60)
def test_a_distance_from_chunks_is_that_of_all_features_at_once(seed, count, width, offset):
    """To 1e-9, whatever the chunks, by merges in any order or by streams that are merged."""
    rng = np.random.default_rng(seed)
    features = drawn(rng, count, width, offset)
    real = drawn(rng, 200, width, offset + 3)
    reference = FrechetReference(real.mean(0), np.atleast_2d(np.cov(real.T)))
    whole = reference.distance(features.mean(0), np.atleast_2d(np.cov(features.T)))

    parts = np.split(features, np.sort(rng.integers(0, count + 1, rng.integers(0, 9))))  # empty ones included
    order = rng.permutation(len(parts))
    merged = Moments.merge([Moments.of(parts[which]) for which in order])
    at_once = streamed([parts[which] for which in order])
    halves = [streamed(some) for some in (parts[::2], parts[1::2]) if any(len(part) for part in some)]
    for found in (merged, at_once, Moments.merge(halves)):
        assert found.n == count
        assert reference.distance(found.mean, found.covariance) == pytest.approx(whole, rel=1e-9)


@given(seeds)
@settings(max_examples=20)
def test_replicates_are_distances_without_each_block(seed):
    rng = np.random.default_rng(seed)
    features, reference = drawn(rng, 90, 4, 1e4), FrechetReference(np.full(4, 1e4), np.eye(4))
    blocks = np.split(features, np.sort(rng.choice(np.arange(5, 86), 4, replace=False)))
    found = frechet([Moments.of(block) for block in blocks], reference)
    for left_out, value in enumerate(found.replicates):
        rest = np.concatenate([block for which, block in enumerate(blocks) if which != left_out])
        assert value == pytest.approx(reference.distance(rest.mean(0), np.cov(rest.T)), rel=1e-9)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.uint8, torch.float32, torch.float16])
def test_any_numbers_are_summed_in_float64(kind):
    rows = np.random.default_rng(0).integers(0, 200, (50, 3))
    given_rows = torch.from_numpy(rows).to(kind) if isinstance(kind, torch.dtype) else rows.astype(kind)
    found = streamed([given_rows[:20], given_rows[20:]])
    assert found.mean.dtype == found.scatter.dtype == np.float64
    assert close(found, Moments.of(rows))


def test_what_was_given_is_not_changed_and_may_be_read_only_or_a_view():
    rows = np.random.default_rng(0).normal(size=(30, 3))
    before = rows.copy()
    rows.setflags(write=False)
    assert close(streamed([rows[:10], rows[10:]]), Moments.of(rows))
    assert close(streamed([rows[::-1], rows[:, ::-1][:, ::-1]]), Moments.of(np.concatenate([rows, rows])))
    assert np.array_equal(rows, before)
    graded = torch.tensor(before, requires_grad=True)
    assert close(streamed([graded]), Moments.of(rows))


def test_moments_may_be_asked_for_in_between():
    rows, stream = np.random.default_rng(0).normal(size=(30, 3)), MomentStream()
    stream.add(rows[:10])
    first = stream.moments()
    stream.add(rows[10:])
    assert close(first, Moments.of(rows[:10]))
    assert close(stream.moments(), Moments.of(rows))
    assert np.array_equal(first.scatter, first.scatter.T)


def test_one_row_has_no_scatter():
    found = streamed([np.array([[3.0, 4.0]])])
    assert (found.n, found.mean.tolist(), found.scatter.tolist()) == (1, [3, 4], [[0, 0], [0, 0]])


def test_refusals_change_nothing():
    stream = MomentStream()
    stream.add(np.empty((0, 5)))  # nothing, so the length is still open
    with pytest.raises(InputError, match="no features yet"):
        stream.moments()
    with pytest.raises(InputError, match=r"\[B, d\]; we got shape \[3\]"):
        stream.add(np.ones(3))
    rows = np.random.default_rng(0).normal(size=(8, 2))
    with pytest.raises(SamplingError, match="1 of 8 feature vectors are not finite"):
        stream.add(np.where(np.arange(8)[:, None] == 3, np.nan, rows))
    stream.add(rows)
    with pytest.raises(InputError, match=r"\[B, 2\]; we got shape \[8, 3\]"):
        stream.add(np.ones((8, 3)))
    with pytest.raises(SamplingError, match="8 of 8"):
        stream.add(rows * np.inf)
    assert close(stream.moments(), Moments.of(rows), 1e-14)
