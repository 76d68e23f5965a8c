"""Conditions: what a denoiser is given beside x and sigma where that is no class, such as a prompt or its embedding.

They come as a file, one condition after the other, and seed i takes number i modulo their count, so that every sampler
is asked for the same pictures.

    prompts.jsonl       {"prompt": "a red barn"} or "a red barn" on a line; the network gets a list of texts
    prompts.txt         a text on a line
    conditions.npy      [M, ...]; the network gets a tensor [B, ...]
    conditions.npz      one array: the same; several, of one length: a dict of tensors by their names

Lines end at a line feed, or at a carriage return with one; other separators of lines are part of a text. A user's own
network gets fractions in its own dtype, and whole numbers as the file has them. A file is known by its SHA-256.
"""

import json
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from harness.core.embedded import sha256_of
from harness.core.errors import InputError

Condition: TypeAlias = Tensor | dict[str, Tensor] | list[str]
"""The conditions of a batch, a row a sample: one-hot labels, other tensors, or texts."""

TEXTS, ARRAYS = (".jsonl", ".txt"), (".npz", ".npy")

WORD = "conditions"


class Conditions:
    """Conditions by seed.

    Args:
        rows: texts, or arrays of one length by name; a single array has the name "".
        sha256: of the file.
    """

    def __init__(self, rows: Sequence[str] | dict[str, np.ndarray], sha256: str) -> None:
        self.rows, self.sha256 = rows, sha256

    def __len__(self) -> int:
        return len(next(iter(self.rows.values()))) if isinstance(self.rows, dict) else len(self.rows)

    def __repr__(self) -> str:
        return policy_of(self.sha256)

    def of(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> Condition:
        """The conditions of seeds: texts, a tensor [N, ...], or tensors by name."""
        chosen = [seed % len(self) for seed in seeds]
        if not isinstance(self.rows, dict):
            return [self.rows[row] for row in chosen]
        parts = {name: torch.from_numpy(rows[chosen]).to(device) for name, rows in self.rows.items()}
        return parts[""] if set(parts) == {""} else parts


def policy_of(sha256: str) -> str:
    """A file of conditions as a label policy, by which results are told apart."""
    return f"{WORD} {sha256}"


def read_conditions(path: str | Path) -> Conditions:
    """Read a file of conditions.

    Raises:
        InputError: it cannot be read, is of another kind, holds none, or arrays of different lengths; with the line.
    """
    path = Path(path).expanduser()
    return _read(path, sha256_of(path))


@lru_cache(maxsize=4)
def _read(path: Path, sha256: str) -> Conditions:
    if path.suffix not in (*TEXTS, *ARRAYS):
        raise InputError(f"{path}: conditions are {', '.join((*TEXTS, *ARRAYS))}; we got '{path.suffix}'")
    read = Conditions(_texts(path) if path.suffix in TEXTS else _arrays(path), sha256)
    if not len(read):
        raise InputError(f"{path}: no conditions; it needs at least one")
    return read


def _texts(path: Path) -> list[str]:
    try:
        # str.splitlines would also split at characters that JSON and prompts may hold, such as U+2028
        lines = [line.removesuffix("\r") for line in path.read_bytes().decode().split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None
    if path.suffix == ".txt":
        return [line for line in lines if line.strip()]
    return [_text(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _text(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error.msg}") from None
    text = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise InputError(f'{where}: a line is a text or {{"prompt": text}}; we got {line.strip()[:60]}')
    return text


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        named = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot read the arrays ({error}); Python objects in them are not read") from None
    for name, rows in named.items():
        if rows.ndim < 1 or rows.dtype.kind not in "fiub":
            raise InputError(f"{path}: '{name}' is no array of numbers with a row a condition")
        if rows.dtype.itemsize > 8:  # torch has none
            raise InputError(f"{path}: '{name}' is of {rows.dtype}; numbers have at most 64 bits, such as float32")
    named = {name: rows.astype(rows.dtype.newbyteorder("=")) for name, rows in named.items()}
    lengths = {name: len(rows) for name, rows in named.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"{path}: arrays of one length are needed, a row a condition; we got {told}")
    return {"": next(iter(named.values()))} if len(named) == 1 else named


def take(condition: Any, rows: slice | Sequence[int]) -> Any:
    """Rows of a batch's conditions; None stays None."""
    if condition is None:
        return None
    if isinstance(condition, dict):
        return {name: take(part, rows) for name, part in condition.items()}
    if isinstance(condition, list):
        return condition[rows] if isinstance(rows, slice) else [condition[row] for row in rows]
    return condition[rows] if isinstance(rows, slice) else condition[list(rows)]


def join(parts: Sequence[Any]) -> Any:
    """The rows of several batches' conditions, all of one kind, as one batch; None for those that have none."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {name: join([part[name] for part in parts]) for name in first}
    if isinstance(first, list):
        return [row for part in parts for row in part]
    return torch.cat(list(parts))


def pad(rows: Any, size: int) -> Any:
    """Rows of a batch, a tensor or conditions, with the last one repeated until there are `size`; None stays None."""
    if isinstance(rows, dict):
        return {name: pad(part, size) for name, part in rows.items()}
    if rows is None or len(rows) == size:
        return rows
    if isinstance(rows, list):
        return rows + rows[-1:] * (size - len(rows))
    return torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])
