"""Levels that a grid leaves to be found: found once for a denoiser, kept in the store, and made part of the trial."""

import hashlib
from collections.abc import Mapping
from typing import Any

from harness.core.errors import InputError
from harness.denoisers.load import load_denoiser
from harness.execution.devices import devices_for
from harness.experiments.plan import Plan, Planned
from harness.experiments.trial import Trial, canonical
from harness.sampling.denoiser import Denoiser
from harness.sampling.discretizations import Optimized
from harness.sampling.optimize import find_levels
from harness.store.database import Store

BATCH = 64


def fill_levels(plan: Plan, store: Store | None, device: str | None = None, search: bool = True) -> Plan:
    """The plan with the levels of every `optimized` discretization filled in.

    Args:
        plan: as the grid has it.
        store: remembers what was found; None to search without remembering.
        device: for the search.
        search: find levels that are not known; otherwise their trials stay as they are.

    Raises:
        InputError: more steps than the search can choose from.
    """
    searches = _Searches(store, device, search)
    return plan._replace(items=[_filled(item, searches) for item in plan.items])


class _Searches:
    """Levels by what they depend on: known ones, the store's, and new ones; a network is loaded once."""

    def __init__(self, store: Store | None, device: str | None, search: bool) -> None:
        self.store, self.device, self.search = store, device, search
        self.known: dict[str, tuple[float, ...] | None] = {}
        self.denoisers: dict[tuple[str, str | None], Denoiser] = {}

    def levels(self, item: Planned, choice: Optimized) -> tuple[float, ...] | None:
        """The levels for a trial; None where they are not known and not to be searched."""
        identity = canonical(_identity(item.trial, choice))
        key = "levels:" + hashlib.sha256(identity.encode()).hexdigest()
        if key not in self.known:
            stored = self.store.fact(key) if self.store is not None else None
            self.known[key] = tuple(stored) if stored else self._find(item, choice) if self.search else None
            if self.store is not None and self.search and not stored:
                self.store.put_fact(key, list(self.known[key] or ()))
        return self.known[key]

    def _find(self, item: Planned, choice: Optimized) -> tuple[float, ...]:
        name = (item.trial.weights, item.trial.dtype)
        if name not in self.denoisers:
            device = devices_for(self.device)[0]
            self.denoisers[name] = load_denoiser(item.trial.denoiser, device=device, dtype=item.trial.dtype)
        try:
            steps, batch = item.trial.sampler.steps, min(BATCH, choice.seeds)
            return find_levels(self.denoisers[name], choice, steps, batch=batch)
        except InputError as error:
            raise InputError(f"denoiser '{item.panel}', series '{item.series}': {error}") from None


def _filled(item: Planned, searches: _Searches) -> Planned:
    choice = item.trial.sampler.discretization
    if not isinstance(choice, Optimized) or choice.levels is not None:
        return item
    levels = searches.levels(item, choice)
    if levels is None:
        return item
    sampler = item.trial.sampler.model_copy(update={"discretization": choice.model_copy(update={"levels": levels})})
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
