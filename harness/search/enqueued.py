"""Enqueued trials: the settings of a target that a search tries before any suggestion."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.core.errors import InputError
from harness.core.yaml import Where
from harness.sampling.stochasticity.churn import GAMMA_MAX
from harness.search import free_levels
from harness.search.candidates import Candidate, InvalidSampler, TrialBuilder
from harness.search.space import SearchSpace, SpacePoint
from harness.search.targets import EnqueuedSetting, Target
from harness.search.template import SpaceError, is_searched

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler

LARGEST = 0.41421356
"""The largest gamma as spaces write it."""


class EnqueuedTrial(NamedTuple):
    """A setting that is tried first.

    Args:
        setting: as the target writes it.
        candidate: its trial.
        point: its point in the space; None if it lies outside.
    """

    setting: EnqueuedSetting
    candidate: Candidate
    point: SpacePoint | None


def enqueued_trials(
    target: Target, space: SearchSpace, builder: TrialBuilder, nfe: int, pareto: bool
) -> tuple[list[EnqueuedTrial], list[str]]:
    """The settings that a target tries first.

    Args:
        target: the target.
        space: its space.
        builder: builds their trials.
        nfe: evaluations a sample, at most.
        pareto: NFE is a parameter of the space.

    Returns:
        The settings that the budget and the denoiser allow, and notes on the others.

    Raises:
        SpaceError: a setting makes no sampler at any budget.
    """
    trials, notes = [], []
    for index, setting in enumerate(target.enqueue):
        filled: dict[str, Any] = {}
        for part in ("sampler", "denoiser"):
            # the setting's own fields go over the fields that the space fixes
            fixed = {key: node for key, node in space.template.get(part, {}).items() if not is_searched(node)}
            fields = {**fixed, **getattr(setting, part)}
            if fields or part == "sampler":
                filled[part] = fields
        if pareto:
            filled["nfe"] = nfe
        try:
            candidate = builder.build(filled, nfe)
        except InvalidSampler as error:
            where: Where = ("enqueue", index, "sampler", *error.where)
            raise SpaceError(where, f"'{setting.name}': {error.message}") from None
        except InputError as error:
            notes.append(f"'{setting.name}' is left out: {error}")
            continue
        trials.append(EnqueuedTrial(setting, candidate, _locate(filled, candidate.trial.sampler, space)))
    return trials, notes


def _locate(filled: dict[str, Any], sampler: "Sampler", space: SearchSpace) -> SpacePoint | None:
    """The point of a setting, written in whichever terms the space uses: S_churn or gamma, levels or free levels."""
    full = {"sampler": sampler.model_dump(mode="json")}
    for churned in (filled, _with_gamma(filled, sampler)):
        for fields in (churned, _with_free_levels(churned, sampler, space)):
            point = None if fields is None else space.locate(fields, full)
            if point is not None:
                return point
    return None


def _with_gamma(filled: dict[str, Any], sampler: "Sampler") -> dict[str, Any]:
    """A setting with gamma in place of S_churn."""
    churn = filled["sampler"].get("stochasticity")
    if not isinstance(churn, Mapping) or "S_churn" not in churn:
        return filled
    gamma = min(churn["S_churn"] / sampler.steps, GAMMA_MAX)
    written = {"kind": churn["kind"], "gamma": min(gamma, LARGEST)}
    written |= {key: value for key, value in churn.items() if key not in written and key != "S_churn"}
    return {**filled, "sampler": {**filled["sampler"], "stochasticity": written}}


def _with_free_levels(filled: dict[str, Any], sampler: "Sampler", space: SearchSpace) -> dict[str, Any] | None:
    """A setting with its levels as factors of a space's free levels; None if the space has none."""
    free = space.template["sampler"].get("discretization")
    if not free_levels.is_free(free) or is_searched({key: free[key] for key in free if key != "stretch"}):
        return None
    factors = free_levels.stretch_factors(sampler.discretization, free, sampler.steps)
    if factors is None:
        return None
    written = {**free, "stretch": dict(zip(free["stretch"], factors, strict=True))}
    return {**filled, "sampler": {**filled["sampler"], "discretization": written}}
