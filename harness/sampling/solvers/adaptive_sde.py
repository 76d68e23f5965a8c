"""The adaptive SDE solver of Jolicoeur-Martineau et al., with a step size of its own for every sample."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.choice import Positive
from harness.errors import SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers import sde_form
from harness.sampling.solvers.euler import DDIM
from harness.sampling.solvers.method import Method
from harness.sampling.solvers.rk45 import MAX_TRIES, Tolerance

Share = Annotated[float, Field(gt=0, le=1)]


class _Walk(NamedTuple):
    """Where every sample is between two levels: state, the low-order state before it, time, and the next step."""

    x: Tensor
    before: Tensor
    t: Tensor
    size: Tensor


class AdaptiveSDE(Method):
    """Adaptive stochastic improved Euler, 2 NFE per step tried; declares no order.

    With f and g drift and diffusion of the SDE (paper eq. 6, Song et al.'s beta) and one noise z for both stages,

        x' = x + h f(x, t) + g(t) sqrt(|h|) z        x~ = x + h f(x', t + h) + g(t + h) sqrt(|h|) z        x'' = (x' +
        x~) / 2

    a step is taken, to x'', where the root mean square of (x' - x'') / max(atol, rtol max(|x'|, |x'_before|)) is at
    most 1; the next size is the old one times safety error^-exponent. Every sample has its own size. It goes from the
    first level to the last in one sweep (`steps` above 2 adds levels to stop at) in the time of the schedule: use the
    schedule and scaling of the network. The last step lands on the denoised image. NFE differs by sample.

    Here z is an increment of the sample's Brownian path, so that a step tried again at a smaller size goes on from the
    same noise; the authors draw anew, which favours noise that is easily accepted.

    Args:
        rtol, atol: relative and absolute tolerance; the authors use 0.01 to 0.5 and the width of a byte, 2/256.
        safety, exponent: of the step size controller, in (0, 1].
        first: first step, as a part of the interval.

    Shapes: x [B, C, H, W] float64, any image shape; t ().
    Raises: SamplingError after 10,000 tries between two levels, or where the state is not finite.
    Source: Jolicoeur-Martineau et al. 2021 (arXiv 2105.14080), Algorithm 1.
    """

    stochastic: ClassVar[bool] = True
    adaptive: ClassVar[bool] = True
    opens: ClassVar[bool] = False

    kind: Literal["adaptive_sde"] = "adaptive_sde"
    rtol: Tolerance = 0.05
    atol: Positive = 0.0078
    safety: Share = 0.9
    exponent: Share = 0.9
    first: Share = 0.01

    @property
    def declared(self) -> None:
        return None

    @property
    def last(self) -> DDIM:
        return DDIM()

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        end, t = t_next.to(here.x.device), here.t.to(here.x.device).expand(len(here.x), 1, 1, 1)
        walk = _Walk(here.x, here.x, t, self.first * (end - t).abs())
        point: Point | None = here
        for _ in range(MAX_TRIES):
            rows = (walk.t != end).flatten().nonzero().flatten()
            if not len(rows):
                return walk.x, carry
            walk = self._try(dynamics, walk, rows, end, point)
            point = None
        raise SamplingError(f"adaptive_sde tried {MAX_TRIES:,} steps between two levels; raise rtol and atol")

    def _try(self, dynamics: Dynamics, walk: _Walk, rows: Tensor, end: Tensor, point: Point | None) -> _Walk:
        """One step of the samples in `rows`: taken where its error is small enough, else made smaller."""
        x, before, t, size = (column[rows] for column in walk)
        rate, chosen, h = sde_form.SongRate(), rows.tolist(), (end - t).sign() * size.minimum((end - t).abs())
        t_next = torch.where((t + h - end).abs() <= 1e-12 * end.abs(), end, t + h)
        z = dynamics.increment(t, t_next, dynamics.curve.t, chosen) * h.abs().sqrt()
        here = point if point is not None else dynamics.at(x, t.flatten(), chosen)
        one = h * sde_form.drift(dynamics, here, rate) + sde_form.diffusion(dynamics, t, rate) * z
        there = dynamics.at(x + one, t_next.flatten(), chosen)
        two = h * sde_form.drift(dynamics, there, rate) + sde_form.diffusion(dynamics, t_next, rate) * z
        low, high = x + one, x + (one + two) / 2
        allowed = (self.rtol * low.abs().maximum(before.abs())).clip(min=self.atol)
        error = ((low - high) / allowed).square().mean(dim=tuple(range(1, x.ndim)), keepdim=True).sqrt()
        if not bool(error.isfinite().all()):
            raise SamplingError("the state is not finite (NaN or infinity)")
        taken = error <= 1
        new = _Walk(
            torch.where(taken, high, x),
            torch.where(taken, low, before),
            torch.where(taken, t_next, t),
            self.safety * h.abs() * error.clip(min=1e-12) ** -self.exponent,
        )
        return _Walk(*(column.index_copy(0, rows, part) for column, part in zip(walk, new, strict=True)))
