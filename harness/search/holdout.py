"""The holdout: the best settings of a search are measured again, on fresh seeds that took no part in choosing them.

The best of many settings looks better than it is, because it was chosen for its luck on these seeds too (the winner's
curse). On fresh seeds it has no such luck, and neither have the baseline and the paper's setting beside it.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from harness.execution.devices import call_shape, devices_for, one_thread
from harness.execution.executors import Executor
from harness.execution.limits import Limits
from harness.execution.measurements import Measurement, measurements, with_reference
from harness.execution.plan_record import denoiser_facts, metric_record
from harness.execution.provenance import versions
from harness.execution.run import Listener, Summary, run
from harness.experiments.grid import Grid, Panel, Series
from harness.experiments.notes import notes_of
from harness.experiments.plan import Plan, Planned
from harness.experiments.trial import Trial
from harness.metrics.base import Metric
from harness.search.candidates import denoiser_name
from harness.search.enqueued import EnqueuedTrial
from harness.search.optuna_bridge import value_of
from harness.search.plan import SearchPlan
from harness.search.progress import Rows
from harness.search.space import SpaceParameter
from harness.search.template import NumberRange
from harness.store.database import Store
from harness.store.studies import DONE, PRUNED, SUGGESTED

SPREAD = 10
"""Settings over the whole ranking of a study that show how well a proxy ranks them."""


def objective_measurement(search: SearchPlan, store: Store, device: str | None = None) -> Measurement:
    """The measurement that the search compares by: the objective on the search's seeds, with its reference."""
    return _measurement(search, search.objective, search.spec["first_seed"], store, device)


def metric_measurement(search: SearchPlan, store: Store, device: str | None = None) -> Measurement:
    """The measurement of the end: the metric on the fresh seeds, with its reference."""
    return _measurement(search, search.metric, search.spec["fresh_seed"], store, device)


def _measurement(search: SearchPlan, metric: Metric, first: int, store: Store, device: str | None) -> Measurement:
    measurement = measurements(_plan(search, metric, first, []))[0]
    # a wide reference takes many images through a large network, which needs all cores
    with contextlib.nullcontext() if measurement.is_wide else one_thread():
        return with_reference(measurement, store, device)


def study_record(search: SearchPlan, objective: Measurement, metric: Measurement) -> dict[str, Any]:
    """What the report needs to know of a study, as JSON."""
    source, enqueued = search.builder.source, search.enqueued
    return {
        "title": search.target.title,
        "about": " ".join(search.target.about.split()),
        "denoiser": denoiser_name(source),
        "card": denoiser_facts(source, search.builder.description),
        "objective": metric_record([objective]),
        "metric": metric_record([metric]),
        "parameters": [_parameter_record(one) for one in search.space.parameters],
        "steps": enqueued[0].candidate.trial.sampler.steps if enqueued and not search.is_pareto else None,
        "full": search.nfe * objective.samples,
        "points": None if search.points is None else len(search.points),
        "versions": versions(),
    }


def _parameter_record(parameter: SpaceParameter) -> dict[str, Any]:
    node = parameter.node
    record = {"name": parameter.name, "path": ".".join(parameter.path)}
    if isinstance(node, NumberRange):
        values = list(node.values) if node.values else None
        return record | {
            "kind": "number", "low": node.low, "high": node.high, "log": node.log, "values": values, "choices": None
        }  # fmt: skip
    return record | {
        "kind": "choice", "low": None, "high": None, "log": False, "values": None, "choices": list(node.labels)
    }  # fmt: skip


def finals(search: SearchPlan, rows: Rows) -> list[dict[str, Any]]:
    """The settings that are measured on fresh seeds, as JSON.

    These are the best settings (with two objectives the front), the baseline, the paper's settings for this family of
    networks (all of them if none is for it), and with a proxy a spread over the whole ranking.
    """
    ranked = _ranked(search, rows, (DONE,))
    best = _front(ranked) if search.is_pareto else ranked[: search.spec["top"]]
    chosen = []
    for rank, row in best:
        name = "" if row["origin"] == SUGGESTED else f" ({row['origin']})"
        chosen.append(_final("top", f"No. {row['number']}{name}", rank, row))
    by_role: dict[str, list[tuple[int, EnqueuedTrial]]] = {"baseline": [], "paper": [], "other": []}
    for number, trial in enumerate(search.enqueued):
        by_role[trial.setting.role].append((number, trial))
    family = search.builder.description.family
    own = [pair for pair in by_role["paper"] if pair[1].setting.families and family in pair[1].setting.families]
    for number, trial in [*by_role["baseline"], *(own or by_role["paper"])]:
        chosen.append(_enqueued_final(trial, rows.get(number)))
    if search.has_proxy:
        every = _ranked(search, rows, (DONE, PRUNED))
        places = {round(index * (len(every) - 1) / max(SPREAD - 1, 1)) for index in range(SPREAD)} if every else set()
        for rank, row in (every[place] for place in sorted(places)):
            chosen.append(_final("spread", f"No. {row['number']}", rank, row, value_of(row, rows)))
    return chosen


def _ranked(search: SearchPlan, rows: Rows, states: tuple[str, ...]) -> list[tuple[int, Mapping[str, Any]]]:
    """Trials in these states by their value on the search's seeds, each with its rank from 1; each sampler once."""
    sign = 1.0 if search.objective.better == "lower" else -1.0
    values = {number: value_of(row, rows) for number, row in rows.items() if row["status"] in states}
    order = sorted(
        (sign * value, number) for number, value in values.items() if value is not None and rows[number]["twin"] is None
    )
    return [(rank + 1, rows[number]) for rank, (_, number) in enumerate(order)]


def _front(ranked: list[tuple[int, Mapping[str, Any]]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The Pareto front: ranked trials that no better one matches in NFE."""
    front, fewest = [], math.inf
    for rank, row in ranked:
        if row["nfe"] < fewest:
            front.append((rank, row))
            fewest = row["nfe"]
    return front


def _final(
    role: str, label: str, rank: int | None, row: Mapping[str, Any], estimate: float | None = None
) -> dict[str, Any]:
    """A final that is a trial of the study; `estimate` is its value on the search's seeds if it was pruned."""
    search: dict[str, Any] | None = None if estimate is None else {"value": estimate, "low": None, "high": None}
    if row["status"] == DONE and row["rungs"]:
        search = {key: row["rungs"][-1][key] for key in ("value", "low", "high")}
    kept = {key: row[key] for key in ("number", "fingerprint", "trial", "nfe", "settings")}
    return {"role": role, "label": label, "rank": rank, **kept, "search": search}


def _enqueued_final(enqueued: EnqueuedTrial, row: Mapping[str, Any] | None) -> dict[str, Any]:
    """A final that is an enqueued setting, whether or not the study came to it."""
    role, label = enqueued.setting.role, enqueued.setting.name
    if row is not None and row["origin"] == label and row["fingerprint"]:
        return _final(role, label, None, row)
    trial = enqueued.candidate.trial
    return {
        "role": role,
        "label": label,
        "rank": None,
        "number": None,
        "fingerprint": trial.fingerprint,
        "trial": trial.model_dump(mode="json"),
        "nfe": enqueued.candidate.nfe,
        "settings": None if enqueued.point is None else enqueued.point.settings,
        "search": None,
    }


def run_finals(
    search: SearchPlan,
    chosen: Iterable[Mapping[str, Any]],
    store: Store,
    device: str | None = None,
    batch: int | None = None,
    listener: Listener | None = None,
    executor: str | type[Executor] = "processes",
    retry_failed: bool = False,
    limits: Limits | None = None,
) -> Summary:
    """Measure finals on the fresh seeds. What the store holds of them is not computed again.

    Args:
        search: the study's plan.
        chosen: the finals.
        store: where results go.
        device, batch, executor, retry_failed, limits: as for a run.
        listener: told of progress.
    """
    trials = {
        str(one["fingerprint"]): (Trial.model_validate(one["trial"]), int(one["nfe"]), str(one["label"]))
        for one in chosen
    }
    name = denoiser_name(search.builder.source)
    items = [
        Planned(trial, name, label, label, nfe, None, False, notes_of(trial.denoiser, trial.sampler))
        for trial, nfe, label in trials.values()
    ]
    plan = _plan(search, search.metric, search.spec["fresh_seed"], items)
    devices, measurement = devices_for(device), measurements(plan)[0]
    if batch is None and devices[0] == "cpu":
        # one chunk a call: so a seed's row in the call does not depend on which chunks were stored before
        batch = min(measurement.chunk, call_shape(measurement.samples, devices[0], None))
    return run(
        plan,
        store,
        device,
        batch,
        retry_failed=retry_failed,
        listener=listener,
        record=False,
        executor=executor,
        limits=limits,
    )


def _plan(search: SearchPlan, metric: Metric, first: int, items: list[Planned]) -> Plan:
    """Trials and one metric as a plan, on the search's seeds or on the fresh ones."""
    name, is_fresh = denoiser_name(search.builder.source), first == search.spec["fresh_seed"]
    grid = Grid(
        title=search.name,
        metrics=(metric,),
        samples=search.spec["fresh_samples"] if is_fresh else search.samples,
        first_seed=first,
        chunk=None if is_fresh else search.block,
        denoisers={name: Panel()},
        series=[Series(name="search")],
    )
    return Plan(search.name, grid, items, "", [], {name: search.builder.description})
