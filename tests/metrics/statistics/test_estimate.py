"""Estimates: block sums, means without a block, and the interval; what the modules load."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.metrics.statistics.jackknife import block_labels, block_sizes, can_leave_out, jackknife, mean_estimate
from harness.metrics.statistics.pairs import place


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9).filter(any), st.integers(0, 2**32 - 1))
def test_mean_without_each_block(given_sizes, seed):
    values = np.random.default_rng(seed).normal(size=sum(given_sizes))
    sizes = block_sizes(given_sizes, len(values))
    assert sizes.tolist() == [size for size in given_sizes if size]
    found, labels = mean_estimate(values, sizes, {}), block_labels(sizes)
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    expected = [values[labels != j].mean() for j in range(len(sizes))] if len(sizes) > 1 else []
    assert found.replicates == pytest.approx(np.array(expected), abs=1e-12)
    assert found.interval(0.9) == jackknife(found.value, found.replicates, sizes, 0.9)


def test_what_may_be_left_out():
    assert can_leave_out(np.array([3, 2]), 2) and not can_leave_out(np.array([3, 2]), 3)
    assert not can_leave_out(np.array([9]), 0)


@pytest.mark.parametrize("sizes", [[[1, 2]], [0.5, 2.5], [4, -1], ["3"], 3])
def test_sizes_that_are_none(sizes):
    with pytest.raises(InputError, match="must be a list of whole numbers, at least 0"):
        block_sizes(sizes, 3)


def test_a_device_without_double_precision_leaves_it_to_the_cpu():
    assert place("mps").type == place("mps:0").type == place("cpu").type == "cpu"
    assert place("cuda:1").index == 1
