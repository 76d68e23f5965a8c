"""What a plan will cost: evaluations that are missing, and the time they will take at the network's speed.

The speed is that of the latest work in the store by the same network on such a device, else that of a few calls just
now, else what the grid states. To the network's time comes what metrics take (a large extractor, distances of many
features), what every chunk and trial takes beside it, and once the start of the workers.
"""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from harness.core.collector import held_collector
from harness.core.errors import InputError
from harness.denoisers.load import cards_of, own_parts
from harness.execution.chunks import ChunkPlan, Missing, PlannedChunk, plan_chunks
from harness.execution.devices import call_shape, device_name, devices_for, full_call, one_thread, rows_of_calls
from harness.execution.executors import find_executor
from harness.execution.measurements import Measurement, measurements
from harness.execution.sharing import MOST_TRACED, chunk_evaluations, plan_tasks
from harness.experiments.plan import Plan, Planned
from harness.store.database import Store

TIMED_CALLS = 3
TIMED_IMAGES = 16
"""Images at most by which an extractor is timed."""

LATEST = 64
"""Rows of the store at most that a speed is taken from: the machine, its load and the code change with time."""

CHUNK_SECONDS, TRIAL_SECONDS = 0.012, 0.05
"""What the parent spends on a chunk (claim, file, row) and a trial (reading, measuring, row) beside the network.

Measured on 2 CPU cores with `benchmarks/run_overhead.py`, of 64 features; the time of most plans is the network's.
"""

WIDE_TRIAL_SECONDS = 16.0
"""The same of a trial of 2048 features on a CPU: the distance of all blocks and without each of twelve, at 1.26 s each.

Measured on 2 cores (`benchmarks/results/metrics-cpu.json`). A GPU, where that takes a small part of a trial, has none.
"""

NO_GPU = re.compile(r"\b(cpus?|cores?)\b", re.IGNORECASE)
"""What the device of a stated rate is called where it is no GPU."""


class Speed(NamedTuple):
    """How fast a network is.

    Args:
        rate: evaluations per second of all devices together; None where nobody knows.
        measured: where the rate is from, in a word: "store", "timed", or whose it is.
        origin: the same in more words, for a line of the plan.
        gpus: how many GPUs are at work; 0 for a CPU, and where the device is not known.
    """

    rate: float | None
    measured: str
    origin: str
    gpus: int = 0


UNKNOWN = Speed(None, "not known", "not known before the first chunks")


class Cost(NamedTuple):
    """What a plan's missing chunks come to, by panel.

    Args:
        panel: name of the denoiser in the grid.
        trials: distinct trials of this panel, each once for every metric, and `missing` those that lack chunks.
        chunks: units of work still to do.
        evaluations: network rows still to compute, those that fill calls up included.
        rate: evaluations per second of all workers together; None for a network that is not here, or is made by code,
            of which nobody says.
        measured: where the rate is from: "store" (earlier chunks on such a device), "timed" (a few calls just now), or
            whose it is.
        origin: the same in words.
        gpus: how many GPUs are held meanwhile.
        metric_seconds: what metrics take beside the network and the usual overhead.
    """

    panel: str
    trials: int
    missing: int
    chunks: int
    evaluations: int
    rate: float | None
    measured: str
    origin: str = ""
    gpus: int = 0
    metric_seconds: float = 0.0

    @property
    def seconds(self) -> float | None:
        """Estimated time, without the start of the workers; None where the rate is not known."""
        overhead = self.chunks * CHUNK_SECONDS + self.missing * TRIAL_SECONDS + self.metric_seconds
        if not self.evaluations:
            return overhead
        return self.evaluations / self.rate + overhead if self.rate else None

    @property
    def gpu_hours(self) -> float | None:
        """Hours for which GPUs are held, summed over them; None without a GPU, or where the time is not known."""
        return None if not self.gpus or self.seconds is None else self.gpus * self.seconds / 3600


@held_collector()
def costs(
    plan: Plan, store: Store | None, device: str | None, batch: int | None, executor: str = "processes"
) -> list[Cost]:
    """Estimate a plan's cost without running any of it; an unknown network's speed is timed over a few calls.

    Args:
        plan: what would run.
        store: where results would go; None if there is none yet.
        device, batch, executor: as for `run`.

    A network that has to be fetched first, or that a user's code makes, is reckoned with the rate that the grid states.
    """
    if store is not None:
        store.check_files()
    devices = devices_for(device)[: find_executor(executor).most]
    wanted = measurements(plan)
    needed, batches = plan_chunks(wanted, store), [call_shape(one.samples, devices[0], batch) for one in wanted]
    tasks = plan_tasks(needed.chunks, wanted, batches, len(devices), MOST_TRACED, full_call(devices[0], batch))
    return costs_of(plan, wanted, needed, chunk_evaluations(tasks), store, devices, batch)


def costs_of(
    plan: Plan,
    wanted: Sequence[Measurement],
    needed: ChunkPlan,
    evaluations: Mapping[PlannedChunk, int],
    store: Store | None,
    devices: list[str],
    batch: int | None,
    is_timed: bool = True,
) -> list[Cost]:
    """The cost of chunks, by panel.

    Args:
        plan: what would run.
        wanted: its measurements.
        needed: the chunks that they lack.
        evaluations: network rows of each of these, as `chunk_evaluations` has it.
        store: where results would go; None if there is none yet.
        devices: at work, one worker each.
        batch: rows per network call; None for the usual number.
        is_timed: whether a network that the store does not know may be timed, or reckoned with a stated rate; otherwise
            its speed is not known.
    """
    own: dict[str, list[tuple[Measurement, str]]] = {}
    missing: Counter[str] = Counter()
    wide: Counter[str] = Counter()
    for measurement, part in zip(wanted, needed.by_measurement, strict=True):
        waiting = _waiting(part)
        for key, item in measurement.trials.items():
            own.setdefault(item.panel, []).append((measurement, key))
            missing[item.panel] += key in waiting
            wide[item.panel] += key in waiting and measurement.is_wide
    chunks: dict[str, list[tuple[Measurement, int, int]]] = {panel: [] for panel in own}
    for chunk in needed.chunks:
        measurement = wanted[chunk.measurement]
        chunks[measurement.trials[chunk.fingerprint].panel].append((measurement, chunk.seeds.size, evaluations[chunk]))
    by_panel = []
    for panel in [name for name in plan.grid.denoisers if name in own]:
        speed = UNKNOWN if not (is_timed or chunks[panel]) else _stored_speed(own[panel], store, devices, batch)
        if speed is None:
            speed = _other_speed(plan, panel, own[panel][0], devices, batch) if is_timed else UNKNOWN
        seconds = 0.0 if speed.gpus or devices[0] != "cpu" else WIDE_TRIAL_SECONDS * wide[panel]
        if speed.measured == "timed":  # the store's chunks took the time of their features too
            shape, seen = (
                plan.described[panel].shape,
                {one.extractor: one for one, _, _ in chunks[panel] if one.is_wide},
            )
            each = {name: _extractor_seconds(one, shape, devices[0]) for name, one in seen.items()}
            seconds += sum(size * each.get(one.extractor, 0.0) for one, size, _ in chunks[panel]) / len(devices)
        total = sum(rows for _, _, rows in chunks[panel])
        counts = (len(own[panel]), missing[panel], len(chunks[panel]), total)
        by_panel.append(Cost(panel, *counts, *speed, metric_seconds=seconds))
    return by_panel


def _waiting(missing: Missing) -> set[str]:
    """Trials of a measurement that lack chunks, whoever computes them."""
    return {chunk.fingerprint for chunk in missing.chunks} | {fingerprint for _, fingerprint in missing.shared}


def _stored_speed(
    own: Sequence[tuple[Measurement, str]], store: Store | None, devices: list[str], batch: int | None
) -> Speed | None:
    """The speed of the network's latest work on such a device; None without any."""
    if store is None:
        return None
    measurement, key = own[0]
    trial, name = measurement.trials[key].trial, device_name(devices[0])
    calls = rows_of_calls(measurement.samples, devices[0], batch)
    results = [
        row for row in store.results_of_network(trial.weights, LATEST) if row["trial"].get("dtype") == trial.dtype
    ]
    extractors = {one.extractor for one, _ in own}
    alike = [row for row in results if row["extractor"] in extractors]  # their time holds that of the same features
    found, what = _latest([_Work.of(row["provenance"] | row) for row in alike or results], name, calls), "results"
    if not found:  # no trial of it is complete yet
        trials: dict[tuple[str, ...], list[str]] = {}
        for measurement, key in own:
            trials.setdefault(measurement.sources, []).append(key)
        rows = [row for sources, keys in trials.items() for row in store.chunks(sources, keys)]
        done = sorted((row for row in rows if row["status"] == "done"), key=lambda row: -int(row["id"]))
        found, what = _latest([_Work.of(row["info"] or {}) for row in done], name, calls), "chunks"
    if not found:
        return None
    rate = len(devices) * sum(work.evaluations for work in found) / sum(work.seconds for work in found)
    count = f"{len(found)} {what}" if len(found) > 1 else what.removesuffix("s")
    return Speed(rate, "store", f"{_at_work(devices)}, from the latest {count} of it in the store", _gpus(devices))


class _Work(NamedTuple):
    """Finished work as the store has it: network rows, a worker's seconds, devices and rows per call."""

    evaluations: int
    seconds: float
    devices: tuple[str, ...]
    batches: tuple[int, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From what workers said of a chunk, or of those of a result."""
        return cls(
            said.get("evaluations") or 0,
            said.get("seconds") or 0.0,
            _each(said.get("device")),
            _each(said.get("batch")),
        )


def _each(said: Any) -> tuple[Any, ...]:
    """What was said of one chunk, or of several that may differ."""
    return tuple(said) if isinstance(said, list) else () if said is None else (said,)


def _latest(works: Sequence[_Work], device: str, calls: range) -> list[_Work]:
    """The latest work on such a device, in such calls if there is any; the newest comes first."""
    here = [work for work in works if work.devices == (device,) and work.evaluations and work.seconds > 0]
    alike = [work for work in here if work.batches and set(work.batches) <= set(calls)]
    return (alike or here)[:LATEST]


def _other_speed(plan: Plan, panel: str, one: tuple[Measurement, str], devices: list[str], batch: int | None) -> Speed:
    """The speed of a network that the store does not know: timed if it is here and no code of the user's, or stated."""
    choice = plan.grid.denoisers[panel]
    source = choice.source_of(panel)
    if {file.name for file in plan.absent}.isdisjoint(cards_of(source)) and not own_parts(source):
        calls = f"{_at_work(devices)}, timed just now over {TIMED_CALLS} network calls"
        return Speed(_timed_rate(one, devices, batch), "timed", calls, _gpus(devices))
    stated = choice.rate
    if stated is None:  # it is not here, or timing it would run the user's code
        return UNKNOWN._replace(origin="the store has no work of it on such a device, and the grid states no rate")
    gpus = 0 if NO_GPU.search(stated.device) else 1
    return Speed(stated.evaluations_per_second, stated.device, f"as the grid states ({stated.device})", gpus)


def _at_work(devices: Sequence[str]) -> str:
    count, name = len(devices), device_name(devices[0])
    return f"on {count} {'workers' if count > 1 else 'worker'} ({name})"


def _gpus(devices: Sequence[str]) -> int:
    return sum(device.startswith("cuda") for device in devices)


def _extractor_seconds(measurement: Measurement, shape: tuple[int, ...], device: str) -> float:
    """Seconds of one worker for the features of an image [C, H, W]; 0 for an extractor that cannot be loaded here."""
    import torch

    from harness.metrics.features.summary import extract_features

    features, count = measurement.metric.features, min(measurement.samples, TIMED_IMAGES)
    if features is None:
        return 0.0
    images = torch.zeros(count, *shape, dtype=torch.float64, device=device)
    with _as_a_worker(device):
        try:
            extractor = features.load(shape, device)
        except InputError:  # its files are not here yet, or a program of the user's needs a permission
            return 0.0
        extract_features(extractor, images[:1], (), 1)
        started = time.perf_counter()
        extract_features(extractor, images, (), count)
        return (time.perf_counter() - started) / count


def _as_a_worker(device: str) -> contextlib.AbstractContextManager[None]:
    """A worker on a CPU has one thread."""
    return one_thread() if device == "cpu" else contextlib.nullcontext()


def _timed_rate(one: tuple[Measurement, str], devices: list[str], batch: int | None) -> float:
    """Evaluations per second of all devices together, over a few calls just now."""
    measurement, key = one
    most = rows_of_calls(measurement.samples, devices[0], batch)[-1]
    shape = min(most, max(batch or 0, measurement.samples * len(measurement.trials)))
    return len(devices) * time_network(measurement.trials[key], devices[0], shape)


def time_network(item: Planned, device: str, batch: int) -> float:
    """Rows per second of one worker, over a few calls of the network on noise."""
    import torch

    from harness.denoisers.load import load_denoiser
    from harness.sampling.dynamics import one_hot

    with _as_a_worker(device):
        denoiser = load_denoiser(item.trial.denoiser, device=device)
        x = torch.zeros(batch, *denoiser.shape, dtype=denoiser.dtype, device=denoiser.device)
        sigma = torch.tensor(max(min(1.0, denoiser.sigma_max), denoiser.sigma_min), dtype=torch.float64)
        labels = one_hot(torch.zeros(batch, dtype=torch.int64), denoiser.label_dim) if denoiser.label_dim else None
        labels = labels if labels is None else labels.to(denoiser.device)
        with torch.no_grad():
            denoiser(x, sigma, labels)
            started = time.perf_counter()
            for _ in range(TIMED_CALLS):
                checked = float(denoiser(x, sigma, labels).sum())  # waits for the device
            spent = time.perf_counter() - started
    assert checked == checked, "the network gives NaN for zeros"
    return TIMED_CALLS * batch * denoiser.cost / spent
