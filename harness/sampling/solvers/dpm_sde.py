"""The SDE members of the DPM-Solver++ family: exponential integrators in lambda = -log sigma with their own noise.

The multistep ones solve the reverse SDE whose linear part shrinks by exp(-(1 + eta) h) over a step h in lambda, with
noise of standard deviation sigma_next sqrt(1 - exp(-2 eta h)) added: eta = 0 is the ODE and eta = 1 the SDE of Song et
al. Over any interval that noise is an increment of one Brownian path in the clock sigma^(-2 eta), so that steps of any
size agree on it. `dpmpp_sde` adds ancestral noise, whose limit is this SDE with eta^2 in the place of eta.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.core.config import Positive, unwritten
from harness.sampling.brownian import Power
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.adams import recent
from harness.sampling.solvers.base import SDESolver, Solver
from harness.sampling.solvers.dpm_multistep import Phi, log_step, slope_weight, slopes, third_order
from harness.sampling.solvers.dpm_single import Middle
from harness.sampling.solvers.euler import DDIM

Eta = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DPMppSDE(SDESolver):
    """DPM-Solver++ (SDE), strong order 1, 2 NFE per step (1 on the last): `dpmpp_2s` with ancestral noise.

    Both stages aim at sigma_down and add noise up to their level; the two noises are increments of one path over
    intervals that start together. With eta 1 and r 1/2 it is the SDE form of `diffusers`' singlestep scheduler.

    Args:
        eta: amount of noise, > 0, in the ancestral sense: sigma_up = eta sigma_to sqrt(1 - sigma_to^2 / sigma^2), at
            most sigma_to. 1 is the SDE of Song et al.
        S_noise: factor on the noise, > 0.
        r: position of the middle level in log sigma, in (0, 1]; 1/2 by default.
        clock: how far the path has gone at a level, which says how alike the noises of the two stages are. `sde`:
            sigma^(-2 eta^2), that of the SDE which this is a step of; `sigma`: sigma itself, as k-diffusion has it.
            Each noise alone has the same distribution in both.

    Source: Lu et al. 2022 (arXiv 2211.01095); this form is k-diffusion's sample_dpmpp_sde.
    """

    convergence_order: ClassVar[float] = 1
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_sde"] = "dpmpp_sde"
    eta: Eta = 1.0
    S_noise: Positive = 1.0
    r: Middle = 0.5
    clock: Annotated[Literal["sde", "sigma"], unwritten("sde")] = "sde"

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        sigma_next = dynamics.sigma(t_next)
        middle = here.sigma ** (1 - self.r) * sigma_next**self.r
        there = dynamics.at_level(self._to(dynamics, here, middle, here.denoised), middle)
        denoised = (1 - 0.5 / self.r) * here.denoised + 0.5 / self.r * there.denoised
        return dynamics.s(t_next) * self._to(dynamics, here, sigma_next, denoised), carry

    def _to(self, dynamics: Dynamics, here: Point, sigma_to: Tensor, denoised: Tensor) -> Tensor:
        """xbar at a lower level, with this denoised image and ancestral noise."""
        up = (self.eta * sigma_to * (1 - (sigma_to / here.sigma) ** 2).clip(min=0).sqrt()).minimum(sigma_to)
        down = (sigma_to**2 - up**2).sqrt()  # variances add up to that of the level
        clock = Power(-2 * self.eta**2 if self.clock == "sde" else 1)
        noise = dynamics.increment_between(here.sigma, sigma_to, clock)
        return denoised + down / here.sigma * (here.xbar - denoised) + self.S_noise * up * noise


class DPMpp2MSDE(SDESolver):
    """DPM-Solver++(2M) SDE, strong order 1, 1 NFE per step.

    xbar_next = exp(-(1 + eta) h) xbar + phi_1 D + (phi_1 / 2 or phi_2) D1 + noise, the phi-functions taken at
    (1 + eta) h. The first step has no D1.

    Args:
        eta: amount of noise, > 0; 1 is the SDE of Song et al.; without noise use `dpmpp_2m`.
        S_noise: factor on the noise, > 0.
        form: `midpoint` or `heun`, as for `dpmpp_2m`.

    Source: Lu et al. 2022 (arXiv 2211.01095), SDE-DPM-Solver++(2M); with eta as in k-diffusion's sample_dpmpp_2m_sde.
    """

    convergence_order: ClassVar[float] = 1
    history: ClassVar[int] = 1
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_2m_sde"] = "dpmpp_2m_sde"
    eta: Eta = 1.0
    S_noise: Positive = 1.0
    form: Literal["midpoint", "heun"] = "midpoint"

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points, h = recent(here, carry, 2), log_step(dynamics, here, t_next)
        phi = Phi.of((1 + self.eta) * h)
        change = phi.one * here.denoised
        if len(points) == 2:
            change = change + slope_weight(phi, self.form) * slopes(points, h)[0]
        return _land(dynamics, here, t_next, h, change, self.eta, self.S_noise), points


class DPMpp3MSDE(SDESolver):
    """DPM-Solver++(3M) SDE, strong order 1, 1 NFE per step.

    As `dpmpp_2m_sde` with a second difference, weighted as published (see `dpmpp_3m`). `diffusers` has -1/2 in the
    place of 1/2 in that weight, which then does not vanish with the step; k-diffusion has it as here.

    Args:
        eta: amount of noise, > 0; 1 is the SDE of Song et al.; without noise use `dpmpp_3m`.
        S_noise: factor on the noise, > 0.

    Source: k-diffusion's sample_dpmpp_3m_sde, after Lu et al. 2022 (arXiv 2211.01095).
    """

    convergence_order: ClassVar[float] = 1
    history: ClassVar[int] = 2
    last: ClassVar[Solver] = DDIM()

    kind: Literal["dpmpp_3m_sde"] = "dpmpp_3m_sde"
    eta: Eta = 1.0
    S_noise: Positive = 1.0

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points, h = recent(here, carry, 3), log_step(dynamics, here, t_next)
        change = third_order(points, h, Phi.of((1 + self.eta) * h), 1.0, "heun")
        return _land(dynamics, here, t_next, h, change, self.eta, self.S_noise), points


def _land(
    dynamics: Dynamics, here: Point, t_next: Tensor, h: Tensor, change: Tensor, eta: float, S_noise: float
) -> Tensor:
    """The decayed state, what the step adds, and the noise, at t_next."""
    spread = S_noise * dynamics.sigma(t_next) * (-torch.expm1(-2 * eta * h)).sqrt()
    noise = dynamics.increment(here.t, t_next, Power(-2 * eta))
    return dynamics.s(t_next) * (torch.exp(-(1 + eta) * h) * here.xbar + change + spread * noise)
