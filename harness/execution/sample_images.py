"""Images from a denoiser to files: one sheet, or a folder with one PNG a seed."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.core.files import write_output
from harness.datasets.image_bytes import to_bytes
from harness.datasets.pictures import pictures
from harness.denoisers.load import load_denoiser
from harness.denoisers.own import check_own
from harness.execution.devices import devices_for
from harness.execution.worker import mosaic
from harness.sampling.conditions import Conditions
from harness.sampling.initial_state import Labels
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler

BATCH = 64


class Sampled(NamedTuple):
    """How many images were sampled, at which mean NFE, and settings of the sampler without effect, in sentences."""

    images: int
    nfe: float
    notes: list[str]


def sample_to_files(
    source: Any,
    sampler: Sampler,
    seeds: list[int],
    labels: Labels,
    output: Path,
    device: str | None = None,
    batch: int | None = None,
) -> Sampled:
    """Sample images and write them: to one sheet if `output` ends in .png, else to a folder, `SEED.png` each.

    Raises:
        InputError: sampler, labels or device that do not fit, a place that cannot be written, or a folder for images
            that a PNG cannot hold.
        SamplingError: a state that is not finite.
    """
    if not seeds:
        raise InputError("no seeds were given; --seeds takes numbers and ranges such as 0-63")
    check_own(source, devices_for(device)[0], conditions=labels if isinstance(labels, Conditions) else None)
    denoiser = load_denoiser(source, device=devices_for(device)[0])
    is_sheet, is_image = output.suffix.lower() == ".png", len(denoiser.shape) == 3
    if not is_sheet and not is_image:
        raise InputError(
            f"{output}: samples of shape {list(denoiser.shape)} are no images; give a sheet, -o NAME.png, which shows "
            "them as plots or slices, or take the numbers from harness.sample in Python"
        )
    if not is_sheet and denoiser.shape[0] not in (1, 3):
        raise InputError(
            f"{output}: a PNG file holds 1 or 3 channels and these images have {denoiser.shape[0]}; give a sheet, "
            "-o NAME.png, which shows each channel in grey, or take the numbers from harness.sample in Python"
        )
    size = batch or min(BATCH, len(seeds))
    drawn, spent = [], 0
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]
        out = sample(denoiser, sampler, part, labels=labels, batch=size)
        samples = out.images.cpu().numpy()
        drawn.append(to_bytes(samples) if is_image else samples)
        spent += int(out.nfe.sum())
    images = np.concatenate(drawn) if is_image else pictures(np.concatenate(drawn))
    if is_sheet:
        write_output(output, mosaic(images))
    else:
        for seed, image in zip(seeds, images, strict=True):
            write_output(output / f"{seed:06d}.png", mosaic(image[None], columns=1))
    return Sampled(len(seeds), spent / len(seeds), sampler.notes(denoiser))
