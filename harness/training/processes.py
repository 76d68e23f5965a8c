"""Processes that train one network together, as `torchrun` starts them: one a device, DistributedDataParallel.

Every process draws the images and random numbers of the whole batch and takes its own part, so that the gradient does
not depend on the number of processes, beyond the rounding of sums. Dropout is drawn by each process for itself.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.core.errors import InputError


class Process(NamedTuple):
    """This process among those that train together.

    Args:
        rank: from 0; the first writes.
        world: how many there are.
        device: where this one trains.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network that averages its gradients over the processes; alone, the network itself."""
        if self.world == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each value over the processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values = values / self.world
        return values

    def gather(self, value: dict[str, Tensor]) -> dict[str, Tensor]:
        """The dictionaries of all processes in one, in the first process."""
        if self.world == 1:
            return value
        found: list[dict[str, Tensor] | None] | None = [None] * self.world if self.is_first else None
        dist.gather_object(value, found)
        return {name: tensor for one in found or () for name, tensor in (one or {}).items()}

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.world > 1:
            dist.barrier()


def is_launched() -> bool:
    """Whether `torchrun` or its like started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def training_process(device: str = "cpu") -> Iterator[Process]:
    """This process's place; inside, the processes of a launcher are connected.

    Args:
        device: "cpu", "cuda:1"; "cuda" is the GPU of this process's rank on its machine.

    Raises:
        InputError: a GPU that is not there.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device(f"cuda:{local}" if device == "cuda" else device)
    if place.type == "cuda":
        if not torch.cuda.is_available() or (place.index or 0) >= torch.cuda.device_count():
            raise InputError(f"--device {device}: there is no GPU {place.index or 0} here; use --device cpu")
        torch.cuda.set_device(place)
    if not is_launched():
        yield Process(device=place)
        return
    if device.startswith("cuda:"):
        raise InputError(f"--device {device}: each process of a launcher has a GPU of its own; use --device cuda")
    is_cuda = place.type == "cuda"
    dist.init_process_group("nccl" if is_cuda else "gloo", device_id=place if is_cuda else None)
    try:
        yield Process(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()
