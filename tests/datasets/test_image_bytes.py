"""Bytes against the official implementation's."""

import numpy as np
import pytest
import torch

from harness.core.errors import SamplingError
from harness.datasets.image_bytes import from_bytes, to_bytes
from tests.conftest import golden

QUANTISE = golden("quantise").arrays
KINDS = [np.asarray, torch.tensor]


@pytest.mark.parametrize("kind", KINDS, ids=["numpy", "torch"])
class TestBytes:
    def test_golden(self, kind):
        found = to_bytes(kind(QUANTISE["values"]))
        assert type(found) is type(kind(QUANTISE["values"]))
        assert np.array_equal(np.asarray(found), QUANTISE["uint8"]) and np.asarray(found).dtype == np.uint8
        values = np.asarray(from_bytes(kind(np.arange(256, dtype=np.uint8))))
        assert np.array_equal(values, QUANTISE["u8_to_train"]) and values.dtype == np.float32

    def test_byte_to_value_to_byte_is_the_identity(self, kind):
        levels = np.arange(256, dtype=np.uint8)
        assert np.array_equal(np.asarray(to_bytes(from_bytes(kind(levels)))), levels)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite_are_counted(self, kind, bad):
        with pytest.raises(SamplingError, match="1 of 4 image values are not finite"):
            to_bytes(kind(np.array([[0.0, bad], [1.0, -1.0]])))

    def test_the_input_is_not_changed(self, kind):
        values = kind(np.array([-3.0, 0.0, 3.0]))
        assert np.asarray(to_bytes(values)).tolist() == [0, 128, 255]
        assert np.asarray(values).tolist() == [-3.0, 0.0, 3.0]
