"""Tensors to a safetensors file: whole or not at all, equal contents give equal bytes, one tensor at a time."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from harness.core.files import writing
from harness.denoisers.checkpoints.pickles.stored import ITEM_SIZES, NUMPY_TYPES

WORDS = {np.dtype(code): word for word, code in NUMPY_TYPES.items() if word != "BF16"}


class Row(NamedTuple):
    """A tensor to be written: its layout, and how to get its numbers when their turn comes."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def row(tensor: Tensor) -> Row:
    """A tensor of torch."""
    array = tensor.detach().cpu().contiguous().numpy()
    return Row(WORDS[array.dtype], array.shape, lambda: array)


def write_tensors(path: Path, tensors: Mapping[str, Tensor | Row], metadata: Mapping[str, str]) -> str:
    """Write tensors and texts; returns the file's SHA-256.

    Raises:
        ValueError: a row whose numbers have another type or shape than it says.
        OSError: the place cannot be written, or the disk is full; nothing is left behind then.
    """
    rows = {name: tensor if isinstance(tensor, Row) else row(tensor) for name, tensor in tensors.items()}
    order = sorted(
        rows, key=lambda name: (-ITEM_SIZES[rows[name].dtype], rows[name].dtype, name)
    )  # so that all are aligned
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in order:
        length = math.prod(rows[name].shape) * ITEM_SIZES[rows[name].dtype]
        header[name] = {"dtype": rows[name].dtype, "shape": list(rows[name].shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    digest = hashlib.sha256()
    with writing(path) as file:
        for part in (len(text).to_bytes(8, "little"), text):
            digest.update(part)
            file.write(part)
        for name in order:
            numbers = np.asarray(rows[name].read(), order="C")
            if WORDS.get(numbers.dtype) != rows[name].dtype or numbers.shape != rows[name].shape:
                raise ValueError(f"tensor '{name}' is not what its layout says")
            raw = numbers.reshape(-1).view(np.uint8).data
            digest.update(raw)
            file.write(raw)
    return digest.hexdigest()
