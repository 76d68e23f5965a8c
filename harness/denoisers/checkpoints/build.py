"""From a file's arguments to a network on torch's meta device, whose tensors have shapes and take no memory.

A file's claims are bounded before anything is built, and its tensors are compared with the network's before any is
read.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from harness.core.betas import MAX_STEPS
from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.preconditioning import PRECONDITIONINGS, Preconditioned
from harness.denoisers.preconditioning.base import Formulas
from harness.hub.header import Layout

LARGEST_ARGUMENT = 100_000
"""No count that a network is built from comes near it; bounds what a file can ask for before shapes are compared."""

LARGEST = {"num_blocks": 32, "layers_per_block": 32}
"""Smaller bounds on what the number of a network's parts is multiplied by."""

LONGEST_LIST = 16
LONGEST_TEXT = 100
LONG_LISTS = ("trained_betas",)
"""Arguments that are lists of many numbers, one a step of a schedule."""

COUNTS = ("img_resolution", "img_channels", "label_dim", "num_blocks", "model_channels", "num_steps")
"""Arguments that are counts and nothing else."""

WORDS = ("model_type", "embedding_type", "encoder_type", "decoder_type", "beta_schedule", "null_class")
"""Arguments that are or may be words; a table for another library, `config`, has words of its own."""


HasShape: TypeAlias = Tensor | LazyTensor | Layout


def build_on_meta(kind: str, arguments: Mapping[str, Any], where: str) -> Preconditioned:
    """The network that the arguments describe, on the meta device.

    Args:
        kind: of the preconditioning.
        arguments: its constructor's.
        where: what to call the file in errors.

    Raises:
        InputError: arguments that cannot be.
    """
    try:
        for name, value in arguments.items():
            _check(str(name), value)
        with torch.device("meta"):
            return PRECONDITIONINGS[kind](**arguments)
    except InputError:
        raise
    except Exception as error:  # whatever constructors, also those of other libraries, make of arguments from a file
        raise InputError(f"{where}: cannot build the network that the file describes: {str(error)[:1000]}") from None


def compare_shapes(theirs: Mapping[str, HasShape], ours: Mapping[str, Tensor], where: str) -> None:
    """Refuse a file whose tensors are not exactly the network's, naming the first that differs.

    Args:
        theirs: the file's tensors by name.
        ours: the network's.
        where: what to call the file in errors.

    Raises:
        InputError: with the tensor's name and both shapes.
    """
    for name in sorted(theirs.keys() | ours.keys()):
        expected = list(ours[name].shape) if name in ours else "no such tensor"
        shape = list(theirs[name].shape) if name in theirs else "no such tensor"
        if expected != shape:
            raise InputError(
                f"{where}: tensor '{name[:200]}': the network has {expected}, the file has {shape}; "
                "its description and its tensors are not of the same network"
            )


def _check(name: str, value: Any) -> None:
    """Refuse an argument that no network of any checkpoint has.

    Raises:
        ValueError: of an unexpected type, or far too large.
    """
    if name == "config":
        if not isinstance(value, dict) or len(value) > LONGEST_TEXT:
            raise ValueError("the table of arguments is none")
        for key, inner in value.items():
            _check(f"config.{key}", inner)
        return
    if name in Formulas._fields and isinstance(value, str):
        return  # a formula of `ExpressionPrecond`, which bounds it and says what is wrong with it
    longest = MAX_STEPS if name in LONG_LISTS else LONGEST_LIST
    items = value if isinstance(value, list | tuple) else [value]
    most = LARGEST.get(name.removeprefix("config."), LARGEST_ARGUMENT)
    words = name in WORDS or name.startswith("config.")
    if len(items) > longest or not all(_single(item, most, words) for item in items):
        raise ValueError(f"argument {name[:100]} is far too large, or of a type that no network takes")
    if items is value and any(item == math.inf for item in items):
        raise ValueError(f"argument {name[:100]} has an infinite number in its list")
    if name in COUNTS and type(value) is not int:
        raise ValueError(f"argument {name} is a count, and this is a {type(value).__name__}")


def _single(value: Any, most: int, words: bool) -> bool:
    if isinstance(value, int):
        return 0 <= value <= most
    if isinstance(value, float):
        return math.isfinite(value) or value == math.inf
    return value is None or (words and isinstance(value, str) and len(value) <= LONGEST_TEXT)


def to_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON has them: infinity as a word, tuples as lists."""
    return {name: "inf" if value == math.inf else json.loads(json.dumps(value)) for name, value in arguments.items()}


def from_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `to_json`."""
    return {name: math.inf if value == "inf" else value for name, value in arguments.items()}
