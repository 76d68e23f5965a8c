"""The work itself, done in a worker process: chunks of seeds of one trial, from latents to what a metric needs."""

import io
import json
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from harness.core.code import code_allowed, is_code_allowed
from harness.core.config import plugins_of
from harness.core.errors import InputError, MachineError, RunError, SamplingError
from harness.core.plugins import require_plugins
from harness.core.text import told
from harness.denoisers.cached import CachedDenoiser
from harness.denoisers.given import GivenDenoiser, factories, given_denoisers
from harness.denoisers.load import identity, load_denoiser
from harness.denoisers.pooled import Pool
from harness.execution.devices import device_name
from harness.execution.provenance import versions
from harness.execution.results import ChunkData
from harness.execution.seed_ranges import SeedRange, shares
from harness.experiments.trial import Trial
from harness.metrics import METRICS
from harness.metrics.base import SamplingJob, halve_batch
from harness.sampling.conditions import read_conditions
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels

if TYPE_CHECKING:
    from harness.execution.measurements import Measurement


class ChunkTask(NamedTuple):
    """Chunks to compute together: trial and metric as JSON, seeds, rows per network call, and whether to keep images.

    Several chunks of one trial share network calls; each still has arrays of its own. `kept` is what these hold of
    images beside the moments of features. `remember`: take from earlier tasks what the denoiser was asked there, which
    pays where many trials begin alike. `plugins` is the code that trial and metric need beside the
    harness, see `harness.core.plugins.provenance`. `allow_code` is the permission to run a user's code that the process
    has which makes the task; `given` are functions that make denoisers which its caller gave, and `code` is the
    identity of a metric in the user's code, "" for others.
    """

    trial: str
    seeds: tuple[SeedRange, ...]
    metric: str
    batch: int
    keep_images: bool
    kept: tuple[str, ...] = ()
    remember: bool = False
    plugins: tuple[dict[str, str], ...] = ()
    allow_code: bool = False
    given: tuple[tuple[str, GivenDenoiser], ...] = ()
    code: str = ""

    @classmethod
    def of(cls, trial: Trial, measurement: "Measurement", batch: int, remember: bool = False) -> "ChunkTask":
        """A task that lacks its seeds."""
        metric = measurement.metric
        plugins = (*plugins_of(trial).values(), *plugins_of(metric).values())
        return cls(
            trial.model_dump_json(),
            (),
            metric.model_dump_json(),
            batch,
            False,
            measurement.kept,
            remember,
            plugins,
            is_code_allowed(),
            tuple(factories(trial.denoiser).items()),
            measurement.extractor if metric.runs_code else "",
        )


class Computed(NamedTuple):
    """A finished task: its chunks, and PNG pictures by name if they were asked for."""

    chunks: list[ChunkData]
    pngs: dict[str, bytes]


class ChunkFailure(NamedTuple):
    """Why chunks could not be computed.

    Args:
        reason: in words for a row.
        step: at which step of the sampler, from 0; None if that is not known.
        is_transient: the machine failed, not the trial; the next run tries again.
    """

    reason: str
    step: int | None = None
    is_transient: bool = False


def failure_of(error: BaseException) -> ChunkFailure:
    """An exception in words for a row."""
    if isinstance(error, SamplingError):
        return ChunkFailure(error.reason, error.step)
    is_ours = isinstance(error, InputError | RunError)
    return ChunkFailure(str(error) if is_ours else told(error), is_transient=_is_transient(error))


def _is_transient(error: BaseException | None) -> bool:
    """Whether the machine is at fault: memory, a file, a library that is not there; or what came of one of these."""
    import torch

    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, RunError | OSError | MemoryError | ImportError | torch.OutOfMemoryError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _is_of_device(error: BaseException) -> bool:
    """Whether a GPU reports an error, after which its process can compute nothing more there."""
    import torch

    is_memory = isinstance(error, torch.OutOfMemoryError)
    return isinstance(error, RuntimeError) and not is_memory and str(error).startswith(("CUDA error", "HIP error"))


def run_tasks(
    tasks: tuple[ChunkTask, ...], is_group: bool, together: int, device: str
) -> list[Computed | ChunkFailure]:
    """Do tasks, each as `run_task` does it: one after the other, or side by side.

    Tasks of a group find what the others have evaluated and nothing else, so that how much is evaluated depends on the
    group alone; afterwards it is forgotten.

    Args:
        tasks: what to do.
        is_group: whether they ask one denoiser.
        together: rows of a call that tasks of a group share, side by side; 0 for one after the other.
        device: where torch runs.
    """
    if together and (done := _side_by_side(tasks, together, device)) is not None:
        return done
    try:
        if is_group:
            _remembered.cache_clear()
        return [run_task(task, device) for task in tasks]
    finally:
        if is_group:
            _remembered.cache_clear()


def _side_by_side(tasks: tuple[ChunkTask, ...], rows: int, device: str) -> list[Computed | ChunkFailure] | None:
    """Do tasks of one denoiser side by side; None where it cannot be loaded, which each task then says for itself."""
    first, started = tasks[0], time.perf_counter()
    require_plugins(first.plugins)
    try:
        with code_allowed(first.allow_code), given_denoisers(dict(first.given)):
            main = _loaded(Trial.model_validate_json(first.trial), device, False)
    except Exception:  # of the machine, or a device's, after which only another process can go on
        return None
    most = max(sum(seed_range.size for seed_range in task.seeds) for task in tasks)
    pool = Pool(main, rows, max(1, rows // most))
    done = pool.run([partial(run_task, task, device) for task in tasks])
    spent, total = time.perf_counter() - started, sum(evaluations for _, evaluations in done)
    return [
        outcome._replace(
            chunks=_with_costs(outcome.chunks, evaluations, spent * evaluations / max(total, 1), pool.largest)
        )
        if isinstance(outcome, Computed)
        else outcome
        for outcome, evaluations in done
    ]


def _with_costs(chunks: list[ChunkData], evaluations: int, seconds: float, batch: int) -> list[ChunkData]:
    """Chunks of a task with what they took, each its part of it."""
    sizes = [chunk.seeds.size for chunk in chunks]
    costs = [
        {"evaluations": part, "seconds": seconds * size / sum(sizes), "batch": batch}
        for size, part in zip(sizes, shares(evaluations, sizes), strict=True)
    ]
    return [chunk._replace(info={**chunk.info, **cost}) for chunk, cost in zip(chunks, costs, strict=True)]


def run_task(task: ChunkTask, device: str, denoiser: Denoiser | None = None) -> Computed | ChunkFailure:
    """Sample or observe the seeds of a task's chunks, and keep of each what its metric needs.

    If the device runs out of memory, the rows per network call are halved until it does not. A trial that cannot be
    computed is an answer, not an exception: a state or features that are not finite, a denoiser that does not fit the
    sampler; and so is one that the machine cannot compute: no memory for a single row, a file that is away.

    Raises:
        PluginError: this process lacks a plugin that the task needs.
        MachineError: the device reports an error; only another process can go on with it.
    """
    require_plugins(task.plugins)
    try:
        with code_allowed(task.allow_code), given_denoisers(dict(task.given)):
            return _compute(task, device, denoiser)
    except Exception as error:
        if _is_of_device(error):
            raise MachineError(str(error).splitlines()[0]) from None
        return failure_of(error)


def _compute(task: ChunkTask, device: str, given: Denoiser | None) -> Computed:
    started = time.perf_counter()
    trial = Trial.model_validate_json(task.trial)
    denoiser = given or _loaded(trial, device, task.remember)
    saved = denoiser.saved if isinstance(denoiser, CachedDenoiser) else 0
    seeds = [seed for seed_range in task.seeds for seed in range(seed_range.first, seed_range.last + 1)]
    metric = METRICS.read_json(task.metric)
    if task.code and metric.identity != task.code:
        raise MachineError(f"the code of metric '{metric.name}' is not what it was when the run began; run it again")
    converged = _converged(_source(trial), trial.weights, trial.dtype, str(denoiser.device))
    job = SamplingJob(
        denoiser, trial.sampler, seeds, labels_of(trial), denoiser.device, keep=task.kept, converged=converged
    )
    batch = task.batch if given is None else len(seeds)  # others fill the call up
    seen, batch = halve_batch(lambda size: metric.observe(job._replace(batch=size)), batch)
    sheets = seen.sheets() if task.keep_images else {}
    pngs = {name: mosaic(sheet.images, sheet.columns) for name, sheet in sheets.items()}
    spent = time.perf_counter() - started
    common = {
        "batch": batch,
        "device": device_name(device),
        "dtype": str(denoiser.dtype).removeprefix("torch."),
        "versions": versions(),
    }
    saved = denoiser.saved - saved if isinstance(denoiser, CachedDenoiser) else 0
    rows = shares(seen.rows - saved, [seed_range.size for seed_range in task.seeds])
    chunks, at = [], 0
    for seed_range, evaluations in zip(task.seeds, rows, strict=True):
        nfe = seen.nfe[at : at + seed_range.size]
        info = {
            "nfe": [int(nfe.min()), float(nfe.double().mean()), int(nfe.max())],
            "evaluations": evaluations,
            "seconds": spent * seed_range.size / len(seeds),
            **common,
        }
        chunks.append(ChunkData(seed_range, seen.arrays(slice(at, at + seed_range.size)), info))
        at += seed_range.size
    return Computed(chunks, pngs)


def labels_of(trial: Trial) -> Labels:
    """The label policy of a trial as samplers take it.

    Raises:
        MachineError: its file of conditions is away, or another one.
    """
    if trial.conditions is None:
        return None if trial.labels == "random" else trial.labels  # type: ignore[return-value]
    try:
        conditions = read_conditions(trial.conditions)
    except InputError as error:
        raise MachineError(f"the conditions cannot be read: {error}") from None
    if repr(conditions) != trial.labels:
        raise MachineError(f"'{trial.conditions}' changed while the grid was running; run it again")
    return conditions


def _source(trial: Trial) -> str:
    """The denoiser as one word, to remember it by: a name, a path, or the JSON of a spec."""
    return trial.denoiser if isinstance(trial.denoiser, str) else trial.denoiser.model_dump_json()


def _loaded(trial: Trial, device: str, remember: bool) -> Denoiser:
    """The denoiser of a trial; the plan has looked at it, so what cannot be loaded is a matter of the machine.

    Raises:
        MachineError: it cannot be loaded.
    """
    load = _remembered if remember else _denoiser
    try:
        return load(_source(trial), trial.weights, trial.dtype, device)
    except Exception as error:
        if _is_of_device(error):
            raise
        raise MachineError(f"the denoiser cannot be loaded: {failure_of(error).reason}") from error


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
def _converged(source: str, weights: str, dtype: str | None, device: str) -> dict[str, Any]:
    """Converged trajectories of a denoiser, kept for as long as it is."""
    return {}


def mosaic(images: np.ndarray, columns: int = 8) -> bytes:
    """Byte images [N, C, H, W] as one PNG, in rows of `columns` with a pixel between them.

    One channel is grey and three are RGB. A PNG has no place for other numbers of channels: each is a grey image then,
    those of an image next to each other.
    """
    if images.shape[1] not in (1, 3):
        images = np.concatenate(np.split(images, images.shape[1], axis=1), axis=3)
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), 128, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
