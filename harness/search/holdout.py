"""The end of a search: the best settings again, on seeds that took no part in choosing them.

Of many settings the one that looks best looks better than it is: it was chosen for its luck on these seeds, too.
Measured on others it has none, and neither have the baseline and the paper's setting beside it.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from harness.execution.devices import call_shape, devices_for, one_thread
from harness.execution.executors import Executor
from harness.execution.measurements import Measurement, measurements, with_reference
from harness.execution.plan_record import denoiser_facts, metric_record
from harness.execution.provenance import versions
from harness.execution.run import Listener, Summary, run
from harness.experiments.grid import Grid, Panel, Series
from harness.experiments.plan import Plan, Planned
from harness.experiments.trial import Trial
from harness.search.candidates import Metric, denoiser_name
from harness.search.optuna_bridge import value_of
from harness.search.plan import EnqueuedTrial, SearchPlan
from harness.search.template import NumberRange
from harness.store.database import Store
from harness.store.studies import DONE, SUGGESTED

SPREAD = 10
"""Settings from the whole of a study that tell how well a proxy ranks them."""


def objective_measurement(search: SearchPlan, store: Store, device: str | None = None) -> Measurement:
    """What the search compares by, on its own seeds, with the reference."""
    return _aim(search, search.objective, search.spec["first_seed"], store, device)


def metric_measurement(search: SearchPlan, store: Store, device: str | None = None) -> Measurement:
    """What is to be good, on the fresh seeds."""
    return _aim(search, search.metric, search.spec["fresh_seed"], store, device)


def _aim(search: SearchPlan, metric: Metric, first: int, store: Store, device: str | None) -> Measurement:
    measurement = measurements(_plan(search, metric, first, []))[0]
    with (
        contextlib.nullcontext() if measurement.is_wide else one_thread()
    ):  # many images through a large network: all cores
        return with_reference(measurement, store, device)


def study_record(search: SearchPlan, objective: Measurement, metric: Measurement) -> dict[str, Any]:
    """What the report needs to know of a study."""
    source = search.builder.source
    return {
        "title": search.target.title,
        "about": " ".join(search.target.about.split()),
        "denoiser": denoiser_name(source),
        "card": denoiser_facts(source, search.builder.description),
        "objective": metric_record([objective]),
        "metric": metric_record([metric]),
        "parameters": [
            {
                "name": one.name,
                "path": ".".join(one.path),
                "kind": "number" if isinstance(one.node, NumberRange) else "choice",
                "low": one.node.low if isinstance(one.node, NumberRange) else None,
                "high": one.node.high if isinstance(one.node, NumberRange) else None,
                "log": isinstance(one.node, NumberRange) and one.node.log,
                "values": list(one.node.values) if isinstance(one.node, NumberRange) and one.node.values else None,
                "choices": None if isinstance(one.node, NumberRange) else list(one.node.labels),
            }
            for one in search.space.parameters
        ],
        "steps": search.enqueued[0].candidate.trial.sampler.steps if search.enqueued and not search.is_pareto else None,
        "full": search.nfe * objective.samples,
        "points": None if search.points is None else len(search.points),
        "versions": versions(),
    }


def finals(search: SearchPlan, rows: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is to be measured on fresh seeds: the best, the baseline, the paper's, and a spread under a proxy."""
    ranked = _ranked(search, rows, lambda row: row["status"] == DONE)
    chosen = _front(search, ranked) if search.is_pareto else ranked[: search.spec["top"]]
    found = [_entry("top", _label(row), rank, row) for rank, row in chosen]
    enqueued = search.enqueued
    found += [
        _start("baseline", start, rows.get(number)) for number, start in enumerate(enqueued) if _is(start, "baseline")
    ]
    papers = [(number, start) for number, start in enumerate(enqueued) if _is(start, "paper")]
    family = search.builder.description.family
    own = [pair for pair in papers if pair[1].setting.families and family in pair[1].setting.families]
    found += [_start("paper", start, rows.get(number)) for number, start in own or papers]
    if search.has_proxy:
        every = _ranked(search, rows, lambda row: value_of(row, rows) is not None, rows)
        picked = {round(index * (len(every) - 1) / max(SPREAD - 1, 1)) for index in range(SPREAD)} if every else set()
        found += [
            _entry("spread", f"No. {every[at][1]['number']}", every[at][0], every[at][1], rows) for at in sorted(picked)
        ]
    return found


def _label(row: Mapping[str, Any]) -> str:
    """A trial's number, and its name where the target gave it one."""
    name = "" if row["origin"] == SUGGESTED else f" ({row['origin']})"
    return f"No. {row['number']}{name}"


def _is(start: EnqueuedTrial, role: str) -> bool:
    return start.setting.role == role


def _ranked(
    search: SearchPlan,
    rows: Mapping[int, Mapping[str, Any]],
    wanted: Any,
    known: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[tuple[int, Mapping[str, Any]]]:
    """Settings by search-time value, each with its rank from 1; of equal settings the first."""
    sign = 1.0 if search.objective.better == "lower" else -1.0
    some = [row for row in rows.values() if row["twin"] is None and wanted(row)]

    def place(row: Mapping[str, Any]) -> tuple[float, int]:
        value = row["value"] if known is None else value_of(row, known)
        return sign * (math.inf if value is None else value), row["number"]

    return [(rank + 1, row) for rank, row in enumerate(sorted(some, key=place))]


def _front(search: SearchPlan, ranked: list[tuple[int, Mapping[str, Any]]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The settings that none with as few evaluations beats."""
    front, best = [], math.inf
    for pair in ranked:
        if pair[1]["nfe"] < best:
            front.append(pair)
            best = pair[1]["nfe"]
    return front


def _entry(
    role: str, label: str, rank: int | None, row: Mapping[str, Any], rows: Mapping[int, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """A final from a trial of the study."""
    last = row["rungs"][-1] if row["rungs"] else None
    if row["status"] == DONE and last:
        search: dict[str, Any] | None = {key: last[key] for key in ("value", "low", "high")}
    else:
        value = value_of(row, rows) if rows is not None else None
        search = None if value is None else {"value": value, "low": None, "high": None}
    kept = {key: row[key] for key in ("number", "fingerprint", "trial", "nfe", "settings")}
    return {"role": role, "label": label, "rank": rank, **kept, "search": search}


def _start(role: str, start: EnqueuedTrial, row: Mapping[str, Any] | None) -> dict[str, Any]:
    """A final from a setting that the target names, whether or not the study came to it."""
    if row is not None and row["origin"] == start.setting.name and row["fingerprint"]:
        return _entry(role, start.setting.name, None, row)
    trial = start.candidate.trial
    return {
        "role": role,
        "label": start.setting.name,
        "rank": None,
        "number": None,
        "fingerprint": trial.fingerprint,
        "trial": trial.model_dump(mode="json"),
        "nfe": start.candidate.nfe,
        "settings": None if start.point is None else start.point.settings,
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
) -> Summary:
    """Measure the finals on fresh seeds; those that the store has are not sampled again."""
    trials = {
        str(one["fingerprint"]): (Trial.model_validate(one["trial"]), int(one["nfe"]), str(one["label"]))
        for one in chosen
    }
    name = denoiser_name(search.builder.source)
    items = [Planned(trial, name, label, label, nfe, None, False) for trial, nfe, label in trials.values()]
    plan = _plan(search, search.metric, search.spec["fresh_seed"], items)
    devices, measurement = devices_for(device), measurements(plan)[0]
    if batch is None and devices[0] == "cpu":  # a chunk a call: then no seed's row depends on what was stored before
        batch = min(measurement.chunk, call_shape(measurement.samples, devices[0], None))
    return run(plan, store, device, batch, listener=listener, record=False, executor=executor)


def _plan(search: SearchPlan, metric: Metric, first: int, items: list[Planned]) -> Plan:
    """The finals, or the search itself, as a plan with one metric."""
    name = denoiser_name(search.builder.source)
    grid = Grid(
        title=search.name,
        metrics=(metric,),  # type: ignore[arg-type]
        samples=search.spec["fresh_samples"] if first == search.spec["fresh_seed"] else search.samples,
        first_seed=first,
        chunk=None if first == search.spec["fresh_seed"] else search.block,
        denoisers={name: Panel()},
        series=[Series(name="search")],
    )
    return Plan(search.name, grid, items, "", [], {name: search.builder.description})
