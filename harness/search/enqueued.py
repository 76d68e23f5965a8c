"""Settings that a target names, to be tried before any suggestion: read, put into the space's words, or left out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.core.errors import InputError
from harness.sampling.stochasticity.churn import GAMMA_MAX
from harness.search import free_levels
from harness.search.candidates import Candidate, InvalidSampler, TrialBuilder
from harness.search.space import SearchSpace, SpacePoint
from harness.search.target import EnqueuedSetting, Target
from harness.search.template import SpaceError, is_searched

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler

LARGEST = 0.41421356
"""The largest gamma as spaces write it."""


class EnqueuedTrial(NamedTuple):
    """A setting that is tried first: what the target says of it, and its point; None if the space does not hold it."""

    setting: EnqueuedSetting
    candidate: Candidate
    point: SpacePoint | None


def enqueued_trials(
    target: Target, space: SearchSpace, builder: TrialBuilder, nfe: int, pareto: bool
) -> tuple[list[EnqueuedTrial], list[str]]:
    """The settings that a target tries first.

    Returns:
        Those that the budget and the denoiser allow, and notes on the others.

    Raises:
        SpaceError: one that is no sampler at all.
    """
    found, notes = [], []
    for index, known in enumerate(target.enqueue):
        filled = _filled(known, space.template)
        if pareto:
            filled["nfe"] = nfe
        try:
            setting = builder.make(filled, nfe)
        except InvalidSampler as error:
            raise SpaceError(("enqueue", index, "sampler", *error.where), f"'{known.name}': {error.message}") from None
        except InputError as error:
            notes.append(f"'{known.name}' is left out: {error}")
            continue
        found.append(EnqueuedTrial(known, setting, _located(filled, setting, space)))
    return found, notes


def _filled(known: EnqueuedSetting, template: Mapping[str, Any]) -> dict[str, Any]:
    """A known setting over what the space fixes."""
    found = {}
    for part in ("sampler", "denoiser"):
        fields = {**_fixed(template.get(part, {})), **getattr(known, part)}
        if fields or part == "sampler":
            found[part] = fields
    return found


def _fixed(template: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a space without anything to search in them."""
    return {key: value for key, value in template.items() if not is_searched(value)}


def _located(filled: dict[str, Any], setting: Candidate, space: SearchSpace) -> SpacePoint | None:
    """The point of a setting, in whichever words the space has for it."""
    sampler = setting.trial.sampler
    full = {"sampler": sampler.model_dump(mode="json")}
    for words in (filled, _by_gamma(filled, sampler)):
        for said in (words, _by_gaps(words, setting, space)):
            point = None if said is None else space.locate(said, full)
            if point is not None:
                return point
    return None


def _by_gamma(filled: dict[str, Any], sampler: "Sampler") -> dict[str, Any]:
    """Churn by its relative increase in place of S_churn."""
    noise = filled["sampler"].get("stochasticity")
    if not isinstance(noise, Mapping) or "S_churn" not in noise:
        return filled
    gamma = min(noise["S_churn"] / sampler.steps, GAMMA_MAX)
    moved = {"kind": noise["kind"], "gamma": min(gamma, LARGEST)}
    moved |= {key: value for key, value in noise.items() if key not in moved and key != "S_churn"}
    return {**filled, "sampler": {**filled["sampler"], "stochasticity": moved}}


def _by_gaps(filled: dict[str, Any], setting: Candidate, space: SearchSpace) -> dict[str, Any] | None:
    """Levels by the factors that stretch the gaps of a space with free ones; None if the space has none."""
    free = space.template["sampler"].get("discretization")
    if not free_levels.is_free(free) or is_searched({key: free[key] for key in free if key != "stretch"}):
        return None
    sampler = setting.trial.sampler
    factors = free_levels.factors_of(sampler.discretization, free, sampler.steps)
    if factors is None:
        return None
    laid = {**free, "stretch": dict(zip(free["stretch"], factors, strict=True))}
    return {**filled, "sampler": {**filled["sampler"], "discretization": laid}}
