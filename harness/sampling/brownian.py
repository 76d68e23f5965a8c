"""A Brownian path for every sample, the same however often and in whatever order it is asked.

SDE solvers need the noise over an interval, not just at a step: a path whose increments over a fine and a coarse grid
agree lets a solver look at the middle of a step, try a step again at half its size, and be compared with itself at
another number of steps. Here the path is a tree over log sigma, from the highest level of a run to the lowest. Its
value
at a level is found by going down from the root: each node is the midpoint of its interval, drawn from the Brownian
bridge between the ends,

    B(m) = B(a) + (u_m - u_a) / (u_b - u_a) (B(b) - B(a)) + sqrt((u_m - u_a) (u_b - u_m) / (u_b - u_a)) z

with z a standard normal that depends on the sample's seed, the node and the pixel alone. The clock u says how fast the
path moves: its increment over an interval has variance |u_b - u_a|. Every solver brings the clock in which its noise
over an interval is exactly such an increment.

The normals come from counters, not from a stream: SplitMix64 (Steele, Lea & Flood 2014) of seed, node and pixel,
through the inverse normal distribution. They do not disturb the streams of `harness.sampling.noise`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import SamplingError

Clock = Callable[[Tensor], Tensor]
"""u(sigma), elementwise and monotone, float64."""


@dataclass(frozen=True)
class Power:
    """The clock u = sigma^exponent."""

    exponent: float

    def __call__(self, sigma: Tensor) -> Tensor:
        return sigma**self.exponent


DEPTH = 14
"""Levels of the tree: queries closer than 2^-14 of the range in log sigma share their last normal."""

GOLDEN, MIX_1, MIX_2 = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""SplitMix64's constants 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB as signed integers."""


class Brownian:
    """The paths of N samples.

    Args:
        seeds: N non-negative integers, taken modulo 2^32.
        shape: (C, H, W) of one sample.
        high, low: the ends of the range in sigma; the path starts at 0 at `high`.
        device: where the values are needed.
        made_on: where they are made.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        high: float,
        low: float,
        device: torch.device | str = "cpu",
        made_on: torch.device | str = "cpu",
    ) -> None:
        self.high, self.low, self.shape = high, low, tuple(shape)
        self.device, self.made_on = torch.device(device), torch.device(made_on)
        keys = torch.tensor([seed % 2**32 for seed in seeds], dtype=torch.int64, device=self.made_on)
        self._keys = _mix(keys * GOLDEN + 1)
        self._pixels = torch.arange(1, 1 + torch.Size(shape).numel(), device=self.made_on) * GOLDEN
        self._last: tuple[Clock, float | list[float], Tensor] | None = None

    def increment(self, start: Tensor, end: Tensor, clock: Clock, rows: Sequence[int] | None = None) -> Tensor:
        """The path's change between two levels divided by its standard deviation: standard normals.

        Args:
            start, end: noise levels within the range, () or one a row.
            clock: u(sigma).
            rows: which of the N samples; None for all.

        Returns:
            [B, C, H, W] float64.
        """
        keys = self._keys if rows is None else self._keys[torch.as_tensor(list(rows), device=self.made_on)]
        first, last = (level.to(self.made_on, torch.float64).flatten() for level in (start, end))
        if rows is None and self._last is not None and self._last[:2] == (clock, start.tolist()):
            before = self._last[2]  # a step starts where the last one ended
        else:
            before = self._value(first, clock, keys)
        after = self._value(last, clock, keys)
        if rows is None:
            self._last = (clock, end.tolist(), after)
        spread = (clock(last) - clock(first)).abs().sqrt().reshape(-1, 1)
        unit = torch.where(spread > 0, (after - before) / spread, 0.0)  # nothing moves over no interval
        return unit.reshape(len(keys), *self.shape).to(self.device)

    def _value(self, sigma: Tensor, clock: Clock, keys: Tensor) -> Tensor:
        """B at `sigma` [1] or [B], as [B, pixels]: a weighted sum of the normals on the way down the tree."""
        top, bottom = math.log(self.high), math.log(self.low)
        place = (top - sigma.log()) / (top - bottom)
        if bool((place < -1e-6).any() | (place > 1 + 1e-6).any()):
            raise SamplingError(f"the Brownian path runs from {self.high:g} to {self.low:g} and was asked outside")
        place = place.clamp(0, 1)
        weights = self._weights(place, sigma, lambda at: clock((top + at * (bottom - top)).exp()), clock)
        return torch.einsum("kb,kbp->bp", weights.expand(-1, len(keys)), self._normals(place, keys))

    def _weights(self, place: Tensor, sigma: Tensor, time: Clock, clock: Clock) -> Tensor:
        """What each of the normals contributes at a place [B]: [DEPTH + 2, B]."""
        left, right = torch.zeros_like(place), torch.ones_like(place)
        u_left, u_right = time(left), time(right)
        low, high = place.new_zeros(2, DEPTH + 2, len(place))  # the ends of the interval, as sums of normals
        high[0] = (u_right - u_left).abs().sqrt()
        for level in range(DEPTH):
            middle = (left + right) / 2
            u_middle = time(middle)
            value = _bridge(u_left, u_middle, u_right, low, high, 1 + level)
            goes_left = place < middle
            left, right = torch.where(goes_left, left, middle), torch.where(goes_left, middle, right)
            u_left, u_right = torch.where(goes_left, u_left, u_middle), torch.where(goes_left, u_middle, u_right)
            low, high = torch.where(goes_left, low, value), torch.where(goes_left, value, high)
        return _bridge(u_left, clock(sigma), u_right, low, high, DEPTH + 1)

    def _normals(self, place: Tensor, keys: Tensor) -> Tensor:
        """Standard normals of the nodes on the way down to a place [1] or [B]: [DEPTH + 2, B, pixels]."""
        scale = 2 ** torch.arange(DEPTH + 1, device=self.made_on)
        index = (place[:, None] * scale).long().minimum(scale - 1)  # the interval that holds the place, at every level
        nodes = torch.cat([torch.zeros_like(index[:, :1]), scale + index], dim=1)  # the root's end is node 0
        mixed = _mix(keys[:, None] + nodes * GOLDEN)
        bits = _mix(mixed.T[:, :, None] + self._pixels)
        uniform = (((bits >> 11) & (2**53 - 1)).double() + 0.5) * 2.0**-53
        return torch.special.ndtri(uniform)


def _bridge(u_left: Tensor, u: Tensor, u_right: Tensor, low: Tensor, high: Tensor, normal: int) -> Tensor:
    """A Brownian bridge's value at time u between its ends, with normal number `normal`; all as sums of normals."""
    share = ((u - u_left) / (u_right - u_left)).clamp(0, 1)
    value = low + share * (high - low)
    value[normal] += (share * (1 - share) * (u_right - u_left).abs()).sqrt()
    return value


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer on int64, which wraps as unsigned integers do."""
    x = (x ^ _shift(x, 30)) * MIX_1
    x = (x ^ _shift(x, 27)) * MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right."""
    return (x >> by) & (2 ** (64 - by) - 1)
