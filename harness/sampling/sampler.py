"""Sampler: the frozen, validated choice of every axis. YAML becomes this object with no builder between."""

import math
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from harness.core.config import Config, unwritten
from harness.core.errors import InputError
from harness.sampling.denoiser import Denoiser, takes_infinity
from harness.sampling.discretizations import DISCRETIZATIONS, Discretization
from harness.sampling.discretizations.base import repeated_levels
from harness.sampling.discretizations.edm import EDM
from harness.sampling.schedules import (
    SCALINGS,
    SCHEDULES,
    Curve,
    Flow,
    FlowScaling,
    Linear,
    NoScaling,
    Scaling,
    Schedule,
)
from harness.sampling.solvers import SOLVERS, Solver
from harness.sampling.solvers.runge_kutta import RK2
from harness.sampling.stochasticity import STOCHASTICITY, Stochasticity
from harness.sampling.stochasticity.deterministic import Deterministic
from harness.sampling.stochasticity.langevin import Langevin

MAX_STEPS = 100_000

SWEEP = 2
"""Levels of an adaptive solver that is given none: the two ends of its sweep."""


FIRST_LEVEL = "the first level is t = 1, where sigma is infinite"
FINITE_START = "give a first level below it, such as discretization {kind: flow, t_max: 0.999}"


class TimeSteps(NamedTuple):
    """A sampler bound to a denoiser: the curve sigma(t), the N noise levels, and their times.

    A sampler that ends at sigma = 0 has 0 as one more time.
    """

    curve: Curve
    sigmas: Tensor
    times: Tensor

    @property
    def starts_at_infinity(self) -> bool:
        """Whether the first level is infinite: t = 1 of flow matching."""
        return isinstance(self.curve, Flow) and bool(self.sigmas[0].isinf())


class Sampler(Config):
    """Solver x discretization x schedule x scaling x stochasticity x steps; the defaults are the paper's own choices.

    Args:
        solver: how a step is taken; `heun`, `euler`, or `{kind: rk2, alpha: 0.6667}`.
        discretization: which noise levels; `edm`, `vp`, `ve`, `iddpm` and others.
        schedule: sigma(t) in which the ODE is solved; `linear`, `vp`, `ve`, `flow`.
        scaling: s(t); `none`, `vp`, `flow`.
        stochasticity: `deterministic`, `{kind: churn, S_churn: 30, ...}` and others.
        steps: N, the number of noise levels, >= 1; 2 by default for an adaptive solver, which steps as it likes between
            them, and the number of levels for a list of them.
        end: where the last step arrives. `zero`: at sigma = 0, N steps; `sigma_min`: at the last level, N - 1 steps,
            and the state there, freed of its scaling, is the image.
        afs: the analytical first step: eps = xbar / sqrt(1 + sigma^2) stands in for the first evaluation.
        clip_denoised: clip D to [-1, 1] before it is used, as the samplers of the ADM networks do.
        noise_device: where random numbers are made. `cpu`: the same images on every machine; `cuda`: the official
            stream of a GPU.

    Example:
        >>> from harness import Sampler, load_denoiser
        >>> levels = {"kind": "edm", "rho": 5.0}
        >>> sampler = Sampler.model_validate({"solver": "dpmpp_2m", "discretization": levels, "steps": 4})
        >>> sampler.solver
        DPMpp2M(kind='dpmpp_2m', lower_order_final=False, form='midpoint')
        >>> sampler.sigmas(load_denoiser("ideal"))
        tensor([8.0000e+01, 1.4102e+01, 9.6602e-01, 2.0000e-03], dtype=torch.float64)
        >>> Sampler.model_validate_json(sampler.model_dump_json()) == sampler
        True

    Source: Karras et al. 2022, Table 1; for afs Dockhorn, Vahdat & Kreis 2022 (arXiv 2210.05475).
    """

    solver: Annotated[Solver, SOLVERS] = RK2()
    discretization: Annotated[Discretization, DISCRETIZATIONS] = EDM()
    schedule: Annotated[Schedule, SCHEDULES] = Linear()
    scaling: Annotated[Scaling, SCALINGS] = NoScaling()
    stochasticity: Annotated[Stochasticity, STOCHASTICITY] = Deterministic()
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 18
    end: Annotated[Literal["zero", "sigma_min"], unwritten("zero")] = "zero"
    afs: bool = False
    clip_denoised: bool = False
    noise_device: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _fitting(self) -> "Sampler":
        """Settle the number of steps where a choice settles it, and refuse pairs that make no sense."""
        own = self._own_steps()
        if own is not None and "steps" not in self.model_fields_set:
            self.__dict__["steps"] = own  # it is not frozen yet: nobody has it
        self._check_pairs()
        return self

    def _own_steps(self) -> int | None:
        """The number of levels that another axis implies; None where `steps` is free."""
        if self.discretization.count is not None:
            return self.discretization.count
        return SWEEP if self.solver.adaptive else None

    def _check_pairs(self) -> None:
        solver, noise = self.solver, self.stochasticity
        if solver.is_stochastic and noise.is_stochastic and not isinstance(noise, Langevin):
            raise ValueError(
                f"solver '{solver.kind}' adds its own noise and cannot take stochasticity '{noise.kind}'; use "
                "'deterministic', or an ODE solver such as 'heun'"
            )
        if solver.history and not noise.keeps_history:
            raise ValueError(
                f"solver '{solver.kind}' keeps earlier points, and stochasticity '{noise.kind}' moves the sample off "
                "their trajectory; use a single-step solver such as 'heun' or 'dpm_2', or 'ancestral'"
            )
        if self.afs and not solver.supports_afs:
            raise ValueError(
                f"solver '{solver.kind}' cannot start from the analytical first step; remove afs, or use one with "
                "fixed steps and no noise of its own"
            )
        if self.afs and noise.is_stochastic and isinstance(noise, Langevin):
            raise ValueError(
                "stochasticity 'langevin' evaluates before the first step, so afs saves nothing; remove it"
            )
        levels = self.discretization
        if levels.count not in (None, self.steps):
            raise ValueError(
                f"discretization '{levels.kind}' lists {levels.count} levels and steps is {self.steps}; remove steps"
            )

    def check_ode(self, purpose: str) -> None:
        """Refuse a sampler whose trajectory is not that of the probability flow ODE.

        Args:
            purpose: what needs it, for the message.

        Raises:
            InputError: with the axis and the kind that draw noise.
        """
        for axis, choice in self._noisy():
            raise InputError(
                f"{purpose} follows the ODE, and {axis} '{choice.kind}' draws noise; use an ODE solver such as 'heun' "
                "and stochasticity 'deterministic'"
            )

    def _noisy(self) -> list[tuple[str, Solver | Stochasticity]]:
        axes: dict[str, Any] = {"solver": self.solver, "stochasticity": self.stochasticity}
        return [(axis, choice) for axis, choice in axes.items() if choice.is_stochastic]

    @property
    def least_steps(self) -> int:
        """The smallest number of levels that makes sense: a multistep method, and afs, need a step beside the last."""
        steps = 2 if self.solver.history or self.solver.adaptive or self.afs else 1
        return steps if self.end == "zero" else max(steps, 2)

    def time_steps(self, denoiser: Denoiser) -> TimeSteps:
        """Bind to a denoiser: clamp the range to its own, lay out the levels, round them, map them to times.

        Raises:
            InputError: the range has no part in common with the denoiser's, or the levels cannot be made.
        """
        if self.steps < self.least_steps:
            ends = "" if self.end == "zero" else f" with end {self.end}"
            why = "afs needs" if self.afs else f"solver '{self.solver.kind}'{ends} needs"
            raise InputError(f"{why} at least {self.least_steps} levels; we got steps {self.steps}; raise it")
        levels = self.discretization
        within = levels.clamp(denoiser.sigma_min, denoiser.sigma_max)
        if within.high == math.inf:
            self._check_start(denoiser)
        curve = self.schedule.fit(within.low, within.high, levels.vp_epsilon)
        sigmas = denoiser.round_sigma(levels(self.steps, within)).cpu()
        times = curve.t(sigmas)
        if self.end == "zero":
            times = torch.cat([times, torch.zeros(1, dtype=torch.float64)])
        return TimeSteps(curve, sigmas, times)

    def starts_at_infinity(self, sigma_min: float, sigma_max: float) -> bool:
        """Whether the first level over a denoiser's range is infinite.

        Raises:
            InputError: nothing is left of the range.
        """
        return self.discretization.clamp(sigma_min, sigma_max).high == math.inf

    def _check_start(self, denoiser: Denoiser) -> None:
        """Refuse what cannot start at t = 1, where sigma is infinite."""
        axes = (("schedule", self.schedule, Flow), ("scaling", self.scaling, FlowScaling))
        for axis, choice, needed in axes:
            if not isinstance(choice, needed):
                raise InputError(
                    f"{FIRST_LEVEL} and needs schedule and scaling 'flow'; we got {axis} '{choice.kind}'; set both, or "
                    f"{FINITE_START}"
                )
        needing: list[tuple[str, bool]] = [
            (f"solver '{self.solver.kind}'", self.solver.is_stochastic),
            (f"stochasticity '{self.stochasticity.kind}'", not self.stochasticity.starts_at_infinity),
            ("afs", self.afs),
            ("this denoiser, which knows no t = 1,", not takes_infinity(denoiser)),
        ]
        for name, needs_finite in needing:
            if needs_finite:
                raise InputError(f"{FIRST_LEVEL}, and {name} needs a finite one; {FINITE_START}")

    @property
    def counted(self) -> "Sampler":
        """A sampler that makes as many evaluations, where all cost the same, and is refused for the same reasons.

        The samplers of a sweep over amounts of noise have one in common.
        """
        stochasticity = self.stochasticity.counted(self.solver.has_fixed_stages)
        return self if stochasticity is self.stochasticity else self._with(stochasticity)

    @property
    def laid_out(self) -> "Sampler":
        """A sampler with the same levels and times, and the same for every choice of stochasticity."""
        return self if isinstance(self.stochasticity, Deterministic) else self._with(Deterministic())

    def _with(self, stochasticity: Stochasticity) -> "Sampler":
        return self.model_copy(update={"stochasticity": stochasticity})

    def notes(self, denoiser: Denoiser) -> list[str]:
        """Settings without effect at this denoiser's levels, or at this number of them, in sentences; mostly none.

        Such a sampler runs. `harness plan`, the rows of a run and the report show them. There are none while the levels
        are still to be found.

        Raises:
            InputError: as `time_steps`.
        """
        if self.discretization.is_open:
            return []
        sigmas = self.sigmas(denoiser)
        return [*self.level_notes(sigmas, denoiser), *self.stochasticity.notes(sigmas, denoiser)]

    def level_notes(self, sigmas: Tensor, denoiser: Denoiser) -> list[str]:
        """Those of its notes that are about discretization and solver.

        Args:
            sigmas: its noise levels [N] on the denoiser.
            denoiser: which.
        """
        within = self.discretization.clamp(denoiser.sigma_min, denoiser.sigma_max)
        return [
            *self.discretization.notes(within),
            *repeated_levels(sigmas),
            *self.solver.notes(sigmas if self.solver.starts_at_infinity else sigmas[sigmas.isfinite()]),
        ]

    def sigmas(self, denoiser: Denoiser) -> Tensor:
        """The N noise levels for this denoiser, float64 [N], descending."""
        return self.time_steps(denoiser).sigmas

    def times(self, denoiser: Denoiser) -> Tensor:
        """The times t_0 > ... > t_N = 0 for this denoiser, float64 [N + 1]; without the 0 if it ends at sigma_min."""
        return self.time_steps(denoiser).times
