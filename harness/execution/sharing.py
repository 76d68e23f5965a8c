"""Which trials of a run ask their network the same, so that it answers once, and which fill its calls together.

Samplers agree down to some level: those that add noise only below S_tmax, or other solvers after the first evaluation.
Tasks of such trials on the same seeds are a group that one worker does one after the other; of what it evaluates it
keeps the outputs for the tasks to come. Trials that agree longest follow each other, so little has to be kept. Tasks of
a few seeds are done side by side, whatever they share, since a network takes about as long for a few rows as for more.
"""

import math
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import torch

from harness.core.errors import InputError
from harness.denoisers.config import Description
from harness.denoisers.load import describe
from harness.execution.chunks import PlannedChunk
from harness.execution.evaluations import chunks_together, task_evaluations
from harness.execution.measurements import Measurement
from harness.execution.seed_ranges import shares
from harness.experiments.calls import Call, calls_of
from harness.experiments.nfe import Probe, probe_of
from harness.experiments.trial import Trial

MOST_EVALUATIONS = 2**16
"""Network rows of a group, of which a killed worker loses all: half a minute of a small network on one core."""

LITTLE = 0.1
"""What a task shares at most, of what it takes, where a group may be cut in two so that every worker has its part."""

MOST_TRACED = 2000
"""Trials of a plan that is only looked at, whose calls are recorded, some 10 ms each; of a larger one, none are."""


class PlannedTask(NamedTuple):
    """Chunks of one trial that are computed together.

    Args:
        chunks: which.
        alone: about how many network rows they take by themselves.
        evaluations: the same without calls that earlier tasks of the group have answered.
        group: number of the group, from 1; 0 for a task by itself.
        together: rows of a call at most that tasks of the group share, side by side; 0 for one after the other.
    """

    chunks: list[PlannedChunk]
    alone: int
    evaluations: int
    group: int = 0
    together: int = 0


def plan_tasks(
    chunks: Sequence[PlannedChunk],
    every: Sequence[Measurement],
    batches: Sequence[int],
    workers: int,
    most_traced: float = math.inf,
    full: int = 0,
) -> list[PlannedTask]:
    """The tasks of a run, in the order in which they are computed.

    Args:
        chunks: all that are lacking.
        every: the measurements of the run.
        batches: rows per network call of each measurement.
        workers: how many do the tasks; see `Measurement.evaluations`.
        most_traced: of more trials than so many, what they share is not looked for.
        full: rows of a full call, which tasks of half as many rows or fewer fill side by side; 0 for none that do.
    """
    tasks, places = list[PlannedTask](), dict[Any, list[PlannedTask]]()
    order = list[list[PlannedTask]]()
    is_traced = len({chunk.fingerprint for chunk in chunks}) <= most_traced
    for together in chunks_together(chunks, batches):
        number, fingerprint = together[0].key
        seeds = sum(chunk.seeds.size for chunk in together)
        each = every[number].evaluations(fingerprint, workers)
        place = _place(together, every[number])
        is_small = place is not None and 2 * seeds <= full
        alone = task_evaluations(each, seeds, 1 if is_small else batches[number])
        task = PlannedTask(together, alone, alone, together=full if is_small else 0)
        if place is None:
            order.append([task])
        elif place in places:
            places[place].append(task)
        else:
            order.append(places.setdefault(place, [task]))
    traces, group = _Traces(every, is_traced), 0
    traced = [_traced(alike, traces) for alike in order]
    part_of_each = -(-sum(task.evaluations for alike in traced for task, _ in alike) // workers)
    for alike in traced:
        for part in _groups(alike, part_of_each):
            if len(part) > 1 or part[0].together:
                group += 1
                part = [task._replace(group=group) for task in part]
            tasks += part
    return tasks


def _place(together: list[PlannedChunk], measurement: Measurement) -> tuple[Any, ...] | None:
    """What tasks have in common that may ask a network the same: the network, its conditions, and the seeds."""
    trial = measurement.trials[together[0].fingerprint].trial
    if not measurement.metric.samples_images or together[0].images_only or trial.sampler.solver.adaptive:
        return None
    seeds = tuple(chunk.seeds for chunk in together)
    return trial.weights, trial.dtype, trial.labels, trial.sampler.noise_device, together[0].measurement, seeds


class _Traces:
    """The calls of trials, looked at when they are asked for."""

    def __init__(self, every: Sequence[Measurement], is_traced: bool) -> None:
        self.every, self.is_traced = every, is_traced
        self._probes: dict[str, tuple[Probe, Description]] = {}
        self._calls: dict[str, tuple[Call, ...]] = {}

    def __call__(self, task: PlannedTask) -> tuple[Call, ...]:
        number, fingerprint = task.chunks[0].key
        if not self.is_traced:
            return ()
        if fingerprint not in self._calls:
            self._calls[fingerprint] = self._look(self.every[number].trials[fingerprint].trial)
        return self._calls[fingerprint]

    def _look(self, trial: Trial) -> tuple[Call, ...]:
        if trial.weights not in self._probes:
            try:
                self._probes[trial.weights] = probe_of(trial.denoiser), describe(trial.denoiser)
            except InputError:  # a plan of what is to be fetched first
                return ()
        probe, described = self._probes[trial.weights]
        return calls_of(trial.sampler, probe, _dtype(trial, described.dtypes), described.window)


def _dtype(trial: Trial, dtypes: Sequence[str]) -> torch.dtype:
    """The type that the network computes in, as far as it is known before it is loaded."""
    name = trial.dtype or (dtypes[0] if dtypes else "float32")
    return torch.float64 if name == "float64" else torch.float32


def _traced(tasks: list[PlannedTask], traces: _Traces) -> list[tuple[PlannedTask, tuple[Call, ...]]]:
    """Tasks on the same seeds with their calls, those that agree longest next to each other.

    Each takes what it would if all of them were one group.
    """
    if len(tasks) == 1:
        return [(tasks[0], ())]
    answered, ordered = set[bytes](), list[tuple[PlannedTask, tuple[Call, ...]]]()
    for calls, number in sorted((traces(task), number) for number, task in enumerate(tasks)):
        task = tasks[number]
        ordered.append((task._replace(evaluations=_left(task, calls, answered)), calls))
        answered |= {call.asked for call in calls}
    return ordered


def _groups(traced: Sequence[tuple[PlannedTask, tuple[Call, ...]]], part_of_each: int) -> Iterator[list[PlannedTask]]:
    """Tasks on the same seeds, cut into groups, with what each still takes.

    Args:
        traced: tasks and their calls.
        part_of_each: network rows of the whole run for each worker.
    """
    group, spent = list[PlannedTask](), 0
    answered: set[bytes] = set()
    for task, calls in traced:
        left = _left(task, calls, answered)
        is_apart = left == task.alone and not task.together
        is_full = spent + left > part_of_each and task.alone - left <= LITTLE * task.alone
        if group and (is_apart or is_full or spent + left > MOST_EVALUATIONS):
            yield group
            group, answered, spent = [], set(), 0
            left = _left(task, calls, answered)
        group.append(task._replace(evaluations=left))
        spent += left
        answered |= {call.asked for call in calls}
    if group:
        yield group


def _left(task: PlannedTask, calls: Sequence[Call], answered: AbstractSet[bytes]) -> int:
    """Network rows of a task for the calls that are not answered yet."""
    total = sum(call.cost for call in calls)
    new = {call.asked: call.cost for call in calls if call.asked not in answered}
    return task.alone * sum(new.values()) // total if total else task.alone


def chunk_evaluations(tasks: Sequence[PlannedTask]) -> dict[PlannedChunk, int]:
    """About how many network rows each chunk takes, its share of the rows that fill calls up included."""
    rows: dict[PlannedChunk, int] = {}
    for task in tasks:
        rows |= zip(task.chunks, shares(task.evaluations, [chunk.seeds.size for chunk in task.chunks]), strict=True)
    return rows
