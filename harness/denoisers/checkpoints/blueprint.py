"""From arguments to a network without storage, and whether a file's tensors are its own."""

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.denoisers.betas import MAX_STEPS
from harness.denoisers.preconditioning import PRECONDITIONINGS, Preconditioned
from harness.errors import InputError

LARGEST_ARGUMENT = 100_000
"""No count that a network is built from comes near it; bounds what a file can ask for before shapes are compared."""

LONGEST_LIST = 64
LONGEST_TEXT = 100
MANY = ("trained_betas",)
"""Arguments that are lists of many numbers, one a step of a schedule."""


class Shaped(Protocol):
    """Anything with a shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def empty(kind: str, arguments: Mapping[str, Any], count: int, where: str) -> Preconditioned:
    """The network that the arguments describe, on the meta device: its weights have shapes and take no memory.

    Args:
        kind: of the preconditioning.
        arguments: its constructor's.
        count: tensors in the file; a network that would have far more is not begun.
        where: what to call the file in errors.

    Raises:
        InputError: arguments that cannot be.
    """
    levels = [arguments.get("channel_mult", ()), (arguments.get("config") or {}).get("block_out_channels", ())]
    blocks = [arguments.get("num_blocks", 0), (arguments.get("config") or {}).get("layers_per_block", 0)]
    try:
        if not all(_modest(value, name) for name, value in arguments.items()):
            raise ValueError("an argument is far too large, or of a type that no network takes")
        if any(number * len(rows) > count for number, rows in zip(blocks, levels, strict=True)):
            raise ValueError("an argument is far too large for the tensors in the file")
        with torch.device("meta"):
            return PRECONDITIONINGS[kind](**arguments)
    except InputError:
        raise
    except Exception as error:  # whatever constructors, also those of other libraries, make of arguments from a file
        raise InputError(f"{where}: cannot build the network that the file describes: {str(error)[:1000]}") from None


def compare(found: Mapping[str, Shaped], expected: Mapping[str, Tensor], where: str) -> None:
    """Refuse a file whose tensors are not exactly the network's, naming the first that differs.

    Raises:
        InputError: with the tensor's name and both shapes.
    """
    for name in sorted(found.keys() | expected.keys()):
        ours = list(expected[name].shape) if name in expected else "no such tensor"
        theirs = list(found[name].shape) if name in found else "no such tensor"
        if ours != theirs:
            raise InputError(
                f"{where}: tensor '{name[:200]}': the network has {ours}, the file has {theirs}; "
                "its description and its tensors are not of the same network"
            )


def _modest(value: Any, name: str = "") -> bool:
    """Whether a constructor's argument is of an expected type and size; `config` may be a table of others."""
    if isinstance(value, dict):
        return name == "config" and len(value) <= LONGEST_TEXT and all(_modest(item) for item in value.values())
    if isinstance(value, list | tuple):
        longest = MAX_STEPS if name in MANY else LONGEST_LIST
        return len(value) <= longest and all(_single(item) and item != math.inf for item in value)
    return _single(value)


def _single(value: Any) -> bool:
    if isinstance(value, int):
        return 0 <= value <= LARGEST_ARGUMENT
    if isinstance(value, float):
        return math.isfinite(value) or value == math.inf
    return value is None or (isinstance(value, str) and len(value) <= LONGEST_TEXT)


def to_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them: infinity as a word, tuples as lists."""
    return {name: "inf" if value == math.inf else json.loads(json.dumps(value)) for name, value in arguments.items()}


def from_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `to_json`."""
    return {name: math.inf if value == "inf" else value for name, value in arguments.items()}
