"""The eleven golden networks: built from their sidecar, with their golden weights."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from harness.denoisers.preconditioning import PRECONDITIONINGS, EDMPrecond, Preconditioned

FOLDER = Path(__file__).parent.parent / "golden" / "networks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


ARGUMENTS = {"expression": EDMPrecond.formulas._asdict()}
"""What a kind of preconditioning has to be given beside the size of its network."""


def sidecar(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / f"{name}.io.npz", allow_pickle=False) as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def build(name: str) -> Preconditioned:
    """Golden network NAME in eval mode with its golden weights."""
    meta = sidecar(name)
    kind = meta["precond"].removesuffix("Precond").lower()
    net = PRECONDITIONINGS[kind](**meta["init_kwargs"]).eval().requires_grad_(False)
    weights = _by_rule(meta) if meta["weights"] == "rule" else load_file(FOLDER / meta["weights"])
    weights = {key: value.float() for key, value in weights.items()}
    if kind == "iddpm":
        weights["u"] = arrays(name)["u"]
    constructed = {key: value for key, value in net.state_dict().items() if key not in weights}
    assert set(constructed) <= set(meta["buffer_names"])
    net.load_state_dict({**constructed, **weights}, strict=True)
    return net


def _by_rule(meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weight rule of tests/golden/README.md."""
    draw = np.random.RandomState(meta["fill_seed"])
    weights = {}
    for name in sorted(meta["parameter_names"]):
        shape = meta["state_dict"][name]
        shape = shape["shape"] if isinstance(shape, dict) else shape
        std = 0.15 if len(shape) == 1 else np.clip(1 / np.sqrt(np.prod(shape[1:])), 0.05, 0.2)
        value = draw.standard_normal(shape) * std
        if name.endswith(".weight") and any(part in name for part in (".norm", "out_norm", "aux_norm")):
            value = value + 1
        weights[name] = torch.from_numpy(value.astype(np.float16))
    return weights


def digest(net: Preconditioned) -> str:
    """SHA-256 over the parameters, float32 little endian, in sorted name order."""
    total = hashlib.sha256()
    for _, value in sorted(net.named_parameters()):
        total.update(value.detach().numpy().astype("<f4").tobytes())
    return total.hexdigest()


def answers(net: Preconditioned, io: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a network says to the golden questions, by the name of the golden answer, where there is one."""
    x, sigma, labels, augment = (io.get(key) for key in ("x", "sigma", "class_labels", "augment_labels"))
    wide = None if labels is None else labels.double()
    with torch.no_grad():
        ours = {
            "D": net(x, sigma, labels, augment),
            "D_no_augment": net(x, sigma, labels),
            "D_no_labels": net(x, sigma),
            "D_scalar_sigma": net(x, sigma[1], labels),
            "D_float64_inputs": net(x.double(), sigma[1].double(), wide),
        }
    return {field: value for field, value in ours.items() if field in io}
