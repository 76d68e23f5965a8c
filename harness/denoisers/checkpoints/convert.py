"""Checkpoints of other programs into denoisers, and into checkpoints of ours.

The network is built without storage first, so that a file whose weights are not its own is refused, with the first
tensor that differs, before any weight is read; then one tensor after the other is read, checked and written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.checkpoints.build import compare, empty
from harness.denoisers.checkpoints.formats import read_foreign
from harness.denoisers.checkpoints.formats.base import Found, blaming, plain
from harness.denoisers.checkpoints.safetensors_file import metadata_of
from harness.denoisers.checkpoints.tensors import Row, row, write_tensors
from harness.denoisers.preconditioning import Preconditioned

MAX_TOTAL = 8
"""Weights may be this many times as large as the file: float16 doubles, tied weights count twice."""


class Imported(NamedTuple):
    """What was written, and its SHA-256."""

    path: Path
    sha256: str
    found: Found


def load_foreign(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    options: Mapping[str, Any] | None = None,
) -> Preconditioned:
    """A denoiser from a checkpoint of another program, in eval mode and without gradients.

    Args:
        path: a file, or a folder of diffusers.
        device: where the weights go.
        dtype: of the arithmetic and of D, float32 or float64.
        options: what the file does not say; see `read_foreign`.

    Raises:
        InputError: not a checkpoint known here, or its weights are not those of the network that it describes.
    """
    with blaming(path):
        found = read_foreign(path, options)
        net, rows = _prepared(found, path)
        weights = {name: torch.from_numpy(entry.read().copy()) for name, entry in rows.items()}
        net.load_state_dict(weights, assign=True)
        _take_range(net, found, path)
    return net.to(device, dtype).eval().requires_grad_(False)


def import_file(path: Path, output: Path, options: Mapping[str, Any] | None = None) -> Imported:
    """Write a checkpoint of another program as one of ours, whole or not at all.

    Args:
        path: a file, or a folder of diffusers.
        output: ends in .safetensors.
        options: what the file does not say; see `read_foreign`.

    Raises:
        InputError: as `load_foreign`, or a place that cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: a checkpoint's name ends in .safetensors; give another --output")
    try:
        return write_import(path, output, options)
    except OSError as error:
        raise InputError(f"{output}: cannot write there ({error.strerror}); give another --output") from None


def write_import(path: Path, output: Path, options: Mapping[str, Any] | None = None) -> Imported:
    """As `import_file`, for whoever chooses the place.

    Raises:
        InputError: the file is not a checkpoint known here.
        OSError: the place cannot be written.
    """
    with blaming(path):
        found = read_foreign(path, options)
        net, rows = _prepared(found, path)
        _take_range(net, found, path, {name: entry for name, entry in rows.items() if name == "u"})
        origin = {
            "source": path.name,
            "format": found.format,
            **({"source_sha256": sha256_of(path)} if path.is_file() else {}),
            "facts": plain(found.facts),
            "assumed": plain(found.assumed),
            "options": plain(dict(options or {})),
        }
        digest = write_tensors(output, rows, metadata_of(net, origin))
    return Imported(output, digest, found)


def _prepared(found: Found, path: Path) -> tuple[Preconditioned, dict[str, Row]]:
    """The network without storage, and its weights as they will be read: float32, checked."""
    if found.not_yet:
        raise InputError(f"{path}: {found.format}: {found.not_yet}; `harness inspect` shows what the file says")
    net = empty(found.preconditioning, found.arguments, str(path))
    expected = net.state_dict()
    filters = {name: tensor for name, tensor in expected.items() if name.endswith("resample_filter")}
    missing = {name: tensor for name, tensor in filters.items() if name not in found.tensors}  # fixed, not learned
    compare({**found.tensors, **missing}, expected, str(path))
    total = 4 * sum(tensor.numel for tensor in found.tensors.values())
    size = path.stat().st_size if found.size is None else found.size
    if total > MAX_TOTAL * size:
        raise InputError(f"{path}: weights of {total:,} bytes in a file of {size:,}; refused")
    rows = {name: _checked(name, tensor.shape, tensor.read, path) for name, tensor in found.tensors.items()}
    return net, {**rows, **{name: row(tensor) for name, tensor in missing.items()}}


def _checked(name: str, shape: tuple[int, ...], read: Any, path: Path) -> Row:
    def checked() -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = read().astype(np.float32, copy=False)
        if not np.isfinite(numbers).all():
            raise InputError(f"{path}: tensor '{name}' holds a value that is not finite; the file is damaged")
        return numbers

    return Row("F32", shape, checked)


def _take_range(net: Preconditioned, found: Found, where: Path, table: Mapping[str, Row] | None = None) -> None:
    """The noise range that the file states, or that of the levels that it carries."""
    for entry in (table or {}).values():
        levels = entry.read()  # u_M = 0 is the last
        if len(levels) > 1:
            net.sigma_min, net.sigma_max = float(levels[-2]), float(levels[0])
    if found.sigma_min is not None and found.sigma_max is not None:
        net.sigma_min, net.sigma_max = found.sigma_min, found.sigma_max
    if not 0 <= net.sigma_min < net.sigma_max:
        raise InputError(f"{where}: noise levels from {net.sigma_min} to {net.sigma_max} are no range; damaged")
