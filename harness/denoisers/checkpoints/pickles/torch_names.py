"""The globals that pickles of tensors name, and what stands for each: data of ours in place of torch's objects."""

from typing import Any

import numpy as np

from harness.denoisers.checkpoints.pickles.machine import Allowed, Instance, checked_key
from harness.denoisers.checkpoints.pickles.stored import LazyTensor, StorageType, view

STORAGE_TYPES: Allowed = {
    f"torch.{name}Storage": StorageType(dtype)
    for name, dtype in {
        "Double": "F64",
        "Float": "F32",
        "Half": "F16",
        "BFloat16": "BF16",
        "Long": "I64",
        "Int": "I32",
        "Short": "I16",
        "Char": "I8",
        "Byte": "U8",
        "Bool": "BOOL",
    }.items()
}
"""Storages of every type that networks are kept in."""


def ordered_dict(items: Any = ()) -> dict[Any, Any]:
    """`collections.OrderedDict`: a dict keeps its order; very old writers give the items as a list of pairs."""
    ordered = {}
    for pair in items:
        if not (isinstance(pair, list | tuple) and len(pair) == 2):
            raise ValueError("a dict of something that is not a list of pairs; damaged")
        ordered[checked_key(pair[0])] = pair[1]
    return ordered


def rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = None, _: Any = None
) -> LazyTensor:
    """`torch._utils._rebuild_tensor_v2`, and the first version, which has no gradient flag and no hooks."""
    return view(storage, offset, size, stride)


def rebuild_parameter(tensor: Any, requires_grad: Any = False, hooks: Any = None) -> LazyTensor:
    """`torch._utils._rebuild_parameter`."""
    if not isinstance(tensor, LazyTensor):
        raise ValueError("a parameter without a tensor; damaged")
    return tensor


CODES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1")


class NumpyType(Instance):
    """A type of NumPy's scalars, one of CODES; its byte order comes as its state."""


def numpy_dtype(code: Any, align: Any = False, copy: Any = True) -> NumpyType:
    """`numpy.dtype`."""
    if not isinstance(code, str) or code not in CODES:
        raise ValueError("a NumPy scalar of a type that is not known here")
    return NumpyType(code)


def numpy_scalar(kind: Any, raw: Any) -> float | int:
    """`numpy.core.multiarray.scalar`: as a number of Python's."""
    if not (type(kind) is NumpyType and isinstance(raw, memoryview | bytes)):
        raise ValueError("a NumPy scalar without type or bytes; damaged")
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    if not isinstance(order, str) or order not in ("<", "|", "="):
        raise ValueError("big-endian numbers, which are not read here")
    dtype = np.dtype(kind.of)
    if len(raw) != dtype.itemsize:
        raise ValueError("a NumPy scalar whose bytes do not fit its type; damaged")
    value: float | int = np.frombuffer(raw, dtype)[0].item()
    return value


def encoded(text: Any, codec: Any = "latin1") -> bytes:
    """`_codecs.encode`: how protocol 2 writes bytes."""
    if not isinstance(text, str) or codec != "latin1":
        raise ValueError("bytes in another coding than Latin-1; damaged")
    return text.encode("latin1")


TENSORS: Allowed = {
    "collections.OrderedDict": ordered_dict,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
}
"""What state dicts are made of, storages aside."""

NUMPY_SCALARS: Allowed = {
    "numpy._core.multiarray.scalar": numpy_scalar,
    "numpy.core.multiarray.scalar": numpy_scalar,
    "numpy.dtype": numpy_dtype,
}
"""Single numbers of NumPy, as versions 1 and 2 write them."""


def size(sides: Any = ()) -> tuple[Any, ...]:
    """`torch.Size`."""
    if not isinstance(sides, tuple | list):
        raise ValueError("a size that is no row of sides; damaged")
    return tuple(sides)


TORCH_FILE: Allowed = {
    **STORAGE_TYPES,
    **TENSORS,
    **NUMPY_SCALARS,
    "_codecs.encode": encoded,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch.Size": size,
}
"""What files of `torch.save` with networks, optimisers and counters may name."""
