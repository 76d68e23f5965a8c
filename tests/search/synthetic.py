"""A study over a made-up metric without networks: everything is real but the samples and what is measured of them.

The value of a setting is a bowl around its best plus noise that depends on the seeds and a little on the setting, so
that the best on the seeds of the search is not the best on fresh ones.
"""

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np

from harness.execution.scheduler import Completed
from harness.execution.worker import ChunkFailure
from harness.search import holdout, pruner, study
from harness.search import loop as searching
from harness.search.plan import SearchRequest, plan_search
from harness.search.study import budget_of, run_study
from harness.store.database import Store

SPACE = """
title: Synthetic
nfe: 9
sampler:
  discretization:
    kind: edm
    rho: {low: 2, high: 12, values: [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
    sigma_max: {low: 20, high: 80, log: true, values: [20, 40, 80]}
enqueue:
  - {name: Heun, role: baseline, sampler: {discretization: edm}}
"""
"""Two numbers; the best is near rho 5 and sigma_max 40."""


class SyntheticMetric:
    """The value of a trial on some seeds.

    Args:
        own: spread of the noise of a setting on one seed, which luck is made of.
        common: spread of what all settings share on a seed.
        fails: whether a trial fails, by its sampler.
    """

    def __init__(self, own=0.5, common=1.0, fails=lambda sampler: False):
        self.own, self.common, self.fails = own, common, fails
        self.sampled = []

    def truth(self, sampler):
        levels = sampler.discretization
        return 0.02 * (levels.rho - 5) ** 2 + 0.1 * math.log(levels.sigma_max / 40) ** 2

    def seeds(self, trial, first, count):
        """Values by seed; the same for the same trial and seeds."""
        shared = np.array([_normal(seed) for seed in range(first, first + count)])
        luck = np.array([_normal(f"{trial.fingerprint}\n{seed}") for seed in range(first, first + count)])
        return self.truth(trial.sampler) + self.common * shared + self.own * luck

    def measured(self, trial, first, count, cell):
        values = self.seeds(trial, first, count)
        cut = [values[start : start + cell] for start in range(0, count, cell)]
        left_out = [float((values.sum() - block.sum()) / (count - len(block))) for block in cut]
        return float(values.mean()), left_out, [len(block) for block in cut]


def _normal(key):
    """A standard normal of a key."""
    raw = hashlib.sha256(str(key).encode()).digest()
    a, b = (int.from_bytes(part) / 2**64 for part in (raw[:8], raw[8:16]))
    return math.sqrt(-2 * math.log(1 - a)) * math.cos(2 * math.pi * b)


class Made(NamedTuple):
    """What is loaded of a trial."""

    trial: Any
    count: int
    info: dict[str, Any]


class SyntheticBlocks:
    """Lacks what was never wanted; loads only which trial and how many seeds."""

    lost = 0

    metric: SyntheticMetric

    def __init__(self, store, measurement, batch, rungs=()):
        pass

    def lacking(self, number, trial, count, effort):
        self.metric.sampled.append((trial.fingerprint, count))
        bad = self.metric.fails(trial.sampler)
        return [Completed(number, ChunkFailure("the state is not finite", 3) if bad else None)]

    def cached_seeds(self, trial):
        return 0

    def load(self, trial, count):
        return [Made(trial, count, {})]


class SyntheticScheduler:
    """Completes at once what is added, in an order that is not that of adding."""

    reverse = is_stopped = False

    def __init__(self, *_):
        self.ready = []

    @property
    def is_idle(self):
        return not self.ready

    def add(self, completed):
        self.ready.append(completed)

    def step(self):
        return [self.ready.pop(-1 if self.reverse else 0)] if self.ready else []

    def close(self):
        pass


def install(monkeypatch, metric, reverse=False):
    """Put the made-up metric in the place of workers and measuring."""
    blocks = type("Blocks", (SyntheticBlocks,), {"metric": metric})
    scheduler = type("Scheduler", (SyntheticScheduler,), {"reverse": reverse})

    def measure_rung(measurement, pieces, device, shape):
        ((trial, count, _),) = pieces
        value, left_out, sizes = metric.measured(trial, measurement.first, count, measurement.chunk)
        starts = [measurement.first + sum(sizes[:index]) for index in range(len(sizes))]
        row = {"value": value, "low": value - 0.1, "high": value + 0.1, "replicates": left_out, "blocks": starts}
        return pruner.Rung(count, value, row["low"], row["high"], left_out, sizes, None), row

    def run_finals(search, chosen, store, device=None, batch=None, listener=None, *_):
        measurement = holdout.metric_measurement(search, store)
        for one in chosen:
            trial = holdout.Trial.model_validate(one["trial"])
            value, left_out, sizes = metric.measured(trial, measurement.first, measurement.samples, search.block)
            starts = [measurement.first + sum(sizes[:index]) for index in range(len(sizes))]
            row = {"value": value, "low": value - 0.1, "high": value + 0.1, "replicates": left_out, "blocks": starts}
            store.put_result(measurement.row(trial, {"status": "done", "nfe": one["nfe"], **row}, []))

    monkeypatch.setattr(searching, "SeedBlocks", blocks)
    monkeypatch.setattr(searching, "Scheduler", scheduler)
    monkeypatch.setattr(searching, "measure_rung", measure_rung)
    monkeypatch.setattr(study, "run_finals", run_finals)


def planned(folder, text=SPACE, **asked):
    """A small search of the made-up space; of the metric only its name and direction matter."""
    path = folder / "synthetic.yaml"
    path.write_text(text)
    return plan_search(SearchRequest(target=str(path), **{"metric": "end-point-error", "samples": 64, **asked}))


def conduct(search, folder, trials=None, evals=None):
    """Run a study; its outcome, and the store's path."""
    with Store(str(folder / "store.sqlite")) as store:
        return run_study(search, store, budget_of(search, trials, evals), "cpu")
