"""The work itself, done in a worker process: one chunk of seeds of one trial, from latents to moments of features."""

import io
import json
import time
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from harness.denoisers.load import identity, load_denoiser
from harness.errors import InputError, SamplingError
from harness.metrics.bytes import to_bytes
from harness.metrics.extractors import load_extractor
from harness.metrics.moments import Moments
from harness.running.provenance import versions
from harness.sampling.denoiser import Denoiser
from harness.sampling.trajectory import Samples, sample
from harness.trial import Trial

MOSAIC = 64
"""Images kept of a trial that the grid names."""


class Task(NamedTuple):
    """A chunk to compute: trial as JSON, seeds, metric, rows per network call, and whether to keep images."""

    trial: str
    first: int
    last: int
    metric: str
    batch: int
    keep_images: bool


class Done(NamedTuple):
    """A computed chunk: moments of the features, what it took, and a PNG mosaic of its first images if asked for."""

    moments: dict[str, np.ndarray]
    info: dict[str, Any]
    png: bytes | None


def run_chunk(task: Task, device: str) -> Done:
    """Sample a chunk's seeds and stream the images into moments.

    If the device runs out of memory, the rows per network call are halved until it does not.

    Raises:
        SamplingError: a state or features that are not finite, or no memory for a single row.
        InputError: the denoiser cannot be loaded, or does not fit the sampler.
    """
    started = time.perf_counter()
    trial = Trial.model_validate_json(task.trial)
    denoiser = _denoiser(_source(trial), trial.weights, trial.dtype, device)
    samples, batch = _sample(denoiser, trial, range(task.first, task.last + 1), task.batch)
    moments = Moments.of(_extractor(task.metric, device)(samples.images))
    info = {
        "nfe": [int(samples.nfe.min()), float(samples.nfe.double().mean()), int(samples.nfe.max())],
        "evaluations": samples.calls * batch * denoiser.cost,
        "seconds": time.perf_counter() - started,
        "batch": batch,
        "device": device_name(device),
        "dtype": str(denoiser.dtype).removeprefix("torch."),
        "versions": versions(),
    }
    png = mosaic(to_bytes(samples.images[:MOSAIC].cpu().numpy())) if task.keep_images else None
    return Done(moments.arrays(), info, png)


def _sample(denoiser: Denoiser, trial: Trial, seeds: range, batch: int) -> tuple[Samples, int]:
    while True:
        try:
            labels = None if trial.labels == "random" else trial.labels
            return sample(denoiser, trial.sampler, seeds, labels=labels, batch=batch), batch
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if batch == 1:
                raise SamplingError("out of memory with one row per network call; use a device with more") from None
            batch //= 2


def _source(trial: Trial) -> str:
    """The denoiser as one word, to remember it by: a name, a path, or the JSON of a spec."""
    return trial.denoiser if isinstance(trial.denoiser, str) else trial.denoiser.model_dump_json()


@lru_cache(maxsize=2)
def _denoiser(source: str, weights: str, dtype: str | None, device: str) -> Denoiser:
    """The last denoisers used stay loaded: chunks of one trial follow each other."""
    spec = json.loads(source) if source.startswith("{") else source
    if identity(spec) != weights:
        raise InputError(f"'{source}' changed while the grid was running; run it again")
    return load_denoiser(spec, device=device, dtype=dtype)


@lru_cache(maxsize=2)
def _extractor(metric: str, device: str) -> Any:
    return load_extractor(metric, device)


def device_name(device: str) -> str:
    """`cpu`, or a GPU's name."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def mosaic(images: np.ndarray, columns: int = 8) -> bytes:
    """Byte images [N, C, H, W] (C is 1 or 3) as one PNG, in rows of `columns` with a pixel between them."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 128, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
