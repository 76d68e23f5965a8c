"""Images from a denoiser to files: one sheet, or a folder with one PNG a seed."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harness.core import yaml
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
MAX_SEEDS = 1_000_000


class Drawn(NamedTuple):
    """How many images were drawn, at which mean NFE."""

    images: int
    nfe: float


def draw(
    source: Any,
    sampler: Sampler,
    seeds: list[int],
    labels: Labels,
    output: Path,
    device: str | None = None,
    batch: int | None = None,
) -> Drawn:
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
    return Drawn(len(seeds), spent / len(seeds))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def parse_source(text: str) -> Any:
    """A name or path as it is; text that starts with a brace as an analytic spec in YAML or JSON."""
    return yaml.loads(text, "denoiser").data if text.lstrip().startswith("{") else text


def parse_sampler(text: str) -> Sampler:
    """A sampler from a YAML file's path or from YAML text."""
    if text.strip() in ("", "{}"):
        return Sampler()
    is_file = Path(text).suffix in (".yaml", ".yml", ".json")
    document = yaml.load(text) if is_file else yaml.loads(text, "--sampler")
    return yaml.build(Sampler, document)


def parse_seeds(text: str) -> list[int]:
    """Seeds from numbers and ranges: "0-3,8" is 0, 1, 2, 3, 8.

    Raises:
        InputError: anything else, or more than a million.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise InputError(f"--seeds takes numbers and ranges such as 0-63 or 1,5,8; we got '{text}'")
        if int(last or first) - int(first) + len(seeds) >= MAX_SEEDS:
            raise InputError(f"--seeds: more than {MAX_SEEDS:,} seeds")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def parse_label(text: str) -> Labels:
    """Label policy: "random" (None), "unconditional", or a class index.

    Raises:
        InputError: anything else.
    """
    if text == "random":
        return None
    if text == "unconditional":
        return "unconditional"
    if not text.isdigit():
        raise InputError(f"--label takes random, unconditional or a class index; we got {json.dumps(text)}")
    return int(text)
