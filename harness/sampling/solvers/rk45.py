"""Dormand and Prince's adaptive Runge-Kutta method, with a step size of its own for every sample."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.core.errors import NOT_FINITE, SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver
from harness.sampling.solvers.euler import Euler

NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
FIFTH = (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
ERROR = (-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
"""Fifth minus fourth order, the derivative at the end of the step last."""

SAFETY, LEAST, MOST, EXPONENT = 0.9, 0.2, 10.0, -1 / 5
MAX_TRIES = 2_000

Tolerance = Annotated[float, Field(gt=0, lt=1)]


class _Walk(NamedTuple):
    """Where every sample is between two levels: state, time, drift, and the size of its next step, a column each."""

    x: Tensor
    t: Tensor
    drift: Tensor
    size: Tensor


class RK45(Solver):
    """Adaptive Runge-Kutta 5(4) of Dormand and Prince, error in proportion to the tolerance, 6 NFE per step tried.

    Every sample has its own step size and error norm, the root mean square of error / (atol + rtol max(|x|, |x_next|)),
    so no sample depends on its batch. Steps are chosen as in SciPy's `solve_ivp`, whose results it repeats sample by
    sample; finding the first step takes one more NFE. Integrates in (x, t), so the schedule changes the number of
    steps. It goes from the first level to the last in one sweep; `steps` above 2 adds levels to stop at. The last step,
    to sigma = 0, is Euler's. NFE differs by sample.

    Args:
        rtol, atol: relative and absolute tolerance of one step's error, in (0, 1); atol in units of x, rtol by default.

    Raises: SamplingError where a step would have to be smaller than the spacing of float64, or after 2,000 tries.
    Source: Dormand & Prince 1980; Hairer, Norsett & Wanner 1993, section II.4; as a sampler Song et al. 2021
    (arXiv 2011.13456), who take one norm for the whole batch, with rtol = atol = 1e-5.
    """

    adaptive: ClassVar[bool] = True
    supports_afs: ClassVar[bool] = False
    starts_at_infinity: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 1
    last: ClassVar[Solver] = Euler()

    kind: Literal["rk45"] = "rk45"
    rtol: Tolerance = 1e-5
    atol: Tolerance | None = None

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        end, t = t_next.to(here.x.device), here.t.to(here.x.device).expand(len(here.x), *[1] * (here.x.ndim - 1))
        walk = _Walk(here.x, t, here.drift, self._first_size(dynamics, here, t, end))
        retried = torch.zeros_like(t, dtype=torch.bool)
        for _ in range(MAX_TRIES):
            rows = (walk.t != end).flatten().nonzero().flatten()
            if not len(rows):
                return walk.x, carry
            walk, retried = self._try(dynamics, walk, retried, rows, end)
        raise SamplingError(f"rk45 took {MAX_TRIES:,} steps between two levels; raise rtol and atol")

    def _first_size(self, dynamics: Dynamics, here: Point, t: Tensor, end: Tensor) -> Tensor:
        """A first step from the sizes of state, drift and a second difference (Hairer et al., section II.4)."""
        sign, length = (end - t).sign(), (end - t).abs()
        scale = self._scale(here.x.abs())
        d0, d1 = _norm(here.x / scale), _norm(here.drift / scale)
        guess = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1).minimum(length)
        there = dynamics.at(here.x + guess * sign * here.drift, (t + guess * sign).flatten())
        d2 = _norm((there.drift - here.drift) / scale) / guess
        largest = d1.maximum(d2)
        size = torch.where(largest <= 1e-15, (guess * 1e-3).clip(min=1e-6), (0.01 / largest) ** (1 / 5))
        return size.minimum(100 * guess).minimum(length)

    def _try(self, dynamics: Dynamics, walk: _Walk, retried: Tensor, rows: Tensor, end: Tensor) -> tuple[_Walk, Tensor]:
        """One step of the samples in `rows`: taken where its error is small enough, else made smaller."""
        x, t, drift, size = (column[rows] for column in walk)
        sign = (end - t).sign()
        least = 10 * (torch.nextafter(t, t + sign) - t).abs()
        if bool(((size < least) & retried[rows]).any()):
            raise SamplingError(f"rk45 needs steps below the spacing of float64 at t = {t.min().item():.4g}")
        t_next = t + sign * size.maximum(least)
        t_next = torch.where(sign * (t_next - end) > 0, end, t_next)
        h = t_next - t
        x_next, k = self._stages(dynamics, x, t, h, drift, rows)
        scale = self._scale(x.abs().maximum(x_next.abs()))
        error = _norm(h * _combine(ERROR, k) / scale)
        if not bool(error.isfinite().all()):
            raise SamplingError(NOT_FINITE)
        taken = error < 1
        # the error estimate is of order 5 in h; MOST where it is 0; no growth right after a step that was refused
        factor = (SAFETY * error**EXPONENT).clip(LEAST, MOST)
        factor = torch.where(taken, torch.where(retried[rows], factor.clip(max=1), factor), factor)
        new = _Walk(
            torch.where(taken, x_next, x),
            torch.where(taken, t_next, t),
            torch.where(taken, k[-1], drift),
            h.abs() * factor,
        )
        walk = _Walk(*(column.index_copy(0, rows, part) for column, part in zip(walk, new, strict=True)))
        return walk, retried.index_copy(0, rows, ~taken)

    def _scale(self, size: Tensor) -> Tensor:
        """The error that is allowed where the state has this size."""
        return (self.rtol if self.atol is None else self.atol) + size * self.rtol

    def _stages(
        self, dynamics: Dynamics, x: Tensor, t: Tensor, h: Tensor, drift: Tensor, rows: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The new state and the drifts of all seven stages; the last is the drift at the new state."""
        k, chosen = [drift], rows.tolist()
        for node, row in zip(NODES[1:], STAGES[1:], strict=True):
            k.append(dynamics.at(x + h * _combine(row, k), (t + node * h).flatten(), chosen).drift)
        x_next = x + h * _combine(FIFTH, k)
        k.append(dynamics.at(x_next, (t + h).flatten(), chosen).drift)
        return x_next, k


def _combine(weights: tuple[float, ...], k: list[Tensor]) -> Tensor:
    terms = [weight * drift for weight, drift in zip(weights, k, strict=True) if weight]
    return torch.stack(terms).sum(0)


def _norm(x: Tensor) -> Tensor:
    """Root mean square over each sample [B, 1, ...]."""
    return x.square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
