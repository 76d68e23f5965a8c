"""The probability flow ODE of a denoiser under a schedule and a scaling (Karras et al. 2022, eq. 4 and Algorithm 1).

    dx/dt = (sigma'/sigma + s'/s) x - (sigma' s / sigma) D(x / s; sigma)

Under schedule and scaling `flow` this is (x - D) / t, which is finite at t = 1 too. There sigma is infinite, s is 0 and
x is noise alone: a denoiser that is an `AtInfinity` takes x itself.

`Dynamics.at` is the only place that calls a denoiser, the only place that counts evaluations, and the only border
between the state's float64 and the network's own type.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from harness.core.errors import NOT_FINITE, SamplingError
from harness.sampling.brownian import Brownian, Clock
from harness.sampling.conditions import Condition, pad, take
from harness.sampling.denoiser import Denoiser, Metered
from harness.sampling.noise import Noise
from harness.sampling.schedules import Curve, Scaling


class Point(NamedTuple):
    """One denoiser evaluation.

    Shapes: x, denoised, drift [B, *shape]; t, sigma, s () or [B, 1, ...], with as many sides as x.

    Where sigma is infinite, t = 1 of flow matching, s is 0: x, denoised and drift mean what they do elsewhere, and xbar
    and eps nothing.
    """

    x: Tensor
    t: Tensor
    sigma: Tensor
    s: Tensor
    denoised: Tensor
    drift: Tensor

    @property
    def xbar(self) -> Tensor:
        """The sample without its scaling, x / s: data plus noise of standard deviation sigma."""
        return self.x / self.s

    @property
    def eps(self) -> Tensor:
        """The predicted unit noise, (xbar - denoised) / sigma."""
        return (self.xbar - self.denoised) / self.sigma


class Dynamics:
    """A denoiser in motion: the right-hand side of the ODE for N samples, with labels, noise and evaluation counts.

    Args:
        denoiser: D(x; sigma), see `harness.sampling.denoiser.Denoiser`.
        curve: the schedule bound to the range in use.
        scaling: s(t).
        noise: the samples' random streams.
        labels: one-hot float [N, label_dim], other conditions with a row a sample, or None for unconditional.
        batch: rows per network call. Every call has exactly this many, the last one padded, so that results do not
            depend on how samples are grouped. None: all rows in one call.
        levels: highest and lowest noise level of the run, between which SDE solvers have a Brownian path; None where
            no solver asks for it.
        clip: clip D to [-1, 1].

    Attributes:
        nfe: int64 [N] on the CPU, evaluations of each sample so far, each counted as often as the denoiser costs.
        calls: denoiser calls so far.
        rows: network rows so far, padding included, each counted as often as the denoiser costs.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        curve: Curve,
        scaling: Scaling,
        noise: Noise,
        labels: Condition | None = None,
        batch: int | None = None,
        levels: tuple[float, float] | None = None,
        clip: bool = False,
    ) -> None:
        self.denoiser, self.curve, self.scaling = denoiser, curve, scaling
        self._noise, self._labels, self._batch, self._clip = noise, labels, batch, clip
        self._path: Brownian | None = None if levels is None else noise.path(*levels)
        self.nfe = torch.zeros(len(noise), dtype=torch.int64)
        self.calls = self.rows = 0
        self._cost_at: Callable[[Tensor], Tensor] | None = denoiser.cost_at if isinstance(denoiser, Metered) else None

    def at(self, x: Tensor, t: Tensor, rows: Sequence[int] | None = None) -> Point:
        """Evaluate the denoiser and the ODE's right-hand side at (x, t).

        Args:
            x: state [B, *shape] of the samples in `rows`.
            t: time, () for all or [B] for each; > 0.
            rows: which of the N samples x holds; None for all.

        Raises:
            SamplingError: a time at or below 0, where the ODE has no right-hand side; or one that is not a number, to
                which a drift that is not finite leads an adaptive solver.
        """
        if not bool((t > 0).all()):
            if bool(t.isnan().any()):
                raise SamplingError(NOT_FINITE)
            raise SamplingError(
                f"the solver evaluates at t = {t.min().item():.4g}, at or below 0; use fewer or other steps, or a "
                "second stage nearer to the first (a smaller alpha)"
            )
        t = t if t.ndim == 0 else t.view(-1, *[1] * (x.ndim - 1))
        sigma = self.curve.sigma(t)
        xbar = x / self.scaling.s(sigma)
        if bool((at_end := sigma.isinf()).any()):
            xbar = torch.where(at_end.to(x.device), x, xbar)
        return self._point(x, t, self._denoise(xbar, sigma, rows))

    def at_level(self, xbar: Tensor, sigma: Tensor, rows: Sequence[int] | None = None) -> Point:
        """`at` for a sample without its scaling [B, *shape], at a noise level () or [B, 1, ...] > 0."""
        t = self.curve.t(sigma)
        return self.at(self.scaling.s(sigma) * xbar, t if t.ndim == 0 else t.flatten(), rows)

    def analytical_first_step(self, x: Tensor, t: Tensor) -> Point:
        """The point that stands in for an evaluation at the highest level: eps = xbar / sqrt(1 + sigma^2), no NFE.

        There a sample is nearly all noise. Source: Dockhorn, Vahdat & Kreis 2022 (arXiv 2210.05475), "analytical first
        step"; this form, which differs from theirs by one part in 2 sigma^2, is diff-sampler's.
        """
        sigma = self.curve.sigma(t)
        xbar = x / self.scaling.s(sigma)
        return self._point(x, t, xbar - sigma * xbar / (1 + sigma**2).sqrt())

    def _point(self, x: Tensor, t: Tensor, denoised: Tensor) -> Point:
        sigma, sigma_dot = self.curve.sigma(t), self.curve.sigma_dot(t)
        s, s_dot = self.scaling.s(sigma), self.scaling.s_dot(sigma, sigma_dot)
        drift = (sigma_dot / sigma + s_dot / s) * x - (sigma_dot * s / sigma) * denoised
        if bool((at_end := sigma.isinf()).any()):  # t = 1, where both terms are infinite and their difference is not
            drift = torch.where(at_end.to(x.device), (x - denoised) / t, drift)
        return Point(x, t, sigma, s, denoised, drift)

    def increment(self, t: Tensor, t_next: Tensor, clock: Clock, rows: Sequence[int] | None = None) -> Tensor:
        """The Brownian path's change over a step, as standard normals [B, *shape]; see `Brownian.increment`."""
        return self.increment_between(self.sigma(t), self.sigma(t_next), clock, rows)

    def increment_between(
        self, sigma: Tensor, sigma_next: Tensor, clock: Clock, rows: Sequence[int] | None = None
    ) -> Tensor:
        """The same between two noise levels."""
        if self._path is None:
            raise SamplingError("these dynamics have no noise range, and so no Brownian path")
        return self._path.increment(sigma, sigma_next, clock, rows)

    def noise(self, rows: Sequence[int] | None = None) -> Tensor:
        """Fresh standard normals [N, *shape] float64 from the samples' own streams, or those of some rows."""
        return self._noise.normal(rows)

    def cost(self, sigma: Tensor) -> Tensor | int:
        """Network evaluations of one row at these noise levels: int64 of their shape, or one number for all levels."""
        return self.denoiser.cost if self._cost_at is None else self._cost_at(sigma)

    def sigma(self, t: Tensor) -> Tensor:
        """The noise level at time t."""
        return self.curve.sigma(t)

    def s(self, t: Tensor) -> Tensor:
        """The scaling at time t."""
        return self.scaling.s(self.curve.sigma(t))

    def _denoise(self, xbar: Tensor, sigma: Tensor, rows: Sequence[int] | None) -> Tensor:
        labels = self._labels
        levels = sigma.reshape(()) if sigma.numel() == 1 else sigma.reshape(-1)
        cost = self.cost(levels)
        cost = cost if isinstance(cost, int) else cost.cpu()
        if rows is None:
            self.nfe += cost
        else:
            self.nfe[list(rows)] += cost
            labels = take(labels, rows)
        given = xbar.to(self.denoiser.dtype)
        size = self._batch or len(given)
        parts = [self._call(given, levels, labels, slice(at, at + size), size) for at in range(0, len(given), size)]
        denoised = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(xbar.dtype)
        return denoised.clip(-1, 1) if self._clip else denoised

    def _call(self, x: Tensor, sigma: Tensor, labels: Condition | None, rows: slice, size: int) -> Tensor:
        """One network call on `rows`, padded to `size` rows with copies of the last."""
        x = x[rows]
        sigma = sigma if sigma.ndim == 0 else sigma[rows]
        labels = take(labels, rows)
        used = len(x)
        sigma = sigma if sigma.ndim == 0 else pad(sigma, size)
        self.calls += 1
        cost = self.cost(sigma)
        self.rows += (cost if isinstance(cost, int) else int(cost.max())) * size
        return self.denoiser(pad(x, size), sigma, pad(labels, size))[:used]


def one_hot(classes: Tensor, label_dim: int) -> Tensor:
    """Class indices int64 [N] to float labels [N, label_dim]."""
    return functional.one_hot(classes, label_dim).to(torch.float32)
