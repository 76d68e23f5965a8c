"""The header of a checkpoint: everything about a denoiser except its weights, read and checked without torch.

A safetensors file is an 8-byte little-endian length, a JSON header of that length and the tensors' bytes. The header
maps tensor names to dtype, shape and offsets, and `__metadata__` to texts. Our files have

    format       harness-denoiser
    version      1
    config       JSON of `CheckpointConfig`: the preconditioning and its arguments
    provenance   JSON: how the weights were made

Every number in a header is checked against the size of the file before it is used.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from harness.core.config import Config, Real, Shape
from harness.core.errors import InputError
from harness.core.yaml import explain

NUMPY_TYPES: dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # NumPy has no bfloat16; readers widen it
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""NumPy's codes of the dtypes of safetensors."""

ITEM_SIZES = {word: np.dtype(code).itemsize for word, code in NUMPY_TYPES.items()}
"""Bytes per number of each dtype."""

FORMAT = "harness-denoiser"
VERSION = "1"
MAX_HEADER = 10_000_000  # bytes; ten thousand tensors take one million
MAX_NUMBERS = 2_000_000_000
MAX_SIDES = 16
MAX_PLACE = 1 << 44


Kind = Literal["vp", "sub-vp", "ve", "ve-discrete", "iddpm", "edm", "ddpm", "ddpm-v", "ddpm-x0", "flow", "expression"]
"""Kinds of preconditioning."""

CLASS_TABLES = ("OpenAIUNet", "DiffusersUNet")
"""Networks that look classes up in a table. A call without a class has a meaning only if `null_class` gives it one."""


class Layout(NamedTuple):
    """One tensor: its dtype as safetensors writes it (`F32`), its shape, and its offset in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    offset: int = 0

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Contents(NamedTuple):
    """The header of a safetensors file: texts by key, and tensors by name."""

    metadata: dict[str, str]
    tensors: dict[str, Layout]


class CheckpointConfig(Config):
    """What is needed to build a denoiser, and to plan with it.

    Args:
        preconditioning: kind of the preconditioning.
        arguments: arguments of its constructor, including those of the network.
        shape: [C, H, W] of the images.
        label_dim: number of classes; 0 means unconditional.
        sigma_min, sigma_max: noise range that it supports, in units of the images.
        parameters: number of trained parameters.
    """

    preconditioning: Kind
    arguments: dict[str, Any]
    shape: Shape
    label_dim: Annotated[int, Field(ge=0)]
    sigma_min: Annotated[Real, Field(ge=0)]
    sigma_max: Annotated[Real, Field(gt=0)]
    parameters: Annotated[int, Field(ge=1)]

    @property
    def null_class(self) -> int | None:
        """The class that stands for none; None if no class does."""
        return null_class(self.arguments)

    @property
    def needs_class(self) -> bool:
        """Whether a call without a class means nothing."""
        return needs_class(self.label_dim, self.arguments)


class Header(NamedTuple):
    """A denoiser's checkpoint without its weights."""

    config: CheckpointConfig
    provenance: dict[str, Any]
    tensors: dict[str, Layout]


NAME_NULL_CLASS = (
    "its network has a table of classes and no class is known to stand for none; import the checkpoint with --set "
    "null_class=K, the index of that class, or null_class=zeros if it was trained with the class left out"
)
"""What to say where a denoiser that needs a class is asked for images without one."""


def null_class(arguments: Mapping[str, Any]) -> int | None:
    """The class that stands for none in a network with these arguments; None if no class does."""
    given = arguments.get("null_class")
    return given if type(given) is int else None


def needs_class(label_dim: int, arguments: Mapping[str, Any]) -> bool:
    """Whether a network with these arguments knows images of a class alone."""
    seen_without = arguments.get("null_class") is not None or bool(arguments.get("label_dropout"))
    return label_dim > 0 and arguments.get("model_type") in CLASS_TABLES and not seen_without


def is_ours(path: Path) -> bool:
    """Whether a safetensors file is a denoiser's checkpoint of ours, by what its header says.

    Raises:
        InputError: missing, truncated or not a safetensors file.
    """
    return read_contents(path).metadata.get("format") == FORMAT


def read_header(path: Path) -> Header:
    """Read and check the header of a denoiser's checkpoint.

    Raises:
        InputError: missing, damaged or foreign file, or a header that contradicts itself.
    """
    contents = read_contents(path)
    metadata = contents.metadata
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: format is {metadata.get('format', 'not given')!r}, not '{FORMAT}'; "
            "use a checkpoint that `harness train` or `harness import` wrote, or try `harness import` on this one"
        )
    if metadata.get("version") != VERSION:
        raise InputError(
            f"{path}: version {metadata.get('version')!r} of the format is not known here, only '{VERSION}'; upgrade"
        )
    try:
        config = CheckpointConfig.model_validate_json(metadata.get("config", ""))
        provenance = json.loads(metadata.get("provenance", "{}"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: config: {where + ': ' if where else ''}{explain(first)}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: provenance is not JSON; the file is damaged") from None
    if not isinstance(provenance, dict) or config.sigma_min >= config.sigma_max:
        raise InputError(f"{path}: the header contradicts itself; the file is damaged")
    return Header(config, provenance, contents.tensors)


def read_contents(path: Path) -> Contents:
    """Read the header of any safetensors file and check it against the file's size.

    Raises:
        InputError: missing, truncated or not a safetensors file.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: not a file; check the path")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, MAX_HEADER):
                raise InputError(f"{path}: not a safetensors file, or truncated ({size:,} bytes)")
            raw = file.read(length)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    try:
        header = json.loads(raw.decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        layouts = {name: _layout(entry) for name, entry in header.items()}
        end = _end(header)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise InputError(f"{path}: not a safetensors file: its header is not as it should be") from None
    numbers = sum(layout.numel for layout in layouts.values())
    if numbers > MAX_NUMBERS:
        raise InputError(f"{path}: {numbers:,} numbers are more than the {MAX_NUMBERS:,} allowed in a checkpoint")
    if end != size - 8 - length:
        raise InputError(
            f"{path}: truncated or damaged: the header promises {end:,} bytes of tensors, the file has "
            f"{size - 8 - length:,}; copy or download it again"
        )
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InputError(f"{path}: not a safetensors file: __metadata__ must map texts to texts")
    return Contents(metadata, layouts)


def _end(header: dict[str, Any]) -> int:
    """Offset of the end of the last tensor. Raises ValueError if tensors overlap or leave a gap."""
    at = 0
    for start, end in sorted(entry["data_offsets"] for entry in header.values()):
        if start != at:
            raise ValueError("tensors overlap or leave a gap")
        at = end
    return at


def _layout(entry: Any) -> Layout:
    """The layout of one tensor. Raises ValueError unless dtype, shape and offsets agree."""
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    if len(shape) > MAX_SIDES or not all(type(n) is int and 0 <= n < MAX_PLACE for n in (*shape, start, end)):
        raise ValueError("sides and places are non-negative integers, and few")
    if end - start != math.prod(shape) * ITEM_SIZES[entry["dtype"]]:
        raise ValueError("the place does not fit the shape")
    return Layout(entry["dtype"], tuple(shape), start)
