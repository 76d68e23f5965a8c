"""Checks of a space before a search: mistakes in the template, and choices that never make a sampler."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.errors import InputError
from harness.denoisers.config import Description
from harness.hub.header import NAME_NULL_CLASS
from harness.sampling.solvers import SOLVERS
from harness.search import free_levels
from harness.search.candidates import InvalidSampler, TrialBuilder
from harness.search.space import SearchSpace
from harness.search.template import Choices, NumberRange, SpaceError, is_number, places

PROBES = 48
"""Points that are drawn to see whether a space holds samplers at all."""

TRIES = 12
"""Points that are drawn to see whether one label of a choice makes samplers."""

GUIDANCE = ("weight", "sigma_lo", "sigma_hi")
"""Fields of a guided denoiser that may be searched."""


class RandomChooser:
    """A chooser that draws at random.

    Args:
        seed: seed of its generator.
        forced: labels that are chosen in any case, by the name of their choice.
    """

    def __init__(self, seed: int, forced: Mapping[str, str] | None = None) -> None:
        self.random, self.forced = random.Random(seed), forced or {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            return min(max(float(low * (high / low) ** self.random.random()), low), high)
        return self.random.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return self.random.randint(low, high)

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        return self.forced.get(name) or self.random.choice(choices)


def check_space(template: Mapping[str, Any]) -> None:
    """Check what does not depend on the point that is drawn.

    Raises:
        SpaceError: a window that may be empty, a solver that picks its own steps, free levels inside a choice, or an
            unknown field of the guidance.
    """
    for path, where, node in places(template, ()):
        if isinstance(node, Mapping):
            if node.get("kind") == "churn":
                _check_window(node, where, "S_tmin", "S_tmax")
            if path == ("denoiser",):
                _check_window(node, where, "sigma_lo", "sigma_hi")
                for key in node:
                    if key not in GUIDANCE:
                        raise SpaceError(
                            (*where, str(key)), f"no field of the guidance; those are: {', '.join(GUIDANCE)}"
                        )
            if free_levels.is_free(node) and path != ("sampler", "discretization"):
                raise SpaceError(where, "levels are free under sampler.discretization only, not in a choice")
        if len(path) > 1 and "solver" in path[-2:]:  # a solver, or one to choose from
            kind = node.get("kind") if isinstance(node, Mapping) else node
            solver = SOLVERS.find(kind) if isinstance(kind, str) else None
            if solver is not None and solver.adaptive:
                raise SpaceError(
                    where, f"solver '{kind}' picks its own steps, and a search is at a given NFE; use another"
                )


def _check_window(node: Mapping[str, Any], where: tuple[str | int, ...], low: str, high: str) -> None:
    """Refuse a window whose lower end may lie above its upper end."""
    most, least = _end(node.get(low), "high"), _end(node.get(high), "low")
    if most is None or least is None or most <= least:
        return
    end = node[low]
    if not (isinstance(end, NumberRange) and end.below == high):
        remedy = f"give it `below: {high}`" if isinstance(end, NumberRange) else f"keep {high} above it"
        raise SpaceError((*where, low), f"{low} may be {most:g} and {high} {least:g}, an empty window; {remedy}")


def _end(node: Any, end: str) -> float | None:
    """A number, or one end of a range; None for anything else."""
    if isinstance(node, NumberRange):
        return float(getattr(node, end))
    return float(node) if is_number(node) else None


def check_guidance(template: Mapping[str, Any], denoiser: Description, guided: bool) -> None:
    """Check that the denoiser has the guidance that is searched.

    Args:
        template: of the space.
        denoiser: the denoiser of the search.
        guided: whether it is guided already.

    Raises:
        InputError: guidance is searched, and the denoiser has no classes, or does not know images without one.
    """
    if template.get("denoiser") and not guided and denoiser.label_dim == 0:
        raise InputError(
            "this target searches classifier-free guidance, which needs a class-conditional denoiser, and this one has "
            "no classes; use one that has, such as --denoiser digits-adm, or a spec of kind autoguidance"
        )
    if template.get("denoiser") and not guided and denoiser.needs_class:
        raise InputError(f"this target searches classifier-free guidance, and {NAME_NULL_CLASS}")


def probe(space: SearchSpace, builder: TrialBuilder, nfe: int) -> list[str]:
    """Draw points to see whether the space, and every label of its choices, makes samplers.

    Args:
        space: the space.
        builder: builds trials of the points.
        nfe: evaluations a sample, at most.

    Returns:
        Notes on labels that make no sampler for this denoiser at this budget.

    Raises:
        SpaceError: a label makes no sampler at any budget.
        InputError: no drawn point makes a sampler.
    """

    def failure(seed: int, forced: Mapping[str, str] | None = None) -> InputError | None:
        point = space.draw(RandomChooser(seed, forced))
        try:
            builder.build(point.filled, int(point.filled.get("nfe", nfe)))
        except InputError as error:
            return error
        return None

    def failures(count: int, forced: Mapping[str, str] | None = None) -> list[InputError]:
        """Why points make no sampler; empty as soon as one does."""
        reasons: list[InputError] = []
        for seed in range(count):
            reason = failure(seed, forced)
            if reason is None:
                return []
            reasons.append(reason)
        return reasons

    reasons = failures(PROBES)
    if reasons:
        most, _ = Counter(map(str, reasons)).most_common(1)[0]
        message = (
            f"no sampler fits this space: of {PROBES} points that were tried none makes one at NFE {nfe}, most often "
            f"because {most}"
        )
        first = reasons[0]
        if isinstance(first, InvalidSampler) and all(isinstance(reason, InvalidSampler) for reason in reasons):
            raise SpaceError(("sampler", *first.where), message)
        raise InputError(message)
    notes = []
    for one, forced in space.branches():
        reasons = failures(TRIES, forced)
        if not reasons:
            continue
        label, reason = forced[one.name], reasons[-1]
        if isinstance(reason, InvalidSampler):
            assert isinstance(one.node, Choices)
            where = (*one.where, "together" if one.node.together else "choices", one.node.labels.index(label))
            raise SpaceError(where, f"'{label}' makes no sampler: {reason}")
        notes.append(f"'{label}' of '{one.name}' makes no sampler here: {reason}")
    return notes
