"""Denoisers as files: weights in safetensors, and in its header what rebuilds the network; see `harness.hub.header`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from harness.core.errors import InputError
from harness.core.files import writing
from harness.denoisers.checkpoints.build import build_on_meta, compare_shapes, from_json, to_json
from harness.denoisers.checkpoints.pickles.stored import ITEM_SIZES, NUMPY_TYPES, LazyTensor
from harness.denoisers.preconditioning import Preconditioned
from harness.hub.header import FORMAT, VERSION, CheckpointConfig, Kind, read_header

DTYPE_NAMES = {np.dtype(code): name for name, code in NUMPY_TYPES.items() if name != "BF16"}


def as_lazy(tensor: Tensor) -> LazyTensor:
    """A tensor of torch as one that is read when it is written."""
    array = tensor.detach().cpu().contiguous().numpy()
    return LazyTensor(DTYPE_NAMES[array.dtype], array.shape, lambda: array)


def write_tensors(path: Path, tensors: Mapping[str, Tensor | LazyTensor], metadata: Mapping[str, str]) -> str:
    """Write tensors and texts, whole or not at all, one tensor at a time; equal contents give equal bytes.

    Args:
        path: of the file; its folder is made.
        tensors: by name; a lazy one is read when its turn comes.
        metadata: texts for the header.

    Returns:
        The file's SHA-256, in hex.

    Raises:
        ValueError: a lazy tensor whose numbers have another type or shape than it says.
        OSError: the place cannot be written, or the disk is full; nothing is left behind then.
    """
    lazy = {name: tensor if isinstance(tensor, LazyTensor) else as_lazy(tensor) for name, tensor in tensors.items()}
    # large types first, so that every tensor starts at a multiple of its type's size
    order = sorted(lazy, key=lambda name: (-ITEM_SIZES[lazy[name].dtype], lazy[name].dtype, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in order:
        length = lazy[name].numel * ITEM_SIZES[lazy[name].dtype]
        header[name] = {"dtype": lazy[name].dtype, "shape": list(lazy[name].shape), "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants tensors to start at a multiple of 8
    digest = hashlib.sha256()
    with writing(path) as file:
        for part in (len(text).to_bytes(8, "little"), text):
            digest.update(part)
            file.write(part)
        for name in order:
            numbers = np.asarray(lazy[name].read(), order="C")
            if DTYPE_NAMES.get(numbers.dtype) != lazy[name].dtype or numbers.shape != lazy[name].shape:
                raise ValueError(f"tensor '{name}' is not what its layout says")
            raw = numbers.reshape(-1).view(np.uint8).data
            digest.update(raw)
            file.write(raw)
    return digest.hexdigest()


def save(
    path: Path | str,
    denoiser: Preconditioned,
    provenance: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a denoiser to `path`, whole or not at all; equal contents give equal bytes.

    Args:
        path: ends in .safetensors; its folder is made.
        denoiser: of any device and dtype.
        provenance: how the weights came about, JSON-ready; a `recipe_fingerprint` in it is also written on its own.
        dtype: of the stored weights. Buffers, the noise levels among them, are stored as float32.
    """
    rounded = {name for name, _ in denoiser.named_parameters()}
    weights = {
        name: value.to(dtype if name in rounded else torch.float32) for name, value in denoiser.state_dict().items()
    }
    write_tensors(Path(path), weights, metadata_of(denoiser, provenance))


def metadata_of(denoiser: Preconditioned, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a checkpoint's header; see `harness.hub.header`.

    Raises:
        ValueError: something of the network that a header cannot hold.
    """
    config = CheckpointConfig(
        preconditioning=cast(Kind, denoiser.kind),
        arguments=to_json(denoiser.config),
        shape=denoiser.shape,
        label_dim=denoiser.label_dim,
        sigma_min=denoiser.sigma_min,
        sigma_max=denoiser.sigma_max,
        parameters=sum(parameter.numel() for parameter in denoiser.parameters()),
    )
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(config.model_dump(mode="json"), sort_keys=True, allow_nan=False),
        "provenance": json.dumps(dict(provenance), sort_keys=True, allow_nan=False),
    }
    if "recipe_fingerprint" in provenance:
        metadata["recipe_fingerprint"] = str(provenance["recipe_fingerprint"])
    return metadata


def without_weights(path: Path | str) -> Preconditioned:
    """A denoiser whose network has no numbers, so that it takes no memory; it can only be asked how it rounds levels.

    Raises:
        InputError: missing, truncated or foreign file, or a network that cannot be built.
    """
    path = Path(path)
    config = read_header(path).config
    net = build_on_meta(config.preconditioning, from_json(config.arguments), str(path))
    try:
        with safe_open(path, framework="pt") as file:
            for name, _ in net.named_buffers(recurse=False):  # the levels, if it has them as a tensor
                setattr(net, name, file.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot read the tensors ({error}); copy or download the file again") from None
    return net


def load(path: Path | str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Preconditioned:
    """Read a denoiser, in eval mode and without gradients; uses no random numbers.

    Args:
        path: a file that `save` wrote.
        device: where the weights go.
        dtype: of the arithmetic and of D, float32 or float64.

    Raises:
        InputError: missing, truncated or foreign file; a network that cannot be built, or that the tensors do not fit.
    """
    path = Path(path)
    header = read_header(path)
    config = header.config
    net = build_on_meta(config.preconditioning, from_json(config.arguments), str(path))
    if (net.shape, net.label_dim) != (config.shape, config.label_dim):
        raise InputError(f"{path}: the header contradicts itself about shape or classes; the file is damaged")
    compare_shapes(header.tensors, net.state_dict(), str(path))
    try:
        weights = {name: value.to(torch.float32) for name, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot read the tensors ({error}); copy or download the file again") from None
    for name, value in weights.items():
        if not value.isfinite().all():
            raise InputError(f"{path}: tensor '{name}' holds a value that is not finite; the training went wrong")
    net.load_state_dict(weights, assign=True)
    net.sigma_min, net.sigma_max = header.config.sigma_min, header.config.sigma_max
    return net.to(device, dtype).eval().requires_grad_(False)
