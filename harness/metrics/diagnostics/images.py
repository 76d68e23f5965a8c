"""Clean images for diagnostics that start from images: a data set's, or a denoiser's own."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from harness.core.data_range import DataRange, is_of_bytes, range_in_words
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import DATASET_SHAPES
from harness.metrics.base import SamplingJob

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.initial_state import Labels

Source = Literal["digits", "samples"]
"""`digits`: the images of that data set, by seed; `samples`: what the denoiser itself makes of the seeds' latents."""


class Images(NamedTuple):
    """Images [N, C, H, W], labels that go with them, and the network rows that they took."""

    images: "Tensor"
    labels: "Labels"
    rows: int


def images_for(source: Source, job: SamplingJob, steps: int = 64) -> Images:
    """One image a seed.

    Args:
        source: where they come from.
        job: gives denoiser, seeds, labels and batch; a data set's own classes take the place of drawn ones.
        steps: of Heun's method, for `samples`.

    Raises:
        InputError: images of another shape than the denoiser's.
    """
    import torch

    from harness.sampling.initial_state import state_dtype
    from harness.sampling.sample import sample
    from harness.sampling.sampler import Sampler

    if source == "samples":
        sampler = Sampler(steps=steps, noise_device=job.sampler.noise_device)
        out = sample(job.denoiser, sampler, job.seeds, job.labels, device=job.device, batch=job.batch)
        return Images(out.images, job.labels, out.rows)
    from harness.hub.digits import load_digits
    from harness.sampling.denoiser import data_range

    check_images(source, job.denoiser.shape)
    check_range(source, data_range(job.denoiser))
    digits = load_digits()
    rows = torch.tensor(job.seeds) % len(digits.labels)
    has_classes = job.denoiser.label_dim > int(digits.labels.max())
    device = torch.device(job.device or job.denoiser.device)
    chosen = digits.images[rows].to(device, state_dtype(device))
    own = digits.labels[rows].tolist() if job.labels is None and has_classes else job.labels
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


def check_range(source: Source, data_range: DataRange) -> None:
    """A data set's images have to be in the range of the denoiser's data.

    Raises:
        InputError: they are not.
    """
    if source == "digits" and not is_of_bytes(data_range):
        raise InputError(
            f"images 'digits' are in [-1, 1], and the denoiser's data are {range_in_words(data_range)}; use another "
            "metric, or images 'samples' where it takes them"
        )
