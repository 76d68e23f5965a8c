"""The work itself, done in a worker process: chunks of seeds of one trial, from latents to what a metric needs."""

import io
import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.core.errors import InputError, RunError, SamplingError
from harness.datasets.image_bytes import to_bytes
from harness.denoisers.cached import CachedDenoiser
from harness.denoisers.load import identity, load_denoiser
from harness.execution.devices import device_name
from harness.execution.provenance import versions
from harness.execution.results import MOSAIC, Piece
from harness.execution.seed_ranges import SeedRange
from harness.experiments.metric import read_metric
from harness.experiments.trial import Trial
from harness.metrics.choices import FeatureMetric
from harness.metrics.diagnostics import Measure
from harness.metrics.diagnostics import Task as DiagnosticTask
from harness.metrics.features.choices import AnyExtractor
from harness.metrics.features.extractor import Extractor
from harness.metrics.features.load import load_extractor
from harness.metrics.features.summary import extract_features
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels
from harness.sampling.sample import sample

Result = TypeVar("Result")


class Task(NamedTuple):
    """Chunks to compute together: trial and metric as JSON, seeds, rows per network call, and whether to keep images.

    Several chunks of one trial share network calls; each still has arrays of its own. `kept` is what these hold of
    images beside the moments of features. `remember`: take from earlier tasks what the denoiser was asked there, which
    pays where many trials begin alike; on a CPU only.
    """

    trial: str
    spans: tuple[SeedRange, ...]
    metric: str
    batch: int
    keep_images: bool
    kept: tuple[str, ...] = ()
    remember: bool = False


class Computed(NamedTuple):
    """A finished task: its chunks, and PNG pictures by name if they were asked for."""

    pieces: list[Piece]
    pngs: dict[str, bytes]


class ChunkFailure(NamedTuple):
    """Why chunks could not be computed, and at which step of the sampler, if that is known."""

    reason: str
    step: int | None = None


def failure_of(error: BaseException) -> ChunkFailure:
    """An exception in words for a row."""
    if isinstance(error, SamplingError):
        return ChunkFailure(error.reason, error.step)
    if isinstance(error, InputError | RunError):
        return ChunkFailure(str(error))
    return ChunkFailure(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


class _Seen(NamedTuple):
    """What came of a task's seeds together.

    Args:
        cut: the arrays of the seeds at a slice.
        nfe: evaluations of each.
        rows: network rows computed.
        batch: rows per network call.
        pngs: pictures by name.
    """

    cut: Callable[[slice], Mapping[str, np.ndarray]]
    nfe: Tensor
    rows: int
    batch: int
    pngs: dict[str, bytes]


def run_task(task: Task, device: str) -> Computed | ChunkFailure:
    """Sample or observe the seeds of a task's chunks, and keep of each what its metric needs.

    If the device runs out of memory, the rows per network call are halved until it does not. A trial that cannot be
    computed is an answer, not an exception: a state or features that are not finite, no memory for a single row, a
    denoiser that cannot be loaded or does not fit the sampler.
    """
    try:
        return _compute(task, device)
    except Exception as error:
        return failure_of(error)


def _compute(task: Task, device: str) -> Computed:
    started = time.perf_counter()
    trial = Trial.model_validate_json(task.trial)
    load = _remembered if task.remember and device == "cpu" else _denoiser
    denoiser = load(_source(trial), trial.weights, trial.dtype, device)
    saved = denoiser.saved if isinstance(denoiser, CachedDenoiser) else 0
    seeds = [seed for span in task.spans for seed in range(span.first, span.last + 1)]
    metric = read_metric(task.metric)
    if isinstance(metric, Measure):
        seen = _observe(metric, denoiser, trial, seeds, task)
    else:
        seen = _features(metric, denoiser, trial, seeds, task, device)
    spent = time.perf_counter() - started
    common = {
        "batch": seen.batch,
        "device": device_name(device),
        "dtype": str(denoiser.dtype).removeprefix("torch."),
        "versions": versions(),
    }
    saved = denoiser.saved - saved if isinstance(denoiser, CachedDenoiser) else 0
    rows = _shares(seen.rows - saved, [span.size for span in task.spans])
    pieces, at = [], 0
    for span, evaluations in zip(task.spans, rows, strict=True):
        nfe = seen.nfe[at : at + span.size]
        info = {
            "nfe": [int(nfe.min()), float(nfe.double().mean()), int(nfe.max())],
            "evaluations": evaluations,
            "seconds": spent * span.size / len(seeds),
            **common,
        }
        pieces.append(Piece(span, seen.cut(slice(at, at + span.size)), info))
        at += span.size
    return Computed(pieces, seen.pngs)


def _features(
    metric: FeatureMetric, denoiser: Denoiser, trial: Trial, seeds: list[int], task: Task, device: str
) -> _Seen:
    """Images to what is kept of their features."""
    labels = _labels(trial)
    out, batch = _halving(lambda size: sample(denoiser, trial.sampler, seeds, labels=labels, batch=size), task.batch)
    extractor = _extractor(metric.features, denoiser.shape, device)
    seen, _ = _halving(lambda size: extract_features(extractor, out.images, task.kept, size), task.batch)
    pngs = {"mosaic": mosaic(to_bytes(out.images[:MOSAIC].cpu().numpy()))} if task.keep_images else {}
    return _Seen(lambda part: seen.observed(part, task.kept).arrays(), out.nfe, out.rows, batch, pngs)


def _observe(measure: Measure, denoiser: Denoiser, trial: Trial, seeds: list[int], task: Task) -> _Seen:
    """A measure's values, one a sample."""
    known = _known(_source(trial), trial.weights, trial.dtype, str(denoiser.device))
    observed = DiagnosticTask(denoiser, trial.sampler, seeds, _labels(trial), denoiser.device, known=known)
    seen, batch = _halving(lambda size: measure.observe(observed._replace(batch=size)), task.batch)
    bad = int((~torch.isfinite(seen.values)).sum())
    if bad:
        raise SamplingError(f"{bad} of {len(seeds)} values of {measure.name} are not finite")

    def cut(part: slice) -> Mapping[str, np.ndarray]:
        arrays = {"values": seen.values[part].numpy()}
        if seen.profile is not None:
            arrays |= {"levels": seen.profile.levels.numpy(), "profile": seen.profile.values[part].numpy()}
        if seen.paths is not None:
            arrays |= {"path_times": seen.paths.times.numpy(), "path_x": seen.paths.x[part].numpy()}
        return arrays

    pictures = seen.pictures if task.keep_images and seen.pictures else {}
    pngs = {name: mosaic(sheet.flatten(0, 1).numpy(), sheet.shape[1]) for name, sheet in pictures.items()}
    return _Seen(cut, seen.nfe, seen.rows, batch, pngs)


def _labels(trial: Trial) -> Labels:
    return None if trial.labels == "random" else trial.labels


def _shares(total: int, sizes: list[int]) -> list[int]:
    """A whole number shared out in proportion to sizes, padding and all, so that the parts add up to it."""
    ends = [round(total * sum(sizes[: count + 1]) / sum(sizes)) for count in range(len(sizes))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _halving(work: Callable[[int], Result], batch: int) -> tuple[Result, int]:
    """What work comes to, with as many rows per network call as the memory allows."""
    while True:
        try:
            return work(batch), batch
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
def _remembered(source: str, weights: str, dtype: str | None, device: str) -> Denoiser:
    """The same, with the answers that they gave."""
    return CachedDenoiser(_denoiser(source, weights, dtype, device))


@lru_cache(maxsize=2)
def _known(source: str, weights: str, dtype: str | None, device: str) -> dict[str, Any]:
    """Converged trajectories of a denoiser, kept for as long as it is."""
    return {}


@lru_cache(maxsize=2)
def _extractor(choice: AnyExtractor, shape: tuple[int, int, int], device: str) -> Extractor:
    return load_extractor(choice, shape, device)


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
