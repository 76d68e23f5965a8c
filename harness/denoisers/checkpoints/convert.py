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
from harness.denoisers.checkpoints.build import build_on_meta, compare_shapes
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.checkpoints.formats.base import ReadCheckpoint, errors_are_the_files, plain
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.checkpoints.safetensors_file import as_lazy, metadata_of, write_tensors
from harness.denoisers.preconditioning import Preconditioned

MAX_GROWTH = 8
"""Weights may be this many times as large as the file: float16 doubles, tied weights count twice."""


class Imported(NamedTuple):
    """A checkpoint that was written, its SHA-256, and the one that it was read from."""

    path: Path
    sha256: str
    source: ReadCheckpoint


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
        options: what the file does not say; see `read_checkpoint`.

    Raises:
        InputError: not a checkpoint known here, or its weights are not those of the network that it describes.
    """
    with errors_are_the_files(path):
        source = read_checkpoint(path, options)
        net, tensors = _build(source, path)
        weights = {name: torch.from_numpy(tensor.read().copy()) for name, tensor in tensors.items()}
        net.load_state_dict(weights, assign=True)
        _take_range(net, source, tensors, path)
    return net.to(device, dtype).eval().requires_grad_(False)


def import_file(path: Path, output: Path, options: Mapping[str, Any] | None = None) -> Imported:
    """Write a checkpoint of another program as one of ours, whole or not at all.

    Args:
        path: a file, or a folder of diffusers.
        output: ends in .safetensors.
        options: what the file does not say; see `read_checkpoint`.

    Raises:
        InputError: as `load_foreign`, or a place that cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: a checkpoint's name ends in .safetensors; give another --output")
    try:
        return write_import(path, output, options)
    except OSError as error:
        raise InputError(f"{output}: cannot write there ({error.strerror}); give another --output") from None


def write_import(
    path: Path, output: Path, options: Mapping[str, Any] | None = None, kind: str | None = None
) -> Imported:
    """As `import_file`, for a caller that chooses the place.

    Args:
        path, output, options: as for `import_file`.
        kind: the format that the checkpoint must have; None means any.

    Raises:
        InputError: the file is not a checkpoint known here.
        OSError: the place cannot be written.
    """
    with errors_are_the_files(path):
        source = read_checkpoint(path, options, kind)
        net, tensors = _build(source, path)
        _take_range(net, source, tensors, path)
        if output.resolve() == path.resolve():
            raise InputError(f"{output}: is the file to import; give another --output")
        origin = {
            "source": path.name,
            "format": source.format,
            **({"source_sha256": sha256_of(path)} if path.is_file() else {}),
            "facts": plain(source.facts),
            "assumed": plain(source.assumed),
            "options": plain(dict(options or {})),
        }
        digest = write_tensors(output, tensors, metadata_of(net, origin))
    return Imported(output, digest, source)


class Skeleton(NamedTuple):
    """A network on the meta device that fits a checkpoint, and the buffers that the file leaves out."""

    net: Preconditioned
    missing: dict[str, torch.Tensor]


def skeleton(source: ReadCheckpoint, where: str) -> Skeleton:
    """The network that a checkpoint describes, without storage, after comparing the checkpoint's tensors with it.

    Raises:
        InputError: a network that cannot be built, or that the tensors do not fit.
    """
    if source.not_yet:
        raise InputError(f"{where}: {source.format}: {source.not_yet}; `harness inspect` shows what the file says")
    net = build_on_meta(source.preconditioning, source.arguments, where)
    ours = net.state_dict()
    # resampling filters are fixed, not learned, and some programs do not store them
    filters = {name: tensor for name, tensor in ours.items() if name.endswith("resample_filter")}
    missing = {name: tensor for name, tensor in filters.items() if name not in source.tensors}
    compare_shapes({**source.tensors, **missing}, ours, where)
    return Skeleton(net, missing)


def _build(source: ReadCheckpoint, path: Path) -> tuple[Preconditioned, dict[str, LazyTensor]]:
    """The network without storage, and its weights as they will be read: float32, checked."""
    net, missing = skeleton(source, str(path))
    total = 4 * sum(tensor.numel for tensor in source.tensors.values())
    size = path.stat().st_size if source.size is None else source.size
    if total > MAX_GROWTH * size:
        raise InputError(f"{path}: weights of {total:,} bytes in a file of {size:,}; refused")
    tensors = {name: _finite(name, tensor, path) for name, tensor in source.tensors.items()}
    return net, {**tensors, **{name: as_lazy(tensor) for name, tensor in missing.items()}}


def _take_range(net: Preconditioned, source: ReadCheckpoint, tensors: Mapping[str, LazyTensor], path: Path) -> None:
    """Set the noise range: what the file states, else that of the levels `u` that it carries (iDDPM)."""
    if source.sigma_min is not None and source.sigma_max is not None:
        net.sigma_min, net.sigma_max = source.sigma_min, source.sigma_max
    elif "u" in tensors and len(levels := tensors["u"].read()) > 1:  # the last, u_M, is 0
        net.sigma_min, net.sigma_max = float(levels[-2]), float(levels[0])
    if not 0 <= net.sigma_min < net.sigma_max:
        raise InputError(f"{path}: noise levels from {net.sigma_min} to {net.sigma_max} are no range; damaged")


def _finite(name: str, tensor: LazyTensor, path: Path) -> LazyTensor:
    """The tensor as float32, refused when it is read if a value is not finite."""

    def read() -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = tensor.read().astype(np.float32, copy=False)
        if not np.isfinite(numbers).all():
            raise InputError(f"{path}: tensor '{name}' holds a value that is not finite; the file is damaged")
        return numbers

    return LazyTensor("F32", tensor.shape, read)
