"""Whether a space holds samplers: what is wrong whatever is drawn from it, and which of its choices never make one."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from harness.core.errors import InputError
from harness.denoisers.config import Description
from harness.sampling.solvers import MEMBERS
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

_ADAPTIVE = {get_args(one.model_fields["kind"].annotation)[0] for one in MEMBERS if one.adaptive}


class RandomChooser:
    """A chooser that draws at random.

    Args:
        seed: of its own random numbers.
        forced: labels that are chosen in any case.
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
    """Refuse what is wrong whatever is drawn.

    Raises:
        SpaceError: a window that may be empty, a solver with steps of its own, levels in a place where they cannot be
            free, or a field of the guidance that is none; with the place.
    """
    for path, where, node in places(template, ()):
        if isinstance(node, Mapping):
            _check_window(node, where, "S_tmin", "S_tmax", node.get("kind") == "churn")
            if path == ("denoiser",):
                _check_window(node, where, "sigma_lo", "sigma_hi", True)
                for key in node:
                    if key not in GUIDANCE:
                        raise SpaceError(
                            (*where, str(key)), f"no field of the guidance; those are: {', '.join(GUIDANCE)}"
                        )
            if free_levels.is_free(node) and path != ("sampler", "discretization"):
                raise SpaceError(where, "levels are free under sampler.discretization only, not in a choice")
        if _is_solver(path):
            kind = node.get("kind") if isinstance(node, Mapping) else node
            if isinstance(kind, str) and kind in _ADAPTIVE:
                raise SpaceError(
                    where,
                    f"solver '{kind}' picks its own steps, and a search is at a given NFE; use another",
                )


def _is_solver(path: tuple[str, ...]) -> bool:
    """Whether a solver, or one to choose from, stands at a path."""
    return len(path) > 1 and "solver" in path[-2:]


def _check_window(node: Mapping[str, Any], where: tuple[str | int, ...], low: str, high: str, applies: bool) -> None:
    """The lower end of a window cannot come to lie above the upper one."""
    if not applies:
        return
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


def check_guidance(template: Mapping[str, Any], found: Description, guided: bool) -> None:
    """Guidance that is searched needs a denoiser with classes, or one that is guided already.

    Raises:
        InputError: it has none.
    """
    if template.get("denoiser") and not guided and found.label_dim == 0:
        raise InputError(
            "this target searches classifier-free guidance, which needs a class-conditional denoiser, and this one has "
            "no classes; use one that has, such as --denoiser digits-adm, or a spec of kind autoguidance"
        )


def probe(space: SearchSpace, builder: TrialBuilder, nfe: int) -> list[str]:
    """Draw points, of every choice's labels too.

    Returns:
        Notes on labels that make no sampler for this denoiser at this budget.

    Raises:
        SpaceError: a label that never makes a sampler, whatever the budget and the denoiser.
        InputError: nothing that is drawn makes a sampler.
    """
    _any(space, builder, nfe)
    notes = []
    for one, forced in space.branches():
        reason: InputError | None = None
        for number in range(TRIES):
            reason = _reason(space, builder, nfe, RandomChooser(number, forced))
            if reason is None:
                break
        if reason is None:
            continue
        assert isinstance(one.node, Choices)
        index = one.node.labels.index(forced[one.name])
        if isinstance(reason, InvalidSampler):
            where = (*one.where, "together" if one.node.together else "choices", index)
            raise SpaceError(where, f"'{forced[one.name]}' makes no sampler: {reason}")
        notes.append(f"'{forced[one.name]}' of '{one.name}' makes no sampler here: {reason}")
    return notes


def _any(space: SearchSpace, builder: TrialBuilder, nfe: int) -> None:
    reasons: Counter[str] = Counter()
    wrong = []
    for number in range(PROBES):
        reason = _reason(space, builder, nfe, RandomChooser(number))
        if reason is None:
            return
        reasons[str(reason)] += 1
        wrong += [reason] if isinstance(reason, InvalidSampler) else []
    reason_of_most, _ = reasons.most_common(1)[0]
    message = (
        f"no sampler fits this space: of {PROBES} points that were tried none makes one at NFE {nfe}, most often "
        f"because {reason_of_most}"
    )
    raise SpaceError(("sampler", *wrong[0].where), message) if len(wrong) == PROBES else InputError(message)


def _reason(space: SearchSpace, builder: TrialBuilder, nfe: int, chooser: RandomChooser) -> InputError | None:
    """Why a point makes no sampler; None if it does."""
    point = space.draw(chooser)
    try:
        builder.make(point.filled, int(point.filled.get("nfe", nfe)))
    except InputError as error:
        return error
    return None
