"""Tensors in a file: their layouts are known, their numbers are read on request.

A storage is a row of numbers of one type; a tensor is a view of a storage: an offset, a shape and strides, all counted
in numbers. A view that leaves its storage is refused, so no tensor takes more memory than the file has.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.hub.header import ITEM_SIZES, NUMPY_TYPES

MAX_DIMENSIONS = 16
MAX_SIDE = 1 << 40


class StorageType(NamedTuple):
    """The type of a storage's numbers, in safetensors' words."""

    dtype: str

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return ITEM_SIZES[self.dtype]


@dataclass(slots=True)
class Storage:
    """A row of numbers in the file.

    Attributes:
        type: of the numbers.
        numel: how many there are.
        data: gives their bytes, `numel * type.size` of them; set once their place in the file is known.
    """

    type: StorageType
    numel: int
    data: Callable[[], memoryview] | None = None

    def read(self) -> np.ndarray:
        """The numbers, [numel], in place."""
        if self.data is None:
            raise ValueError("a storage without its numbers; damaged")
        return np.frombuffer(self.data(), NUMPY_TYPES[self.type.dtype], self.numel)


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor whose numbers are read on request.

    Attributes:
        dtype: in safetensors' words.
        shape: sides.
        read: gives the numbers as an array of that shape; bfloat16 comes as float32. Read-only.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def derived(self, shape: tuple[int, ...], change: Callable[[np.ndarray], np.ndarray]) -> "LazyTensor":
        """The tensor that `change` makes of this one when it is read; it has the given shape."""
        return LazyTensor(self.dtype, shape, lambda: change(self.read()))


def view(storage: Any, offset: Any, size: Any, stride: Any) -> LazyTensor:
    """A tensor in a storage.

    Args:
        storage: the `Storage`.
        offset, size, stride: counted in numbers.

    Raises:
        ValueError: the view does not lie within its storage.
    """
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage; damaged")
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MAX_DIMENSIONS):
        raise ValueError("a tensor whose shape and strides do not go together; damaged")
    if any(type(number) is not int or not 0 <= number < MAX_SIDE for number in (offset, *size, *stride)):
        raise ValueError("a tensor with a shape, stride or offset that is no count; damaged")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.numel or (math.prod(size) and last >= storage.numel):
        raise ValueError(
            f"a tensor of shape {list(size)} does not lie within its storage of {storage.numel:,} numbers; damaged"
        )
    return LazyTensor(storage.type.dtype, size, lambda: _read_view(storage, offset, size, stride))


def whole(storage: Storage, shape: tuple[int, ...]) -> LazyTensor:
    """All numbers of a storage, row by row."""
    strides = tuple(math.prod(shape[side + 1 :]) for side in range(len(shape)))
    return view(storage, 0, shape, strides)


def _read_view(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    if not math.prod(size):
        numbers = np.empty(size, NUMPY_TYPES[storage.type.dtype])
    else:
        row = storage.read()[offset:]
        steps = tuple(step * row.itemsize if side > 1 else 0 for side, step in zip(size, stride, strict=True))
        numbers = np.lib.stride_tricks.as_strided(row, size, steps, writeable=False)
    return _widened(numbers) if storage.type.dtype == "BF16" else numbers


def _widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as its bits, as float32: the upper half of the same number."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
