"""Checkpoints of other programs, built with their parameter names from the golden sidecars and the weight rule."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).parent.parent / "golden" / "families"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
SONG = [name for name in NAMES if name.startswith("v")]
OPENAI = [name for name in NAMES if not name.startswith("v")]


def sidecar(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def by_rule(shapes: dict[str, list[int]], seed: int, plus_one: list[str]) -> dict[str, torch.Tensor]:
    """The weight rule of tests/golden/families/README.md."""
    draw, found = np.random.RandomState(seed), {}
    for name in sorted(shapes):
        shape = shapes[name]
        std = 0.15 if len(shape) <= 1 else np.clip(1 / np.sqrt(np.prod(shape[1:])), 0.05, 0.2)
        value = draw.standard_normal(shape) * std + (name in plus_one)
        found[name] = torch.from_numpy(value.astype(np.float16).astype(np.float32))
    return {name: found[name] for name in shapes}


def song_state(name: str) -> dict[str, Any]:
    """What score_sde_pytorch saves: the model, its average, an optimizer and a counter."""
    meta = sidecar(name)
    shapes = {key: shape for key, shape, _ in meta["names"]}
    kinds = {key: kind for key, _, kind in meta["names"]}
    learned = {key: shape for key, shape in shapes.items() if kinds[key] == "learned"}
    config = meta["config"]
    draw = np.random.RandomState(meta["fourier_seed"])
    sigmas = np.exp(np.linspace(np.log(config["sigma_max"]), np.log(config["sigma_min"]), config["num_scales"]))
    own = by_rule(learned, meta["model_seed"], meta["plus_one"])
    model: OrderedDict[str, torch.Tensor] = OrderedDict()
    for key, shape in shapes.items():
        if kinds[key] == "buffer":
            model[key] = torch.from_numpy(sigmas)
        elif kinds[key] == "fixed":
            model[key] = torch.from_numpy((draw.standard_normal(shape) * 16).astype(np.float16).astype(np.float32))
        else:
            model[key] = own[key]
    average = by_rule(learned, meta["ema_seed"], meta["plus_one"])
    return {
        "optimizer": {"state": {0: {"step": 7, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": np.float64(2e-4)}]},
        "model": model,
        "ema": {"decay": 0.999, "num_updates": 7, "shadow_params": list(average.values())},
        "step": 7,
    }


def openai_state(name: str) -> OrderedDict[str, torch.Tensor]:
    """What guided- and improved-diffusion save: a bare state dict."""
    meta = sidecar(name)
    return OrderedDict(by_rule(dict(meta["names"]), meta["seed"], meta["plus_one"]))


def write(path: Path, state: Any, layout: str = "zip") -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=layout == "zip")
    return path
