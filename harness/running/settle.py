"""Levels that a grid leaves to be found: found once for a denoiser, kept in the store, and made part of the trial."""

import hashlib
from collections.abc import Mapping
from typing import Any

from harness.denoisers.load import load_denoiser
from harness.errors import InputError
from harness.planning.plan import Plan, Planned
from harness.running.workers import devices_for
from harness.sampling.discretizations import Optimized
from harness.sampling.optimize import find_levels
from harness.store import Store
from harness.trial import Trial, canonical

BATCH = 64


def settled(plan: Plan, store: Store | None, device: str | None = None) -> Plan:
    """The plan with the levels of every `optimized` discretization filled in.

    Args:
        plan: as the grid has it.
        store: remembers what was found; None to search without remembering.
        device: for the search.

    Raises:
        InputError: more steps than the search can choose from.
    """
    known: dict[str, tuple[float, ...]] = {}
    return plan._replace(items=[_settled(item, store, device, known) for item in plan.items])


def _settled(item: Planned, store: Store | None, device: str | None, known: dict[str, tuple[float, ...]]) -> Planned:
    choice, steps = item.trial.sampler.discretization, item.trial.sampler.steps
    if not isinstance(choice, Optimized) or choice.levels is not None:
        return item
    key = "levels:" + hashlib.sha256(canonical(_identity(item.trial, choice)).encode()).hexdigest()
    if key not in known:
        stored = store.fact(key) if store is not None else None
        known[key] = tuple(stored) if stored else _search(item, choice, steps, device)
        if store is not None and not stored:
            store.put_fact(key, list(known[key]))
    chosen = choice.model_copy(update={"levels": known[key]})
    sampler = item.trial.sampler.model_copy(update={"discretization": chosen})
    fields = {name: getattr(item.trial, name) for name in Trial.model_fields}
    return item._replace(trial=Trial(**(fields | {"sampler": sampler})))


def _identity(trial: Trial, choice: Optimized) -> Mapping[str, Any]:
    """What the levels depend on."""
    return {
        "weights": trial.weights,
        "dtype": trial.dtype,
        "choice": choice.model_dump(mode="json"),
        "version": choice.version,
        "steps": trial.sampler.steps,
    }


def _search(item: Planned, choice: Optimized, steps: int, device: str | None) -> tuple[float, ...]:
    denoiser = load_denoiser(item.trial.denoiser, device=devices_for(device)[0], dtype=item.trial.dtype)
    try:
        return find_levels(denoiser, choice, steps, batch=min(BATCH, choice.seeds))
    except InputError as error:
        raise InputError(f"denoiser '{item.panel}', series '{item.series}': {error}") from None
