"""Denoisers as files: weights in safetensors, and in its header what rebuilds the network; see `header`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from harness.core.errors import InputError
from harness.denoisers.checkpoints.build import compare, empty, from_json, to_json
from harness.denoisers.checkpoints.tensors import write_tensors
from harness.denoisers.preconditioning import Preconditioned
from harness.hub.header import FORMAT, VERSION, CheckpointConfig, Kind, read_header


def save(path: Path | str, denoiser: Preconditioned, provenance: Mapping[str, Any]) -> None:
    """Write a denoiser to `path`, whole or not at all; equal contents give equal bytes.

    Args:
        path: ends in .safetensors; its folder is made.
        denoiser: of any device and dtype; its weights are stored as float32.
        provenance: how the weights came about, JSON-ready; a `recipe_fingerprint` in it is also written on its own.
    """
    weights = {name: value.float() for name, value in denoiser.state_dict().items()}
    write_tensors(Path(path), weights, metadata_of(denoiser, provenance))


def metadata_of(denoiser: Preconditioned, provenance: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a checkpoint's header; see `header`.

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
    net = empty(config.preconditioning, from_json(config.arguments), str(path))
    if (net.shape, net.label_dim) != (config.shape, config.label_dim):
        raise InputError(f"{path}: the header contradicts itself about shape or classes; the file is damaged")
    compare(header.tensors, net.state_dict(), str(path))
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
