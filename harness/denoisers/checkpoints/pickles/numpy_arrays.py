"""Arrays of NumPy in pickles, as versions 1 and 2 write them up to protocol 4; their numbers are views of the buffer.

A pickle makes an empty array, `_reconstruct(ndarray, (0,), b'b')`, and then sets its state: (version, shape, dtype,
whether columns come first, bytes).
"""

import math
from typing import Any

import numpy as np

from harness.denoisers.checkpoints.pickles.machine import Allowed, Instance
from harness.denoisers.checkpoints.pickles.stored import MAX_DIMENSIONS, MAX_SIDE
from harness.denoisers.checkpoints.pickles.torch_names import NUMPY_SCALARS, NumpyType

BYTES = ("u1", "i1", "b1")
"""Types of one byte, which have no order of bytes."""


class NumpyArray(Instance):
    """An array whose state came from a pickle and is not checked yet; see `array_of`."""


def reconstructed(*_: Any) -> NumpyArray:
    """`numpy.core.multiarray._reconstruct`."""
    return NumpyArray("numpy.ndarray")


NUMPY_ARRAYS: Allowed = {
    **NUMPY_SCALARS,
    "numpy._core.multiarray._reconstruct": reconstructed,
    "numpy.core.multiarray._reconstruct": reconstructed,
    "numpy.ndarray": "numpy.ndarray",
}
"""What arrays and single numbers of NumPy are made of."""


def array_of(value: Any) -> np.ndarray:
    """An array, its numbers in place and read-only.

    Args:
        value: what the machine made of it, a `NumpyArray`.

    Raises:
        ValueError: no array; another type of numbers than those in `torch_names.CODES`, or not little-endian; or its
            bytes are not as many as its shape says.
    """
    if not (type(value) is NumpyArray and isinstance(value.state, tuple) and len(value.state) == 5):
        raise ValueError("not an array of NumPy as its versions 1 and 2 write it; damaged")
    _, shape, kind, by_columns, raw = value.state
    if not (isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and type(kind) is NumpyType):
        raise ValueError("an array without shape or type; damaged")
    if any(type(side) is not int or not 0 <= side < MAX_SIDE for side in shape):
        raise ValueError("an array with a side that is no count; damaged")
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if kind.of not in BYTES and order not in ("<", "="):
        raise ValueError("an array of big-endian numbers, which are not read here")
    dtype = np.dtype(kind.of)
    if not isinstance(raw, memoryview | bytes) or len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {list(shape)} whose bytes are not as many; damaged")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if by_columns else "C")
