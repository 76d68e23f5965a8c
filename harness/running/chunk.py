"""The work itself, done in a worker process: chunks of seeds of one trial, from latents to moments of features."""

import io
import json
import time
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.datasets.reference import Extractor
from harness.denoisers.load import identity, load_denoiser
from harness.errors import InputError, SamplingError
from harness.metrics.bytes import to_bytes
from harness.metrics.extractors import load_extractor
from harness.metrics.moments import Moments, as_rows
from harness.running.cover import Span
from harness.running.provenance import versions
from harness.running.results import Piece
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import pad
from harness.sampling.sample import Samples, sample
from harness.trial import Trial

MOSAIC = 64
"""Images kept of a trial that the grid names."""


class Task(NamedTuple):
    """Chunks to compute together: trial as JSON, seeds, metric, rows per network call, and whether to keep images.

    Several chunks of one trial share network calls; each still has moments of its own.
    """

    trial: str
    spans: tuple[Span, ...]
    metric: str
    batch: int
    keep_images: bool


class Done(NamedTuple):
    """A finished task: its chunks, and a PNG mosaic of the first images if asked for."""

    pieces: list[Piece]
    png: bytes | None


def run_task(task: Task, device: str) -> Done:
    """Sample the seeds of a task's chunks and turn the images of each into moments of features.

    If the device runs out of memory, the rows per network call are halved until it does not.

    Raises:
        SamplingError: a state or features that are not finite, or no memory for a single row.
        InputError: the denoiser cannot be loaded, or does not fit the sampler.
    """
    started = time.perf_counter()
    trial = Trial.model_validate_json(task.trial)
    denoiser = _denoiser(_source(trial), trial.weights, trial.dtype, device)
    seeds = [seed for span in task.spans for seed in range(span.first, span.last + 1)]
    samples, batch = _sample(denoiser, trial, seeds, task.batch)
    features = as_rows(_in_one_shape(_extractor(task.metric, device), samples.images, task.batch))
    spent = time.perf_counter() - started
    common = {
        "batch": batch,
        "device": device_name(device),
        "dtype": str(denoiser.dtype).removeprefix("torch."),
        "versions": versions(),
    }
    rows = _shares(samples.rows, [span.size for span in task.spans])
    pieces, at = [], 0
    for span, evaluations in zip(task.spans, rows, strict=True):
        nfe = samples.nfe[at : at + span.size]
        info = {
            "nfe": [int(nfe.min()), float(nfe.double().mean()), int(nfe.max())],
            "evaluations": evaluations,
            "seconds": spent * span.size / len(seeds),
            **common,
        }
        pieces.append(Piece(span, Moments.of(features[at : at + span.size]), info))
        at += span.size
    png = mosaic(to_bytes(samples.images[:MOSAIC].cpu().numpy())) if task.keep_images else None
    return Done(pieces, png)


def _in_one_shape(extractor: Extractor, images: Tensor, size: int) -> Tensor:
    """Features of images in calls of exactly `size` rows, the last one padded, so that they depend on no neighbour."""
    parts = [pad(part, size) for part in images.split(size)]
    return torch.cat([extractor(part) for part in parts])[: len(images)]


def _shares(total: int, sizes: list[int]) -> list[int]:
    """A whole number shared out in proportion to sizes, padding and all, so that the parts add up to it."""
    ends = [round(total * sum(sizes[: count + 1]) / sum(sizes)) for count in range(len(sizes))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _sample(denoiser: Denoiser, trial: Trial, seeds: list[int], batch: int) -> tuple[Samples, int]:
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
def _extractor(metric: str, device: str) -> Extractor:
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
