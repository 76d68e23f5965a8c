"""Images from a denoiser to files: one sheet, or a folder with one PNG a seed."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harness.core.errors import InputError
from harness.core.files import write_bytes
from harness.datasets.image_bytes import to_bytes
from harness.denoisers.load import load_denoiser
from harness.execution.devices import devices_for
from harness.execution.worker import mosaic
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
        InputError: sampler, labels or device that do not fit, or a place that cannot be written.
        SamplingError: a state that is not finite.
    """
    if not seeds:
        raise InputError("no seeds were given; --seeds takes numbers and ranges such as 0-63")
    denoiser = load_denoiser(source, device=devices_for(device)[0])
    size = batch or min(BATCH, len(seeds))
    pictures, spent = [], 0
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]
        out = sample(denoiser, sampler, part, labels=labels, batch=size)
        pictures.append(to_bytes(out.images.cpu().numpy()))
        spent += int(out.nfe.sum())
    images = np.concatenate(pictures)
    try:
        if output.suffix.lower() == ".png":
            write_bytes(output, mosaic(images))
        else:
            for seed, image in zip(seeds, images, strict=True):
                _write(output / f"{seed:06d}.png", image)
    except OSError as error:
        raise InputError(f"{output}: cannot write there ({error.strerror}); give another --output") from None
    return Sampled(len(seeds), spent / len(seeds), sampler.notes(denoiser))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
