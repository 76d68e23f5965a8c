"""Where torch runs: the devices of a machine, how many rows a network call has there, and how many threads."""

import contextlib
import os
from collections.abc import Iterator

from harness.core.errors import InputError

CPU_BATCH, GPU_BATCH = 128, 512


def devices_for(choice: str | None) -> list[str]:
    """The devices to run on, one worker each; a CPU is named once for each of its cores.

    Args:
        choice: "cpu", "cuda" (all GPUs), "cuda:1", or None: all GPUs if there are any, else the CPU's cores.

    Raises:
        InputError: a GPU was asked for and there is none, or no such device.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice is None:
        choice = "cuda" if gpus else "cpu"
    if choice == "cpu":
        return ["cpu"] * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if choice == "cuda" and gpus:
        return [f"cuda:{index}" for index in range(gpus)]
    if choice.startswith("cuda:") and choice[5:].isdigit() and int(choice[5:]) < gpus:
        return [choice]
    have = f"cpu, {', '.join(f'cuda:{index}' for index in range(gpus))}" if gpus else "cpu"
    raise InputError(f"--device {choice}: no such device here; there is: {have}")


def device_name(device: str) -> str:
    """`cpu`, or a GPU's name."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def full_call(device: str, batch: int | None = None) -> int:
    """Rows of a call that tasks of a few samples may fill together; 0 where the rows of a call were asked for."""
    return 0 if batch else CPU_BATCH if device == "cpu" else GPU_BATCH


def call_shape(samples: int, device: str, batch: int | None) -> int:
    """Rows per network call: as asked, else 128 on a CPU and 512 on a GPU, and no more than the samples."""
    return batch or min(samples, full_call(device))


def rows_of_calls(samples: int, device: str, batch: int | None) -> range:
    """Rows that calls may have for trials of N samples, which go side by side if they fill half a call or less."""
    shape, full = call_shape(samples, device, batch), full_call(device, batch)
    return range(shape + 1, full + 1) if 2 * samples <= full else range(shape, shape + 1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Torch, BLAS and OpenMP of this process with one thread, as worker processes have.

    A sum that is split among threads has other last digits, one split for each number of threads. A search method that
    suggests by such values would go on to other settings: a study on eight cores would not be the same as on two.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
