"""Clean images for measures that start from images: a data set's, or a denoiser's own."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.denoisers.analytic.specs import DATASET_SHAPES
from harness.metrics.diagnostics.base import Task
from harness.sampling.initial_state import Labels, state_dtype
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler

Source = Literal["digits", "samples"]
"""`digits`: the images of that data set, by seed; `samples`: what the denoiser itself makes of the seeds' latents."""


class Images(NamedTuple):
    """Images [N, C, H, W], labels that go with them, and the network rows that they took."""

    images: Tensor
    labels: Labels
    rows: int


def images_for(source: Source, task: Task, steps: int = 64) -> Images:
    """One image a seed.

    Args:
        source: where they come from.
        task: gives denoiser, seeds, labels and batch; a data set's own classes take the place of drawn ones.
        steps: of Heun's method, for `samples`.

    Raises:
        InputError: images of another shape than the denoiser's.
    """
    if source == "samples":
        sampler = Sampler(steps=steps, noise_device=task.sampler.noise_device)
        out = sample(task.denoiser, sampler, task.seeds, task.labels, device=task.device, batch=task.batch)
        return Images(out.images, task.labels, out.rows)
    from harness.hub.digits import load_digits

    check_images(source, task.denoiser.shape)
    digits = load_digits()
    rows = torch.tensor(task.seeds) % len(digits.labels)
    has_classes = task.denoiser.label_dim > int(digits.labels.max())
    device = torch.device(task.device or task.denoiser.device)
    chosen = digits.images[rows].to(device, state_dtype(device))
    own = digits.labels[rows].tolist() if task.labels is None and has_classes else task.labels
    return Images(chosen, own, 0)


def check_images(source: Source, shape: tuple[int, ...] | None) -> None:
    """A data set's images have to fit the denoiser.

    Raises:
        InputError: with both shapes.
    """
    if source == "digits" and shape is not None and tuple(shape) != DATASET_SHAPES["digits"]:
        raise InputError(
            f"images 'digits' are {list(DATASET_SHAPES['digits'])} and the denoiser has {list(shape)}; use images "
            "'samples'"
        )
