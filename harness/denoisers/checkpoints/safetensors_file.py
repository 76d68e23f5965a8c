"""Denoisers as files: weights in safetensors, and in its header what rebuilds the network; see `header`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.denoisers.checkpoints.header import FORMAT, VERSION, Config, Header, Layout, read_header
from harness.denoisers.checkpoints.tensors import write_tensors
from harness.denoisers.preconditioning import PRECONDITIONINGS, Preconditioned
from harness.errors import InputError

LARGEST_ARGUMENT = 100_000
"""No count that a network is built from comes near it; bounds what a header can ask for before shapes are compared."""


def save(path: Path | str, denoiser: Preconditioned, provenance: Mapping[str, Any]) -> None:
    """Write a denoiser to `path`, whole or not at all; equal contents give equal bytes.

    Args:
        path: ends in .safetensors; its folder is made.
        denoiser: of any device and dtype; its weights are stored as float32.
        provenance: how the weights came about, JSON-ready; a `recipe_fingerprint` in it is also written on its own.
    """
    path = Path(path)
    weights = {name: value.float() for name, value in denoiser.state_dict().items()}
    config = Config(
        preconditioning=denoiser.kind,
        arguments={name: _to_json(value) for name, value in denoiser.config.items()},
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
    write_tensors(path, weights, metadata)


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
    net = _empty(header, path)
    _compare(header.tensors, net.state_dict(), path)
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


def _empty(header: Header, path: Path) -> Preconditioned:
    """The network without storage for its weights."""
    config = header.config
    arguments = {name: _from_json(value) for name, value in config.arguments.items()}
    blocks, levels = arguments.get("num_blocks", 0), arguments.get("channel_mult", ())
    try:
        if not all(_modest(value) for value in arguments.values()) or blocks * len(levels) > len(header.tensors):
            raise ValueError("an argument is far too large for the tensors in the file")
        with torch.device("meta"):
            net = PRECONDITIONINGS[config.preconditioning](**arguments)
    except (TypeError, ValueError, ZeroDivisionError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path}: cannot build the network that the header describes: {error}") from None
    if (net.shape, net.label_dim) != (config.shape, config.label_dim):
        raise InputError(f"{path}: the header contradicts itself about shape or classes; the file is damaged")
    return net


def _compare(found: dict[str, Layout], expected: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a file whose tensors are not exactly the network's, naming the first that differs."""
    for name in sorted(found.keys() | expected.keys()):
        ours = list(expected[name].shape) if name in expected else "no such tensor"
        theirs = list(found[name].shape) if name in found else "no such tensor"
        if ours != theirs:
            raise InputError(
                f"{path}: tensor '{name}': the network has {ours}, the file has {theirs}; "
                "its header and its tensors are not of the same network"
            )


def _modest(value: Any) -> bool:
    """Whether a constructor's argument is of an expected type and size."""
    if isinstance(value, list):
        return len(value) <= 64 and all(isinstance(item, int | float) and _modest(item) for item in value)
    if isinstance(value, int):
        return 0 <= value <= LARGEST_ARGUMENT
    return isinstance(value, str | float)


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return list(value) if isinstance(value, tuple) else value


def _from_json(value: Any) -> Any:
    return math.inf if value == "inf" else value
