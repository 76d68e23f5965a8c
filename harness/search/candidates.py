"""From a point of a space to a trial: what is searched, in the sampler's own terms, at a budget of evaluations.

Two settings with the same noise at every step are one sampler, and one trial: gamma is clamped (Karras et al. 2022,
Algorithm 2), a window of levels matters only by which of them it holds, and where it holds none, or gamma is 0, the
sampler is deterministic.
"""

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.core.errors import InputError
from harness.core.yaml import explain
from harness.denoisers.config import Description
from harness.denoisers.load import Source, describe
from harness.denoisers.specs import Spec, parse
from harness.experiments.metric import check
from harness.experiments.nfe import check_route, count_nfe, steps_for
from harness.experiments.trial import LabelPolicy, Trial, canonical
from harness.metrics.choices import FeatureMetric
from harness.metrics.diagnostics import Measure
from harness.sampling.discretizations import EDM, VE, Cosine, Optimized, PolyExponential, VPLevels
from harness.sampling.sampler import Sampler
from harness.sampling.schedules import Linear, NoScaling
from harness.sampling.solvers.runge_kutta import RK2
from harness.sampling.stochasticity.churn import GAMMA_MAX, Churn
from harness.sampling.stochasticity.deterministic import Deterministic
from harness.search import free_levels

Metric = FeatureMetric | Measure

PLACES = 6
"""Decimal places of an S_churn that comes of a gamma."""


SATURATED = GAMMA_MAX - 1e-7
"""A gamma from which on it means the largest."""

USUAL = (0.002, 80.0)
"""Range of levels that evaluations are counted over where their number does not depend on it."""


class InvalidSampler(InputError):
    """A sampler that is none whatever the budget and the denoiser are; `where` says in which of its fields."""

    def __init__(self, where: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(('sampler', *where))}: {message}")
        self.where, self.message = where, message


class Candidate(NamedTuple):
    """A trial, its evaluations a sample, and what tells it from other samplers."""

    trial: Trial
    nfe: int
    identity: str


class TrialBuilder:
    """Makes settings for one denoiser.

    Args:
        source: the denoiser: a card's name, a path, or a spec.
        metrics: that are to apply to every setting.
        labels: label policy.
        dtype: type the network runs in.
    """

    def __init__(
        self, source: str | Spec, metrics: tuple[Metric, ...], labels: LabelPolicy = "random", dtype: Any = None
    ) -> None:
        self.source, self.metrics, self.labels, self.dtype = source, metrics, labels, dtype

    @cached_property
    def described(self) -> Description:
        """The denoiser as it is given."""
        return describe(self.source)

    def make(self, filled: Mapping[str, Any], nfe: int) -> Candidate:
        """The trial of a point.

        Args:
            filled: `sampler` and `denoiser` with values in place of ranges.
            nfe: evaluations a sample, at most.

        Raises:
            InputError: they make no sampler, the budget is too small for it, or a metric does not apply.
        """
        source = self._source(filled.get("denoiser") or {})
        found = self.described if source is self.source else describe(source)
        sampler = self._sampler(filled["sampler"], nfe, found)
        for metric in self.metrics:
            check(metric, sampler, found.shape)
        check_route(sampler, found.sigma_min, found.sigma_max)
        trial = Trial(denoiser=source, weights=found.identity, sampler=sampler, labels=self.labels, dtype=self.dtype)
        return Candidate(trial, _count(sampler, found), identity(trial, found))

    def read(self, trial: Mapping[str, Any], nfe: int) -> Candidate:
        """The setting of a trial that was stored."""
        found = Trial.model_validate(trial)
        described = self.described if found.weights == self.described.identity else describe(found.denoiser)
        return Candidate(found, nfe, identity(found, described))

    def steps(self, raw: Mapping[str, Any], nfe: int) -> int:
        """How many steps a sampler without free levels takes at a budget."""
        return _steps(nfe, _read(raw), self.described)

    def _source(self, fields: Mapping[str, Any]) -> str | Spec:
        """The denoiser with fields of its guidance; where that leads nowhere, without an interval."""
        if not fields:
            return self.source
        fields = dict(fields)
        if "sigma_lo" in fields and fields["sigma_lo"] >= fields.get("sigma_hi", math.inf):
            fields["weight"] = 1.0
        if fields.get("weight") == 1:
            fields |= {"sigma_lo": 0.0, "sigma_hi": math.inf}
        if isinstance(self.source, str):
            return parse({"kind": "cfg", "denoiser": self.source, **fields})
        if self.source.kind not in ("cfg", "autoguidance"):
            return parse({"kind": "cfg", "denoiser": self.source.model_dump(mode="json"), **fields})
        return parse({**self.source.model_dump(mode="json"), **fields})

    def _sampler(self, raw: Mapping[str, Any], nfe: int, found: Description) -> Sampler:
        plain, noise, free = dict(raw), raw.get("stochasticity"), raw.get("discretization")
        gamma = noise.get("gamma") if isinstance(noise, Mapping) else None
        if gamma is not None and isinstance(noise, Mapping):
            plain["stochasticity"] = _without_gamma(noise)
        if isinstance(free, Mapping) and free_levels.is_free(free):
            plain["discretization"] = free_levels.stand_in(free)
        steps = _steps(nfe, _read(plain), found)
        if gamma is not None:
            plain["stochasticity"] = {**plain["stochasticity"], "S_churn": s_churn(gamma, steps)}
        if isinstance(free, Mapping) and free_levels.is_free(free):
            plain["discretization"] = free_levels.laid_out(free, steps, found.sigma_min, found.sigma_max)
        chosen = _read({**plain, "steps": steps})
        window = chosen.stochasticity
        if isinstance(window, Churn) and window.S_tmin > window.S_tmax:
            raise InvalidSampler(
                ("stochasticity",),
                f"S_tmin is {window.S_tmin:g} and S_tmax {window.S_tmax:g}, so noise is added nowhere; exchange them, "
                "or give the range of S_tmin `below: S_tmax`",
            )
        if isinstance(chosen.discretization, Optimized) and chosen.discretization.levels is None:
            raise InvalidSampler(
                ("discretization",), "'optimized' is a search of its own; use another kind, or give its `levels`"
            )
        return chosen


def s_churn(gamma: float, steps: int) -> float:
    """The S_churn of a gamma; of the largest one that is large enough whatever is rounded."""
    if gamma >= SATURATED:
        return math.ceil(GAMMA_MAX * steps * 10**PLACES) / 10**PLACES
    return round(gamma * steps, PLACES)


def _without_gamma(noise: Mapping[str, Any]) -> dict[str, Any]:
    if noise.get("kind") != "churn" or "S_churn" in noise:
        raise InvalidSampler(
            ("stochasticity", "gamma"), "the relative increase of kind 'churn', in place of S_churn; remove one of them"
        )
    return {key: value for key, value in noise.items() if key != "gamma"}


def _steps(nfe: int, sampler: Sampler, found: Description) -> int:
    """How many steps a sampler takes within a budget.

    Raises:
        InputError: the budget is too small, or the solver picks its own steps.
    """
    own = sampler.discretization.count
    if own is not None:
        cost = _count(sampler, found)
        if cost > nfe:
            raise InputError(
                f"discretization '{sampler.discretization.kind}' lists {own} levels, which take {cost} evaluations; "
                f"NFE {nfe} is too few"
            )
        return own
    return steps_for(nfe, *_counted(sampler, found)).steps


def _count(sampler: Sampler, found: Description) -> int:
    return count_nfe(*_counted(sampler, found))


def _counted(sampler: Sampler, found: Description) -> tuple[Sampler, float, float, int, Any]:
    """What to count the evaluations of a sampler by.

    How much noise is put in where does not change their number. Nor do the levels and the numbers of a solver with
    fixed steps that do not look past their ends, under a denoiser that costs the same everywhere; samplers that differ
    in these alone are counted once.
    """
    plain = sampler
    if isinstance(sampler.stochasticity, Churn):
        plain = sampler.model_copy(update={"stochasticity": Churn()})
    looks_past = isinstance(plain.solver, RK2) and plain.solver.alpha > 1
    on_a_range = isinstance(plain.discretization, EDM | PolyExponential | Cosine | VE | VPLevels)
    if found.window is None and on_a_range and not looks_past and type(plain.stochasticity) in (Churn, Deterministic):
        solver = plain.solver
        numbers = {
            name: field.default
            for name, field in type(solver).model_fields.items()
            if isinstance(getattr(solver, name), float) and isinstance(field.default, float)
        }
        usual: dict[str, Any] = {"discretization": EDM(), "schedule": Linear(), "scaling": NoScaling()}
        usual["solver"] = solver.model_copy(update=numbers)
        return plain.model_copy(update=usual), *USUAL, found.cost, None
    return plain, found.sigma_min, found.sigma_max, found.cost, found.window


def identity(trial: Trial, found: Description) -> str:
    """What tells a trial from others: equal for settings that are the same sampler."""
    fields = trial.model_dump(mode="json", exclude={"denoiser"})
    sampler = trial.sampler
    within = sampler.discretization.clamp(found.sigma_min, found.sigma_max)
    sigmas = sampler.discretization(sampler.steps, within)
    curve = sampler.schedule.fit(within.low, within.high, sampler.discretization.vp_epsilon)
    fields["sampler"]["discretization"] = hashlib.sha256(sigmas.numpy().tobytes()).hexdigest()
    fields["sampler"]["schedule"] = curve.model_dump(mode="json")
    if isinstance(sampler.stochasticity, Churn):
        fields["sampler"]["stochasticity"] = _noise(sampler, sampler.stochasticity, sigmas.tolist(), found.rounds)
    return canonical(fields)


def _noise(sampler: Sampler, noise: Churn, sigmas: list[float], rounds: bool) -> dict[str, Any]:
    """What tells one churn from another at given levels."""
    gamma = min(noise.S_churn / sampler.steps, GAMMA_MAX)
    none = Deterministic().model_dump(mode="json")
    if rounds:  # which levels a window holds is known only with the network's own
        return noise.model_dump(mode="json") | {"S_churn": gamma} if gamma > 0 else none
    held = [index for index, sigma in enumerate(sigmas) if noise.S_tmin <= sigma <= noise.S_tmax]
    if not held or gamma == 0:
        return none
    return {"gamma": gamma, "first": held[0], "last": held[-1], "S_noise": noise.S_noise}


def _read(raw: Mapping[str, Any]) -> Sampler:
    try:
        return Sampler.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(str(part) for part in first["loc"] if isinstance(part, str))
        raise InvalidSampler(where, explain(first)) from None


def denoiser_name(source: Source) -> str:
    """A denoiser in a word or a few, for people and for names of studies."""
    if isinstance(source, str):
        return source.rsplit("/", 1)[-1].removesuffix(".safetensors")
    spec = parse(source) if isinstance(source, Mapping) else source
    kind = getattr(spec, "kind", "denoiser")
    inner = getattr(spec, "denoiser", None)
    return f"{kind}-{denoiser_name(inner)}" if inner is not None else str(kind)
