"""Arrays of NumPy in pickles, and the strings of Python 2 that they are kept in."""

import pickle

import numpy as np
import pytest

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.machine import PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.numpy_arrays import NUMPY_ARRAYS, NumpyArray, array_of
from harness.denoisers.checkpoints.pickles.torch_names import NumpyType, encoded

ALLOWED = {**NUMPY_ARRAYS, "_codecs.encode": encoded}


def read(raw, **more):
    return unpickle(memoryview(raw), "a.pkl", ALLOWED, PickleBudget(), **more).value


FULL, EMPTY = [(3,), (2, 3, 4)], [(0,), (1, 0, 2)]  # Python 3 writes no bytes in protocol 2 as a call of bytes()


@pytest.mark.parametrize(
    ("protocol", "shape"), [(2, shape) for shape in FULL] + [(n, shape) for n in (3, 4) for shape in FULL + EMPTY]
)
@pytest.mark.parametrize("dtype", ["u1", "i1", "b1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])
def test_arrays_are_read_as_numpy_reads_them(protocol, dtype, shape):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for given in (array, np.asfortranarray(array)):
        found = array_of(read(pickle.dumps(given, protocol=protocol)))
        assert found.dtype == array.dtype and np.array_equal(found, array) and not found.flags.writeable


def test_numbers_are_views_of_the_buffer():
    raw = pickle.dumps(np.arange(1000, dtype=np.uint8), protocol=4)
    assert np.shares_memory(array_of(read(raw)), np.frombuffer(raw, np.uint8))


def of(shape, raw, code="u1", order="|", by_columns=False):
    kind = NumpyType(code, (3, order, None, None, None, -1, -1, 0))
    return NumpyArray("numpy.ndarray", (1, shape, kind, by_columns, raw))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "not an array of NumPy"),
        (NumpyArray("numpy.ndarray"), "not an array of NumPy"),
        (of([2], b"ab"), "without shape or type"),
        (of((1,) * 17, b"a"), "without shape or type"),
        (of((-1, -2), b"ab"), "a side that is no count"),
        (of((True, 2), b"ab"), "a side that is no count"),
        (of((1 << 60,), b"ab"), "a side that is no count"),
        (of((1 << 39, 1 << 39), b"ab"), "whose bytes are not as many"),
        (of((2,), b"abc"), "whose bytes are not as many"),
        (of((2,), "ab"), "whose bytes are not as many"),
        (of((1,), b"abcd", "f4", ">"), "big-endian"),
        (of((1,), b"abcd", "f4", None), "big-endian"),
    ],
)
def test_states_that_are_not_believed(value, message):
    with pytest.raises(ValueError, match=message):
        array_of(value)


SHORT, LONG = b"U\x03a\xe9b", b"T\x04\x00\x00\x00a\xe9bc"


def test_strings_of_python_2_are_bytes_where_the_reader_says_so():
    assert read(b"\x80\x02" + SHORT + b".", python2=True) == "aéb"
    found = read(b"\x80\x02" + LONG + b".", python2=True)
    assert isinstance(found, memoryview) and found == b"a\xe9bc"
    for string in (SHORT, LONG):
        with pytest.raises(InputError, match="a text that is not UTF-8"):
            read(b"\x80\x02" + string + b".")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_bytes_for_keys_are_text(protocol):
    assert read(pickle.dumps({b"data": 1, "a": 2, b"caf\xe9": 3}, protocol=protocol)) == {"data": 1, "a": 2, "café": 3}
    with pytest.raises(InputError, match="a key that is neither text nor a plain number"):
        read(pickle.dumps({b"a" * 256: 1}, protocol=protocol))
