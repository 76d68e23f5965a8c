"""The adaptive SDE solver of Jolicoeur-Martineau et al., with a step size of its own for every sample."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.core.config import Positive, Real
from harness.core.errors import NOT_FINITE, SamplingError
from harness.sampling.brownian import Clock
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers import sde_form
from harness.sampling.solvers.base import SDESolver, Solver
from harness.sampling.solvers.euler import DDIM
from harness.sampling.solvers.rk45 import MAX_TRIES, Tolerance

Share = Annotated[float, Field(gt=0, le=1)]

BITS = 6
"""Binary digits of a step's size after the first: sizes are 0.8% to 1.6% apart."""


class _Walk(NamedTuple):
    """Where every sample is between two levels: state, the low-order state before it, time tau, and the next step."""

    x: Tensor
    before: Tensor
    tau: Tensor
    size: Tensor


class _Terms(NamedTuple):
    """Drift and diffusion of the SDE in tau, at an evaluated point."""

    drift: Tensor
    diffusion: Tensor


class AdaptiveSDE(SDESolver):
    """Adaptive stochastic improved Euler, 2 NFE per step tried; no order is claimed.

    With f and g drift and diffusion of the SDE (paper eq. 6, Song et al.'s beta) in a time tau, and one noise z for
    both stages,

        x' = x + h f(x, tau) + g(tau) sqrt(|h|) z
        x~ = x + h f(x', tau + h) + g(tau + h) sqrt(|h|) z        x'' = (x' + x~) / 2

    a step is taken, to x'', where the root mean square of (x' - x'') / max(atol, rtol max(|x'|, |x'_before|)) is at
    most 1; the next size is the old one times safety error^-exponent, at most `growth`. Every sample has its own size.
    It goes from the first level to the last in one sweep; `steps` above 2 adds levels to stop at. The last step lands
    on the denoised image. NFE differs by sample.

    Here z is an increment of the sample's Brownian path, so that a step tried again at a smaller size goes on from the
    same noise; the authors draw anew, which favours noise that is easily accepted. Sizes are cut to `BITS` bits: a path
    is rough, so that a size that differs in the last digit, as it does when a batch is split another way, would soon
    lead to other steps.

    Args:
        rtol, atol: relative and absolute tolerance; the authors use 0.01 to 0.5 and the width of a byte, 2/256.
        safety, exponent: of the step size controller, in (0, 1].
        growth: the most that a step is longer than the last, above 1. The authors set no limit ("inf"); a step whose
            error happens to vanish, as it does for images of few numbers, is then followed by one over all that is
            left, and that by one as much too short, over and over.
        first: first step, as a part of the interval.
        time: tau is `t`, that of the schedule, which with schedule `vp` is the authors' for the VP process; or
            `log_sigma`, in which their VE process is uniform.

    Raises: SamplingError after 2,000 tries between two levels, or where the state is not finite.
    Source: Jolicoeur-Martineau et al. 2021 (arXiv 2105.14080), Algorithm 1.
    """

    adaptive: ClassVar[bool] = True
    convergence_order: ClassVar[float | None] = None
    last: ClassVar[Solver] = DDIM()

    kind: Literal["adaptive_sde"] = "adaptive_sde"
    rtol: Tolerance = 0.05
    atol: Positive = 0.0078
    safety: Share = 0.9
    exponent: Share = 0.9
    growth: Annotated[Real, Field(gt=1)] = 10.0
    first: Share = 0.01
    time: Literal["t", "log_sigma"] = "t"

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        end, start = (self._tau(dynamics, t).to(here.x.device) for t in (t_next, here.t))
        tau = start.expand(len(here.x), *[1] * (here.x.ndim - 1))
        walk = _Walk(here.x, here.x, tau, self.first * (end - tau).abs())
        point: Point | None = here
        for _ in range(MAX_TRIES):
            rows = (walk.tau != end).flatten().nonzero().flatten()
            if not len(rows):
                return walk.x, carry
            walk = self._try(dynamics, walk, rows, end, point)
            point = None
        raise SamplingError(f"adaptive_sde tried {MAX_TRIES:,} steps between two levels; raise rtol and atol")

    def _try(self, dynamics: Dynamics, walk: _Walk, rows: Tensor, end: Tensor, point: Point | None) -> _Walk:
        """One step of the samples in `rows`: taken where its error is small enough, else made smaller."""
        x, before, tau, size = (column[rows] for column in walk)
        chosen, left = rows.tolist(), end - tau
        h = torch.where(size < left.abs(), left.sign() * size, left)
        tau_next = torch.where(h == left, end, tau + h)
        t, t_next = (self._t(dynamics, at).flatten() for at in (tau, tau_next))
        z = dynamics.increment(t, t_next, self._clock(dynamics), chosen) * h.abs().sqrt()
        here = self._terms(dynamics, point if point is not None else dynamics.at(x, t, chosen))
        one = h * here.drift + here.diffusion * z
        there = self._terms(dynamics, dynamics.at(x + one, t_next, chosen))
        two = h * there.drift + there.diffusion * z  # the same z: the two differ by discretization, not by noise
        low, high = x + one, x + (one + two) / 2
        allowed = (self.rtol * low.abs().maximum(before.abs())).clip(min=self.atol)
        error = ((low - high) / allowed).square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
        if not bool(error.isfinite().all()):
            raise SamplingError(NOT_FINITE)
        taken = error <= 1
        new = _Walk(
            torch.where(taken, high, x),
            torch.where(taken, low, before),
            torch.where(taken, tau_next, tau),
            _cut(h.abs() * (self.safety * error.clip(min=1e-12) ** -self.exponent).clip(max=self.growth)),
        )
        return _Walk(*(column.index_copy(0, rows, part) for column, part in zip(walk, new, strict=True)))

    def _tau(self, dynamics: Dynamics, t: Tensor) -> Tensor:
        return t if self.time == "t" else dynamics.sigma(t).log()

    def _t(self, dynamics: Dynamics, tau: Tensor) -> Tensor:
        return tau if self.time == "t" else dynamics.curve.t(tau.exp())

    def _clock(self, dynamics: Dynamics) -> Clock:
        return dynamics.curve.t if self.time == "t" else torch.log

    def _terms(self, dynamics: Dynamics, point: Point) -> _Terms:
        """Drift and diffusion in tau: those in t times dt/dtau and its root."""
        rate = sde_form.SongRate()
        drift, diffusion = sde_form.drift(dynamics, point, rate), sde_form.diffusion(dynamics, point.t, rate)
        if self.time == "t":
            return _Terms(drift, diffusion)
        stretch = point.sigma / dynamics.curve.sigma_dot(point.t)
        return _Terms(stretch * drift, stretch.sqrt() * diffusion)


def _cut(size: Tensor) -> Tensor:
    """Positive float64 numbers, with the last digits of their 52 dropped."""
    return (size.view(torch.int64) & (-1 << (52 - BITS))).view(torch.float64)
