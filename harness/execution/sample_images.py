"""Images from a denoiser to files: one sheet, a folder with one PNG a seed, or an array of floats."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.core.data_range import is_of_bytes, range_in_words
from harness.core.errors import InputError
from harness.core.files import write_output
from harness.datasets.image_bytes import to_bytes
from harness.datasets.pictures import pictures
from harness.denoisers.load import describe, load_denoiser, own_parts
from harness.denoisers.own import check_own
from harness.execution.devices import devices_for
from harness.execution.worker import mosaic
from harness.sampling.conditions import Conditions
from harness.sampling.denoiser import data_range
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
    """Sample images and write them: to one sheet if `output` ends in .png, to one array [N, ...] of float32 if it ends
    in .npy, else to a folder, `SEED.png` each.

    Raises:
        InputError: sampler, labels or device that do not fit, a place that cannot be written, or a folder for images
            that a PNG cannot hold.
        SamplingError: a state that is not finite.
    """
    if not seeds:
        raise InputError("no seeds were given; --seeds takes numbers and ranges such as 0-63")
    if labels is None and own_parts(source) and describe(source).conditional:
        raise InputError("this denoiser takes conditions; give --conditions FILE, or --label unconditional")
    check_own(source, devices_for(device)[0], conditions=labels if isinstance(labels, Conditions) else None)
    denoiser = load_denoiser(source, device=devices_for(device)[0])
    is_sheet, is_array = (output.suffix.lower() == ending for ending in (".png", ".npy"))
    shown_range = data_range(denoiser)
    if not (is_sheet or is_array) and len(denoiser.shape) != 3:
        raise InputError(
            f"{output}: samples of shape {list(denoiser.shape)} are no images; give a sheet, -o NAME.png, which shows "
            "them as plots or slices, or -o NAME.npy, which keeps the numbers"
        )
    if not (is_sheet or is_array or is_of_bytes(shown_range)):
        raise InputError(
            f"{output}: a PNG file holds bytes of [-1, 1], and these images are {range_in_words(shown_range)}; give "
            "-o NAME.npy, which keeps floats, or a sheet, -o NAME.png, which shows them"
        )
    if not (is_sheet or is_array) and denoiser.shape[0] not in (1, 3):
        raise InputError(
            f"{output}: a PNG file holds 1 or 3 channels and these images have {denoiser.shape[0]}; give a sheet, "
            "-o NAME.png, which shows each channel in grey, or -o NAME.npy, which keeps the numbers"
        )
    size = batch or min(BATCH, len(seeds))
    parts, spent = [], 0
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]
        out = sample(denoiser, sampler, part, labels=labels, batch=size)
        parts.append(out.images.cpu().numpy())
        spent += int(out.nfe.sum())
    images = np.concatenate(parts)
    if is_array:
        buffer = io.BytesIO()
        np.save(buffer, images.astype(np.float32), allow_pickle=False)
        write_output(output, buffer.getvalue())
    elif is_sheet:
        write_output(output, mosaic(pictures(images, shown_range)))
    else:
        for seed, image in zip(seeds, to_bytes(images), strict=True):
            write_output(output / f"{seed:06d}.png", mosaic(image[None], columns=1))
    notes = sampler.notes(denoiser)
    if isinstance(labels, Conditions) and len(labels) < len(seeds):
        notes.append(f"{len(labels):,} conditions for {len(seeds):,} seeds: they are used in turn, again and again.")
    return Sampled(len(seeds), spent / len(seeds), notes)
