"""Candidates: the trial of a point of a space, at a budget of evaluations.

Candidates with the same noise at every step are one sampler, and have one identity: gamma is clamped (Karras et al.
2022, Algorithm 2); a window of levels matters only by the levels in it; where it holds none, or gamma is 0, the sampler
is deterministic.
"""

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.core.errors import InputError
from harness.core.yaml import explain
from harness.denoisers.config import DenoiserConfig, Description
from harness.denoisers.load import Source, describe, parse
from harness.experiments.checks import check_metric
from harness.experiments.nfe import check_route, count_nfe, steps_for
from harness.experiments.trial import LabelPolicy, Trial, canonical, policy
from harness.metrics.base import Metric
from harness.sampling.discretizations import EDM, Cosine, Optimized, PolyExponential, VELevels, VPLevels
from harness.sampling.sampler import Sampler
from harness.sampling.schedules import Linear, NoScaling
from harness.sampling.solvers.runge_kutta import RK2
from harness.sampling.stochasticity.churn import GAMMA_MAX, Churn
from harness.sampling.stochasticity.deterministic import Deterministic
from harness.search import free_levels

DECIMALS = 6
"""Decimal places of an S_churn that is computed from a gamma."""

SATURATED = GAMMA_MAX - 1e-7
"""A gamma of this or more means the largest."""

USUAL = (0.002, 80.0)
"""The range, sigma_min and sigma_max, that evaluations are counted over where their number does not depend on it."""


class InvalidSampler(InputError):
    """Fields that make no sampler at any budget with any denoiser; `where` is the field of the sampler."""

    def __init__(self, where: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(('sampler', *where))}: {message}")
        self.where, self.message = where, message


class Candidate(NamedTuple):
    """A trial that a search may run.

    Args:
        trial: without seeds.
        nfe: evaluations a sample.
        identity: equal for candidates that are the same sampler.
    """

    trial: Trial
    nfe: int
    identity: str


class TrialBuilder:
    """Builds candidates for one denoiser.

    Args:
        source: the denoiser: a card's name, a path, or a spec.
        metrics: metrics that must apply to every candidate.
        labels: label policy.
        dtype: type that the network runs in.
        conditions: file of conditions.
    """

    def __init__(
        self,
        source: str | DenoiserConfig,
        metrics: tuple[Metric, ...],
        labels: LabelPolicy = "random",
        dtype: Any = None,
        conditions: str | None = None,
    ) -> None:
        self.source, self.metrics, self.dtype, self.conditions = source, metrics, dtype, conditions
        self.labels = policy(labels, conditions)

    @cached_property
    def description(self) -> Description:
        """The denoiser as it is given, without searched fields of its guidance."""
        return describe(self.source)

    def build(self, filled: Mapping[str, Any], nfe: int) -> Candidate:
        """The candidate of a point.

        Args:
            filled: `sampler` and `denoiser` with values in place of ranges.
            nfe: evaluations a sample, at most.

        Raises:
            InputError: the fields make no sampler, the budget is too small for it, or a metric does not apply.
        """
        source = self._source(filled.get("denoiser") or {})
        denoiser = self.description if source is self.source else describe(source)
        sampler = _sampler(filled["sampler"], nfe, denoiser)
        for metric in self.metrics:
            check_metric(metric, sampler, denoiser)
        check_route(sampler, denoiser)
        trial = Trial(
            denoiser=source,
            weights=denoiser.identity,
            sampler=sampler,
            labels=self.labels,
            dtype=self.dtype,
            conditions=self.conditions,
        )
        return Candidate(trial, count_nfe(*_count_basis(sampler, denoiser)), identity(trial, denoiser))

    def read(self, stored: Mapping[str, Any], nfe: int) -> Candidate:
        """The candidate of a stored trial, whose evaluations are known."""
        trial = Trial.model_validate(stored)
        known = trial.weights == self.description.identity
        return Candidate(trial, nfe, identity(trial, self.description if known else describe(trial.denoiser)))

    def steps(self, raw: Mapping[str, Any], nfe: int) -> int:
        """How many steps a sampler without free levels takes at a budget."""
        return _steps(nfe, _read(raw), self.description)

    def _source(self, fields: Mapping[str, Any]) -> str | DenoiserConfig:
        """The denoiser with fields of its guidance; guidance without effect always becomes weight 1 at all levels."""
        if not fields:
            return self.source
        fields = dict(fields)
        if "sigma_lo" in fields and fields["sigma_lo"] >= fields.get("sigma_hi", math.inf):
            fields["weight"] = 1.0
        if fields.get("weight") == 1:
            fields |= {"sigma_lo": 0.0, "sigma_hi": math.inf}
        if isinstance(self.source, str):
            return parse({"kind": "cfg", "denoiser": self.source, **fields})
        plain = self.source.model_dump(mode="json")
        if self.source.kind not in ("cfg", "autoguidance"):
            return parse({"kind": "cfg", "denoiser": plain, **fields})
        return parse({**plain, **fields})


def _sampler(raw: Mapping[str, Any], nfe: int, denoiser: Description) -> Sampler:
    """The sampler of a point, with gamma and free levels in the sampler's own terms and as many steps as NFE allows."""
    plain, noise, free = dict(raw), raw.get("stochasticity"), raw.get("discretization")
    gamma = noise.get("gamma") if isinstance(noise, Mapping) else None
    if gamma is not None and isinstance(noise, Mapping):
        if noise.get("kind") != "churn" or "S_churn" in noise:
            raise InvalidSampler(
                ("stochasticity", "gamma"),
                "gamma is the relative increase of kind 'churn', in place of S_churn; remove one of them",
            )
        plain["stochasticity"] = {key: value for key, value in noise.items() if key != "gamma"}
    if isinstance(free, Mapping) and free_levels.is_free(free):
        plain["discretization"] = free_levels.edm_levels(free)
    steps = _steps(nfe, _read(plain), denoiser)
    if gamma is not None:
        plain["stochasticity"] |= {"S_churn": s_churn(gamma, steps)}
    if isinstance(free, Mapping) and free_levels.is_free(free):
        plain["discretization"] = free_levels.explicit_levels(free, steps, denoiser.sigma_min, denoiser.sigma_max)
    sampler = _read({**plain, "steps": steps})
    if isinstance(sampler.discretization, Optimized) and sampler.discretization.levels is None:
        raise InvalidSampler(
            ("discretization",), "'optimized' is a search of its own; use another kind, or give its `levels`"
        )
    return sampler


def s_churn(gamma: float, steps: int) -> float:
    """The S_churn of a gamma. For the largest gamma it is rounded up, so that the clamp applies."""
    if gamma >= SATURATED:
        return math.ceil(GAMMA_MAX * steps * 10**DECIMALS) / 10**DECIMALS
    return round(gamma * steps, DECIMALS)


def _steps(nfe: int, sampler: Sampler, denoiser: Description) -> int:
    """How many steps a sampler takes within a budget.

    Raises:
        InputError: the budget is too small, or the solver picks its own steps.
    """
    listed = sampler.discretization.count
    if listed is None:
        return steps_for(nfe, *_count_basis(sampler, denoiser)).steps
    cost = count_nfe(*_count_basis(sampler, denoiser))
    if cost > nfe:
        raise InputError(
            f"discretization '{sampler.discretization.kind}' lists {listed} levels, which take {cost} evaluations; "
            f"NFE {nfe} is too few"
        )
    return listed


def _count_basis(sampler: Sampler, denoiser: Description) -> tuple[Sampler, float, float, int, Any]:
    """The arguments that the evaluations of a sampler are counted by.

    The amount of noise does not change their number. Neither do the levels, nor the numbers of a solver with fixed
    steps that evaluates between them only, if the denoiser costs the same everywhere. Samplers that differ in these
    alone have the same arguments, and are counted once.
    """
    plain = sampler
    if isinstance(sampler.stochasticity, Churn):
        plain = sampler.model_copy(update={"stochasticity": Churn()})
    looks_past = isinstance(plain.solver, RK2) and plain.solver.alpha > 1
    on_a_range = isinstance(plain.discretization, EDM | PolyExponential | Cosine | VELevels | VPLevels)
    if (
        denoiser.window is None
        and on_a_range
        and not looks_past
        and type(plain.stochasticity) in (Churn, Deterministic)
    ):
        solver = plain.solver
        defaults = {
            name: field.default
            for name, field in type(solver).model_fields.items()
            if isinstance(getattr(solver, name), float) and isinstance(field.default, float)
        }
        usual: dict[str, Any] = {"discretization": EDM(), "schedule": Linear(), "scaling": NoScaling()}
        usual["solver"] = solver.model_copy(update=defaults)
        return plain.model_copy(update=usual), *USUAL, denoiser.cost, None
    return plain, denoiser.sigma_min, denoiser.sigma_max, denoiser.cost, denoiser.window


def identity(trial: Trial, denoiser: Description) -> str:
    """Canonical JSON that is equal for trials with the same noise levels and the same noise at each of them."""
    fields = trial.model_dump(mode="json", exclude={"denoiser"})
    sampler = trial.sampler
    ends = sampler.discretization.clamp(denoiser.sigma_min, denoiser.sigma_max)
    sigmas = sampler.discretization(sampler.steps, ends)
    curve = sampler.schedule.fit(ends.low, ends.high, sampler.discretization.vp_epsilon)
    fields["sampler"]["discretization"] = hashlib.sha256(sigmas.numpy().tobytes()).hexdigest()
    fields["sampler"]["schedule"] = curve.model_dump(mode="json")
    if isinstance(sampler.stochasticity, Churn):
        fields["sampler"]["stochasticity"] = _noise(sampler, sampler.stochasticity, sigmas.tolist(), denoiser.rounds)
    return canonical(fields)


def _noise(sampler: Sampler, churn: Churn, sigmas: list[float], rounds: bool) -> dict[str, Any]:
    """What tells one churn from another at given levels."""
    gamma = min(churn.S_churn / sampler.steps, GAMMA_MAX)
    inside = [index for index, sigma in enumerate(sigmas) if churn.S_tmin <= sigma <= churn.S_tmax]
    if gamma > 0 and rounds:  # a network that rounds sigma: which levels the window holds is not known here
        return churn.model_dump(mode="json") | {"S_churn": gamma}
    if gamma == 0 or not inside:
        return Deterministic().model_dump(mode="json")
    return {"gamma": gamma, "first": inside[0], "last": inside[-1], "S_noise": churn.S_noise}


def _read(raw: Mapping[str, Any]) -> Sampler:
    try:
        return Sampler.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(str(part) for part in first["loc"] if isinstance(part, str))
        raise InvalidSampler(where, explain(first)) from None


def denoiser_name(source: Source) -> str:
    """A short name of a denoiser, for people and for names of studies."""
    if isinstance(source, str):
        return source.rsplit("/", 1)[-1].removesuffix(".safetensors")
    spec = parse(source) if isinstance(source, Mapping) else source
    kind = getattr(spec, "kind", "denoiser")
    inner = getattr(spec, "denoiser", None)
    return f"{kind}-{denoiser_name(inner)}" if inner is not None else str(kind)
