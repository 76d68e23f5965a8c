"""What a plan will cost: evaluations that are missing, and the time they will take at a measured speed.

To the network's time comes what every chunk and trial takes beside it, and once the start of the workers.
"""

import time
from collections import Counter
from typing import NamedTuple

from harness.core.collector import held_collector
from harness.denoisers.load import cards_of, own_parts
from harness.execution.chunks import Missing, plan_chunks
from harness.execution.devices import call_shape, device_name, devices_for
from harness.execution.executors import find_executor
from harness.execution.measurements import Measurement, measurements
from harness.experiments.plan import Plan, Planned
from harness.store.database import Store

TIMED_CALLS = 3

CHUNK_SECONDS, TRIAL_SECONDS = 0.012, 0.05
"""What the parent spends on a chunk (claim, file, row) and a trial (reading, measuring, row) beside the network.

Measured on 2 CPU cores with `benchmarks/run_overhead.py`, of 64 features; the time of most plans is the network's.
"""


class Cost(NamedTuple):
    """What a plan's missing chunks come to, by panel.

    Args:
        panel: name of the denoiser in the grid.
        trials: distinct trials of this panel, each once for every metric, and `missing` those that lack chunks.
        chunks: units of work still to do.
        evaluations: network rows still to compute.
        rate: evaluations per second of all workers together; None for a network that is not here, or is made by code,
            of which nobody says.
        measured: where the rate is from: "store" (earlier chunks on such a device), "timed" (a few calls just now), or
            whose it is.
    """

    panel: str
    trials: int
    missing: int
    chunks: int
    evaluations: int
    rate: float | None
    measured: str

    @property
    def seconds(self) -> float | None:
        """Estimated time, without the start of the workers; None where the rate is not known."""
        overhead = self.chunks * CHUNK_SECONDS + self.missing * TRIAL_SECONDS
        if not self.evaluations:
            return overhead
        return self.evaluations / self.rate + overhead if self.rate else None


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
    absent = {file.name for file in plan.absent}
    devices = devices_for(device)[: find_executor(executor).most]
    wanted = measurements(plan)
    needed = plan_chunks(wanted, store)
    every = [(measurement, _waiting(part)) for measurement, part in zip(wanted, needed.by_measurement, strict=True)]
    chunks = Counter(wanted[chunk.measurement].trials[chunk.fingerprint].panel for chunk in needed.chunks)
    by_panel = []
    rate: float | None
    for panel in plan.grid.denoisers:
        own = [
            (measurement, key)
            for measurement, _ in every
            for key, item in measurement.trials.items()
            if item.panel == panel
        ]
        if not own:
            continue
        lacking = [
            (measurement, key, n)
            for measurement, left in every
            for key, n in left.items()
            if measurement.trials[key].panel == panel
        ]
        rows = sum(n * measurement.evaluations(key, len(devices)) for measurement, key, n in lacking)
        choice = plan.grid.denoisers[panel]
        source = choice.source_of(panel)
        known = _stored_rate(own, store, devices)
        if known is not None:
            rate, measured = known, "store"
        elif absent.isdisjoint(cards_of(source)) and not own_parts(source):
            rate, measured = _timed_rate(own[0], devices, batch), "timed"
        else:  # it is not here, or timing it would run the user's code
            stated = choice.rate
            rate, measured = (stated.evaluations_per_second, stated.device) if stated else (None, "not known")
        by_panel.append(Cost(panel, len(own), len(lacking), chunks[panel], rows, rate, measured))
    return by_panel


def _waiting(missing: Missing) -> dict[str, int]:
    """Samples that a measurement still has to compute, by trial; 0 where others compute all that is missing."""
    waiting = {fingerprint: 0 for _, fingerprint in missing.shared}
    for job in missing.chunks:
        waiting[job.fingerprint] = waiting.get(job.fingerprint, 0) + job.seeds.size
    return waiting


def _stored_rate(own: list[tuple[Measurement, str]], store: Store | None, devices: list[str]) -> float | None:
    """Evaluations per second of all devices together, from earlier chunks on such a device; None without any."""
    if store is None:
        return None
    name = device_name(devices[0])
    trials: dict[str, list[str]] = {}
    for measurement, key in own:
        trials.setdefault(measurement.source, []).append(key)
    infos = [row["info"] for extractor, keys in trials.items() for row in store.chunks(extractor, keys)]
    infos = [info for info in infos if info and info.get("device") == name and info.get("seconds")]
    seconds = sum(info["seconds"] for info in infos)
    return len(devices) * sum(info["evaluations"] for info in infos) / seconds if seconds else None


def _timed_rate(one: tuple[Measurement, str], devices: list[str], batch: int | None) -> float:
    """Evaluations per second of all devices together, over a few calls just now."""
    measurement, key = one
    shape = call_shape(measurement.samples, devices[0], batch)
    return len(devices) * time_network(measurement.trials[key], devices[0], shape)


def time_network(item: Planned, device: str, batch: int) -> float:
    """Rows per second of one worker, over a few calls of the network on noise."""
    import torch

    from harness.denoisers.load import load_denoiser
    from harness.sampling.dynamics import one_hot

    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
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
    finally:
        torch.set_num_threads(threads)
    assert checked == checked, "the network gives NaN for zeros"
    return TIMED_CALLS * batch * denoiser.cost / spent
