"""The state of an unfinished run: everything that the next step depends on, in one safetensors file.

Weights, their average, Adam's running means and the two random streams are tensors; the counters are JSON in the
header. Nothing is pickled. The file is written under another name and renamed, so a killed run leaves the last complete
state.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from harness.core.errors import InputError
from harness.denoisers.checkpoints.safetensors_file import write_tensors
from harness.training.recipe import Adam

FORMAT = "harness-training-state-1"


@dataclass
class TrainingState:
    """A run between two steps.

    Args:
        network: the weights that are trained.
        average: their moving average, in eval mode.
        optimizer: Adam over the network's parameters.
        generator: stream of data order and noise. Dropout uses torch's own stream, which is saved too.
        step: steps done.
        seconds: wall time spent in them, over all sessions.
    """

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Adam
    generator: Generator
    step: int = 0
    seconds: float = 0.0


def initial(network: nn.Module, adam: Adam, seed: int) -> TrainingState:
    """The state before the first step."""
    network.train().requires_grad_(True)
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(
        network.parameters(), lr=adam.lr, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True
    )
    return TrainingState(network, average, optimizer, Generator().manual_seed(seed))


def save(state: TrainingState, path: Path, fingerprint: str) -> None:
    """Write the state; `fingerprint` says of which recipe it is."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for name, parameter in state.network.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = value
    tensors |= {"random.generator": state.generator.get_state(), "random.torch": torch.get_rng_state()}
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "counters": json.dumps({"step": state.step, "seconds": state.seconds}),
    }
    write_tensors(path, tensors, header)


def restore(state: TrainingState, path: Path, fingerprint: str) -> TrainingState:
    """Fill a fresh state from the file.

    Raises:
        InputError: not a state file, damaged, or of another recipe.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(f"{path}: not the state of a training run; remove it or train afresh (--fresh)")
            if header.get("fingerprint") != fingerprint:
                raise InputError(
                    f"{path}: the state of another recipe of the same name (the recipe changed since); "
                    "train afresh (--fresh), or restore the recipe"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        counters = json.loads(header["counters"])
        state.network.load_state_dict(_under("network.", tensors))
        state.average.load_state_dict(_under("average.", tensors))
        for name, parameter in state.network.named_parameters():
            state.optimizer.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{name}" in tensors
            }
        state.generator.set_state(tensors["random.generator"])
        torch.set_rng_state(tensors["random.torch"])
        state.step, state.seconds = int(counters["step"]), float(counters["seconds"])
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: damaged state of a training run ({error}); train afresh (--fresh)") from None
    return state


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
