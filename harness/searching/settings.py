"""From a point of a space to a trial: what is searched, in the sampler's own terms, at a budget of evaluations.

Two settings with the same noise at every step are one sampler, and one trial: gamma is clamped (Karras et al. 2022,
Algorithm 2), a window of levels matters only by which of them it holds, and where it holds none, or gamma is 0, the
sampler is deterministic.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.denoisers.load import Description, Source, describe
from harness.denoisers.specs import Spec, parse
from harness.errors import InputError
from harness.evaluation.choices import FeatureMetric
from harness.laboratory import Measure
from harness.planning.metric import check
from harness.planning.nfe import count_nfe, steps_for
from harness.sampling.discretizations import Optimized
from harness.sampling.sampler import Sampler
from harness.sampling.stochasticity.churn import GAMMA_MAX, Churn
from harness.searching import levels
from harness.trial import LabelPolicy, Trial, canonical
from harness.yamlfile import first_mistake

Metric = FeatureMetric | Measure

PLACES = 6
"""Decimal places of an S_churn that comes of a gamma."""


class Setting(NamedTuple):
    """A trial, its evaluations a sample, and what tells it from other samplers."""

    trial: Trial
    nfe: int
    identity: str


class Maker:
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

    def make(self, filled: Mapping[str, Any], nfe: int) -> Setting:
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
        trial = Trial(denoiser=source, weights=found.identity, sampler=sampler, labels=self.labels, dtype=self.dtype)
        return Setting(trial, count_nfe(_plain(sampler), *_cost(found)), identity(trial, found))

    def read(self, trial: Mapping[str, Any], nfe: int) -> Setting:
        """The setting of a trial that was stored."""
        found = Trial.model_validate(trial)
        described = self.described if found.weights == self.described.identity else describe(found.denoiser)
        return Setting(found, nfe, identity(found, described))

    def steps(self, raw: Mapping[str, Any], nfe: int) -> int:
        """How many steps a sampler without free levels takes at a budget."""
        return steps_for(nfe, _read(raw), *_cost(self.described)).steps

    def _source(self, fields: Mapping[str, Any]) -> str | Spec:
        if not fields:
            return self.source
        if isinstance(self.source, str):
            return parse({"kind": "cfg", "denoiser": self.source, **fields})
        if self.source.kind not in ("cfg", "autoguidance"):
            return parse({"kind": "cfg", "denoiser": self.source.model_dump(mode="json"), **fields})
        return parse({**self.source.model_dump(mode="json"), **fields})

    def _sampler(self, raw: Mapping[str, Any], nfe: int, found: Description) -> Sampler:
        plain, noise, free = dict(raw), raw.get("stochasticity"), raw.get("discretization")
        gamma = noise.get("gamma") if isinstance(noise, Mapping) else None
        if gamma is not None and isinstance(noise, Mapping):
            plain["stochasticity"] = {key: value for key, value in noise.items() if key != "gamma"}
        if isinstance(free, Mapping) and levels.is_free(free):
            plain["discretization"] = levels.stand_in(free)
        sampler = steps_for(nfe, _plain(_read(plain)), *_cost(found))
        if gamma is not None:
            plain["stochasticity"] = {**plain["stochasticity"], "S_churn": round(gamma * sampler.steps, PLACES)}
        if isinstance(free, Mapping) and levels.is_free(free):
            plain["discretization"] = levels.laid_out(free, sampler.steps, found.sigma_min, found.sigma_max)
        chosen = _read({**plain, "steps": sampler.steps})
        window = chosen.stochasticity
        if isinstance(window, Churn) and window.S_tmin > window.S_tmax:
            raise InputError(
                f"S_tmin is {window.S_tmin:g} and S_tmax {window.S_tmax:g}, so noise is added nowhere; exchange them, "
                "or give the range of S_tmin `below: S_tmax`"
            )
        if isinstance(chosen.discretization, Optimized) and chosen.discretization.levels is None:
            raise InputError("discretization 'optimized' is a search of its own; use another, or give its levels")
        return chosen


def identity(trial: Trial, found: Description) -> str:
    """What tells a trial from others: equal for settings that are the same sampler."""
    fields = trial.model_dump(mode="json", exclude={"denoiser"})
    noise = trial.sampler.stochasticity
    if isinstance(noise, Churn):
        fields["sampler"]["stochasticity"] = _noise(trial.sampler, noise, found)
    return canonical(fields)


def _noise(sampler: Sampler, noise: Churn, found: Description) -> Any:
    gamma = min(noise.S_churn / sampler.steps, GAMMA_MAX)
    same: Any = noise.model_dump(mode="json") | {"S_churn": gamma}
    if found.rounds:  # which levels a window holds is known only with the network's own
        return same if gamma > 0 else "deterministic"
    levels = sampler.discretization
    sigmas = levels(sampler.steps, levels.clamp(found.sigma_min, found.sigma_max))
    held = [index for index, sigma in enumerate(sigmas.tolist()) if noise.S_tmin <= sigma <= noise.S_tmax]
    if not held or gamma == 0:
        return "deterministic"
    return {"gamma": gamma, "first": held[0], "last": held[-1], "S_noise": noise.S_noise}


def _plain(sampler: Sampler) -> Sampler:
    """The same evaluations: how much noise is put in where does not change their number."""
    if not isinstance(sampler.stochasticity, Churn):
        return sampler
    return sampler.model_copy(update={"stochasticity": Churn()})


def _read(raw: Mapping[str, Any]) -> Sampler:
    try:
        return Sampler.model_validate(dict(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        message = first_mistake(error)
        raise InputError(f"sampler{'.' + where if where else ''}: {message}") from None


def _cost(found: Description) -> tuple[float, float, int, Any]:
    return found.sigma_min, found.sigma_max, found.cost, found.window


def denoiser_name(source: Source) -> str:
    """A denoiser in a word or a few, for people and for names of studies."""
    if isinstance(source, str):
        return source.rsplit("/", 1)[-1].removesuffix(".safetensors")
    spec = parse(source) if isinstance(source, Mapping) else source
    kind = getattr(spec, "kind", "denoiser")
    inner = getattr(spec, "denoiser", None)
    return f"{kind}-{denoiser_name(inner)}" if inner is not None else str(kind)
