"""A trial's memory does not grow with its samples."""

import pytest

from benchmarks.memory import peak


@pytest.mark.slow
def test_20000_samples_need_no_more_than_2000():
    few, many = (float(str(peak("digits-edm", samples)["peak_mib"])) for samples in (2_000, 20_000))
    assert many - few < 100
