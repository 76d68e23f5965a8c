"""The state of an unfinished run: everything that the next step depends on, in one safetensors file.

Weights, their averages, Adam's running means and the random streams are tensors; the counters are JSON in the header,
with a SHA-256 of all tensors. Nothing is pickled. The file is written under another name and renamed, and the one
before is kept, so that neither a killed run nor a damaged file loses more than the last minutes.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from harness.core.errors import InputError
from harness.denoisers.checkpoints.safetensors_file import write_tensors
from harness.training.recipe import Adam

FORMAT = "harness-training-state-2"
STATE, BEFORE, NEXT = "state.safetensors", "state-before.safetensors", "state-next.safetensors"


class StepLayout(NamedTuple):
    """How a step is divided, on which the last bits of its sums depend.

    Args:
        world: processes that train together.
        micro_batch: images of one pass through the network.
        device: kind of device, such as "cpu".
    """

    world: int = 1
    micro_batch: int = 0
    device: str = "cpu"


@dataclass
class TrainingState:
    """A run between two steps.

    Args:
        network: the weights that are trained.
        averages: their moving averages, in eval mode.
        optimizer: Adam over the network's parameters.
        generator: stream of data order and noise. Dropout uses torch's own stream, which is saved too.
        step: steps done.
        seconds: wall time spent in them, over all sessions.
        draws: state of `generator` before the next step's draws, which may be under way already.
    """

    network: nn.Module
    averages: list[nn.Module]
    optimizer: torch.optim.Adam
    generator: Generator
    step: int = 0
    seconds: float = 0.0
    draws: Tensor = field(default_factory=lambda: torch.empty(0))


def initial(network: nn.Module, adam: Adam, averages: int, seed: int) -> TrainingState:
    """The state before the first step; the network is on its device and of its type."""
    network.train().requires_grad_(True)
    copies: list[nn.Module] = [copy.deepcopy(network).eval().requires_grad_(False) for _ in range(averages)]
    optimizer = torch.optim.Adam(
        network.parameters(), lr=adam.lr, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True
    )
    generator = Generator().manual_seed(seed)
    return TrainingState(network, copies, optimizer, generator, draws=generator.get_state())


def save(
    state: TrainingState,
    folder: Path,
    fingerprint: str,
    layout: StepLayout,
    streams: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the state; the one that is there becomes the one before.

    Args:
        state: what to write.
        folder: of the run.
        fingerprint: of the recipe.
        layout: of the steps.
        streams: torch's own random streams by name; None: this process's stream on the CPU.
    """
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    for index, average in enumerate(state.averages):
        tensors |= {f"average.{index}.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in state.network.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = value
    tensors["random.generator"] = state.draws
    tensors |= {f"random.torch.{name}": stream for name, stream in (streams or streams_here()).items()}
    header = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "layout": json.dumps(layout._asdict()),
        "counters": json.dumps({"step": state.step, "seconds": state.seconds}),
    }
    # the new state is whole before the last one becomes the one before: whenever this is killed, a whole one is there
    write_tensors(folder / NEXT, tensors, header | {"sha256": _digest(tensors, header)})
    if (folder / STATE).exists():
        (folder / STATE).replace(folder / BEFORE)
    (folder / NEXT).replace(folder / STATE)


def streams_here(rank: int = 0) -> dict[str, Tensor]:
    """torch's own random streams in this process, by rank and device."""
    streams = {f"{rank}.cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        streams[f"{rank}.cuda"] = torch.cuda.get_rng_state()
    return streams


def restore(
    state: TrainingState,
    folder: Path,
    fingerprint: str,
    layout: StepLayout,
    rank: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> bool:
    """Fill a fresh state from the folder of a run, and this process's own random streams with it.

    A damaged file is passed over for the one before it, and `note` is told. The first process removes it, lest it take
    the place of the one before when the next state is saved.

    Returns:
        Whether there was a state.

    Raises:
        InputError: no usable file, or a state of another recipe or another layout.
    """
    damage: list[tuple[Path, str]] = []
    for path in (folder / STATE, folder / BEFORE):
        if not path.exists():
            continue
        try:
            _fill(state, path, fingerprint, layout, rank)
        except _Damaged as error:
            damage.append((path, str(error)))
            continue
        for damaged, what in damage:
            if rank == 0:
                damaged.unlink(missing_ok=True)
            note(f"{what}; the run goes on from the state before it, of step {state.step:,}")
        return True
    if damage:
        raise InputError(f"{damage[0][1]}; train afresh (--fresh)")
    return False


class _Damaged(InputError):
    """A file whose content is not what was written."""


def _fill(state: TrainingState, path: Path, fingerprint: str, layout: StepLayout, rank: int) -> None:
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise _Damaged(f"{path}: damaged state of a training run ({error})") from None
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not the state of a training run of this version; train afresh (--fresh)")
    if header.get("fingerprint") != fingerprint:
        raise InputError(
            f"{path}: the state of another recipe or data set of the same name (it changed since); "
            f"restore the recipe, or train afresh (--fresh, or remove {path.parent})"
        )
    if header.get("sha256") != _digest(tensors, header):
        raise _Damaged(f"{path}: damaged state of a training run (its SHA-256 is not the one that its header says)")
    before = StepLayout(**json.loads(header["layout"]))
    if before != layout:
        raise InputError(
            f"{path}: the run had {before.world} processes with {before.micro_batch} images a pass on {before.device}, "
            f"and now has {layout.world} with {layout.micro_batch} on {layout.device}: the sums of a step would have "
            "other last digits; go on with the same, or train afresh (--fresh)"
        )
    try:
        state.network.load_state_dict(_under("network.", tensors))
        for index, average in enumerate(state.averages):
            average.load_state_dict(_under(f"average.{index}.", tensors))
        for name, parameter in state.network.named_parameters():
            state.optimizer.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam.{key}.{name}" in tensors
            }
        state.draws = tensors["random.generator"]
        state.generator.set_state(state.draws)
        torch.set_rng_state(tensors[f"random.torch.{rank}.cpu"])
        if f"random.torch.{rank}.cuda" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.torch.{rank}.cuda"])
        counters = json.loads(header["counters"])
        state.step, state.seconds = int(counters["step"]), float(counters["seconds"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise _Damaged(f"{path}: damaged state of a training run ({error})") from None


def remove(folder: Path) -> None:
    """Remove the state files of a run, which is finished or starts afresh."""
    for name in (STATE, BEFORE, NEXT):
        (folder / name).unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    """SHA-256, in hex, of the header's texts but itself, and of the tensors' names and numbers."""
    digest = hashlib.sha256(json.dumps({key: header[key] for key in sorted(header) if key != "sha256"}).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
