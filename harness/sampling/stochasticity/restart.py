"""Restart: go back up by adding noise, and come down again with the same solver, some number of times."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from harness.core.config import Config, Positive, freeze
from harness.core.errors import InputError
from harness.sampling.denoiser import Denoiser
from harness.sampling.discretizations.base import Range, repeated_levels
from harness.sampling.discretizations.edm import EDM
from harness.sampling.dynamics import Dynamics
from harness.sampling.stochasticity.base import USUAL_NOISE, Segment, Stochasticity


class RestartInterval(Config):
    """One restart interval.

    Args:
        t_min: the noise level at which to go back; the nearest one of the sampler's own levels is taken.
        t_max: the noise level to go back to, above t_min.
        K: how often.
        steps: noise levels from t_max to t_min, both included, at least 2.
    """

    t_min: Positive
    t_max: Positive
    K: Annotated[int, Field(ge=1, le=1000)] = 1
    steps: Annotated[int, Field(ge=2, le=1000)] = 3

    @model_validator(mode="after")
    def _upwards(self) -> "RestartInterval":
        if self.t_max <= self.t_min:
            raise ValueError(f"a restart goes up: t_max must be above t_min; we got {self.t_max:g} and {self.t_min:g}")
        return self


def _one_or_more(value: Any) -> Any:
    return freeze([value] if isinstance(value, dict | RestartInterval) else value)


class Restart(Stochasticity):
    """Restart sampling: at t_min add noise up to t_max, solve down to t_min again, K times for every interval.

    The noise added has standard deviation S_noise sqrt(t_max^2 - t_min^2), the levels on the way down are those of
    eq. 5 with this rho, and the solver is the sampler's. One float64 normal per sample is drawn at every restart.
    Without intervals it is deterministic. The authors can also churn within an interval (restart_gamma); this does not.

    Args:
        intervals: a list of {t_min, t_max, K, steps}, in units of sigma; a single one need not be a list.
        S_noise: factor on the noise, > 0, unitless; the authors use 1.003.
        rho: of the levels within an interval.

    Source: Xu et al. 2023 (arXiv 2306.14878), Algorithm 2 and Section 4.
    """

    kind: Literal["restart"] = "restart"
    intervals: Annotated[tuple[RestartInterval, ...], BeforeValidator(_one_or_more)] = ()
    S_noise: Positive = 1.0
    rho: Positive = 7.0

    @property
    def is_stochastic(self) -> bool:
        return bool(self.intervals)

    def counted(self, has_fixed_stages: bool) -> Stochasticity:
        is_usual = has_fixed_stages and self.S_noise <= USUAL_NOISE
        return self.model_copy(update={"S_noise": 1.0}) if is_usual else self

    def notes(self, sigmas: Tensor, denoiser: Denoiser) -> list[str]:
        told = []
        for interval in self.intervals:
            low = sigmas[(sigmas - interval.t_min).abs().argmin()].item()
            if low < interval.t_max:
                told += repeated_levels(self._levels(denoiser, low, interval), "of a restart")
        return told

    def _levels(self, denoiser: Denoiser, low: float, interval: RestartInterval) -> Tensor:
        """The noise levels [steps] from the top of an interval down to a level."""
        return denoiser.round_sigma(EDM(rho=self.rho)(interval.steps, Range(low, interval.t_max))).cpu()

    def segments(self, dynamics: Dynamics, times: Tensor) -> Iterator[Segment]:
        sigmas = dynamics.sigma(times[:-1])
        at: dict[int, list[RestartInterval]] = {}
        for interval in self.intervals:
            at.setdefault(int((sigmas - interval.t_min).abs().argmin()), []).append(interval)
        for index, (t, t_next) in enumerate(pairwise(times)):
            for interval in at.get(index, ()):
                yield from self._again(dynamics, t, sigmas, interval)
            yield Segment(t, t_next)

    def _again(self, dynamics: Dynamics, t: Tensor, sigmas: Tensor, interval: RestartInterval) -> Iterator[Segment]:
        """Up and down again, K times, from time t."""
        low = dynamics.sigma(t).item()
        if not low < interval.t_max <= dynamics.denoiser.sigma_max:
            raise InputError(
                f"a restart goes from the level nearest to t_min = {interval.t_min:g}, which is {low:.4g}, up to "
                f"t_max = {interval.t_max:g}, within the denoiser's range, which ends at "
                f"{dynamics.denoiser.sigma_max:g}; move t_max"
            )
        levels = self._levels(dynamics.denoiser, low, interval)
        inner = torch.cat([dynamics.curve.t(levels[:-1]), t.reshape(1)])
        for _ in range(interval.K):
            yield Segment(t, inner[0], is_renoising=True)
            for start, end in pairwise(inner):
                yield Segment(start, end)

    def renoise(self, dynamics: Dynamics, x: Tensor, segment: Segment) -> Tensor:
        sigma, sigma_up = dynamics.sigma(segment.t), dynamics.sigma(segment.t_next)
        s, s_up = dynamics.s(segment.t), dynamics.s(segment.t_next)
        added = self.S_noise * (sigma_up**2 - sigma**2).sqrt()
        return s_up * (x / s + added * dynamics.noise())
