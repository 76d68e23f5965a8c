"""Writes snapshots in the layout of EDM's own, from our networks: the same opcodes and globals, other source text.

The original's module is stood in for while pickling, since a pickle names its globals by where they can be imported.
"""

import pickle
import sys
import types
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.denoisers.preconditioning import Preconditioned

SOURCE = "raise SystemExit('the source text of a snapshot was executed')\n" * 20
CLASSES = {"IDDPMPrecond": "iDDPMPrecond"}
TABLES = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")


class Persistent:
    """A persistent object: reduces to a call of the original's function with the dict that it writes."""

    def __init__(self, class_name: str, state: Mapping[str, Any], version: int = 6) -> None:
        self.meta = {
            "type": "class",
            "version": version,
            "module_src": SOURCE,
            "class_name": class_name,
            "state": dict(state),
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def original_modules():
    """The modules whose names a snapshot has, with functions that do nothing."""
    outer, inner = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("a snapshot was unpickled for real")

    _reconstruct_persistent_obj.__module__ = inner.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    inner._reconstruct_persistent_obj = _reconstruct_persistent_obj
    outer.persistence = inner
    before = {name: sys.modules.get(name) for name in (outer.__name__, inner.__name__)}
    sys.modules |= {outer.__name__: outer, inner.__name__: inner}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def persistent(module: nn.Module, init_kwargs: Mapping[str, Any] | None = None, version: int = 6) -> Any:
    """A module of ours as the persistent object that the original would have written."""
    parts = {name: persistent(part, version=version) for name, part in module._modules.items() if part is not None}
    if isinstance(module, nn.ModuleDict):
        container = nn.ModuleDict()
        container.__dict__["_modules"] = parts
        return container
    buffers = {name: value for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set}
    state = {
        "training": False,
        "_parameters": dict(module._parameters),
        "_buffers": buffers,
        "_non_persistent_buffers_set": set(),
        **{name: {} for name in TABLES},
        "_is_full_backward_hook": None,
        "_modules": parts,
        "skip_scale": np.float64(0.5) ** 0.5,
    }
    if init_kwargs is not None:
        state |= {"_init_args": (), "_init_kwargs": dict(init_kwargs)}
        state |= {"sigma_min": module.sigma_min, "sigma_max": module.sigma_max}
    name = type(module).__name__
    return Persistent(CLASSES.get(name, name), state, version)


def write_snapshot(path: Path, net: Preconditioned, protocol: int = 4, version: int = 6, **extra: Any) -> Path:
    """Write a snapshot of a network, with what surrounds it."""
    net = net.eval().requires_grad_(False)
    with original_modules():
        root = {
            "ema": persistent(net, net.config, version),
            "loss_fn": Persistent("EDMLoss", {"P_mean": -1.2, "_init_kwargs": {"P_mean": -1.2}}),
            "augment_pipe": None,
            "dataset_kwargs": {"path": "datasets/toy.zip", "use_labels": False},
            **extra,
        }
        with path.open("wb") as file:
            pickle.dump(root, file, protocol=protocol)
    return path


def small(**changes: Any) -> Preconditioned:
    """A small EDM network with weights from a fixed seed."""
    from harness.denoisers.preconditioning import EDMPrecond

    torch.manual_seed(0)
    arguments = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4], **changes}
    return EDMPrecond(8, 1, 3, model_type="SongUNet", **arguments).eval()
