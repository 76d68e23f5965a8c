"""Sampler: the frozen, validated choice of every axis. YAML becomes this object with no builder between."""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.choice import Choice
from harness.sampling.denoiser import Denoiser
from harness.sampling.discretizations import EDM, Discretization
from harness.sampling.schedules import Curve, Linear, NoScaling, Scaling, Schedule
from harness.sampling.solvers import RK2, Solver
from harness.sampling.stochasticity import Deterministic, Stochasticity

MAX_STEPS = 100_000


class Route(NamedTuple):
    """A sampler bound to a denoiser: the curve sigma(t), the N noise levels and the N + 1 times, the last 0."""

    curve: Curve
    sigmas: Tensor
    times: Tensor


class Sampler(Choice):
    """Solver x discretization x schedule x scaling x stochasticity x steps; the defaults are the paper's own choices.

    Args:
        solver: how a step is taken; `heun`, `euler`, or `{kind: rk2, alpha: 0.6667}`.
        discretization: which noise levels; `edm`, `vp`, `ve`, `iddpm`.
        schedule: sigma(t) in which the ODE is solved; `linear`, `vp`, `ve`.
        scaling: s(t); `none`, `vp`.
        stochasticity: `deterministic` or `{kind: churn, S_churn: 30, ...}`.
        steps: N, the number of noise levels, >= 1.
        noise_device: where random numbers are made. `cpu`: the same images on every machine; `cuda`: the official
            stream of a GPU.

    Source: Karras et al. 2022, Table 1.
    """

    solver: Solver = RK2()
    discretization: Discretization = EDM()
    schedule: Schedule = Linear()
    scaling: Scaling = NoScaling()
    stochasticity: Stochasticity = Deterministic()
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 18
    noise_device: Literal["cpu", "cuda"] = "cpu"

    def route(self, denoiser: Denoiser) -> Route:
        """Bind to a denoiser: clamp the range to its own, lay out the levels, round them, map them to times.

        Raises:
            InputError: the range has no part in common with the denoiser's, or the levels cannot be made.
        """
        levels = self.discretization
        within = levels.clamp(denoiser.sigma_min, denoiser.sigma_max)
        curve = self.schedule.fit(within.low, within.high, levels.vp_epsilon)
        sigmas = denoiser.round_sigma(levels(self.steps, within)).cpu()
        times = torch.cat([curve.t(sigmas), torch.zeros(1, dtype=torch.float64)])
        return Route(curve, sigmas, times)

    def sigmas(self, denoiser: Denoiser) -> Tensor:
        """The N noise levels for this denoiser, float64 [N], descending."""
        return self.route(denoiser).sigmas

    def times(self, denoiser: Denoiser) -> Tensor:
        """The times t_0 > ... > t_N = 0 for this denoiser, float64 [N + 1]."""
        return self.route(denoiser).times
