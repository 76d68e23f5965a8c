"""A Brownian path for every sample, the same however often and in whatever order it is asked.

SDE solvers need the noise over an interval, not just at a step: a path whose increments over a fine and a coarse grid
agree lets a solver look at the middle of a step, try a step again at half its size, and be compared with itself at
another number of steps. Here the path is a tree over log sigma, from the highest level of a run to the lowest. Its
value at a level is found by going down from the root: each node is the midpoint of its interval, drawn from the
Brownian bridge between the ends,

    B(m) = B(a) + (u_m - u_a) / (u_b - u_a) (B(b) - B(a)) + sqrt((u_m - u_a) (u_b - u_m) / (u_b - u_a)) z

with z a standard normal that depends on the sample's seed, the node and the pixel alone. The clock u says how fast the
path moves: its increment over an interval has variance |u_b - u_a|. Every solver brings the clock in which its noise
over an interval is exactly such an increment.

The normals come from counters, not from a stream: SplitMix64 (Steele, Lea & Flood 2014) of seed, node and pair of
pixels, through Box and Muller's transform. They do not disturb the streams of `harness.sampling.noise`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import SamplingError

Clock = Callable[[Tensor], Tensor]
"""u(sigma), elementwise and monotone, float64."""


@dataclass(frozen=True)
class Power:
    """The clock u = sigma^exponent."""

    exponent: float

    def __call__(self, sigma: Tensor) -> Tensor:
        return sigma**self.exponent


DEPTH = 20
"""Levels of the tree: queries closer than 2^-20 of the range in log sigma share their last normal."""

KEPT = 2
"""Values kept: a step starts where the last one ended, and one with a middle asks for its start twice."""

TOGETHER = 2**15
"""Normals drawn in one call: depths of the tree share a call as long as the samples are small."""

GOLDEN, MIX_1, MIX_2 = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""SplitMix64's constants 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB as signed integers."""

LOW = 2**32 - 1
"""The lower half of 64 bits."""


class Brownian:
    """The paths of N samples.

    Args:
        seeds: N integers from 0 to 2^32 - 1.
        shape: of one sample.
        high, low: the ends of the range in sigma; the path starts at 0 at `high`.
        device: where the values are needed.
        made_on: where they are made.
        depth: halvings of the range that the path resolves; below them it is a bridge of one more normal.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        high: float,
        low: float,
        device: torch.device | str = "cpu",
        made_on: torch.device | str = "cpu",
        depth: int = DEPTH,
    ) -> None:
        self._depth = depth
        self.high, self.low, self.shape = high, low, tuple(shape)
        self.device, self.made_on = torch.device(device), torch.device(made_on)
        keys = torch.tensor(list(seeds), dtype=torch.int64, device=self.made_on)
        self._keys = _mix(keys * GOLDEN + 1)
        self._size = torch.Size(shape).numel()
        self._pairs = torch.arange(1, 1 + (self._size + 1) // 2, device=self.made_on) * GOLDEN
        self._kept: list[tuple[Clock, list[float], Tensor]] = []

    def increment(self, start: Tensor, end: Tensor, clock: Clock, rows: Sequence[int] | None = None) -> Tensor:
        """The path's change between two levels divided by its standard deviation: standard normals.

        Args:
            start, end: noise levels within the range, () or one a row.
            clock: u(sigma).
            rows: which of the N samples; None for all.

        Returns:
            [B, *shape] float64.
        """
        keys = self._keys if rows is None else self._keys[torch.as_tensor(list(rows), device=self.made_on)]
        first, last = (level.detach().double().cpu().flatten() for level in (start, end))
        before, after = (self._recalled(level, clock, keys, rows is None) for level in (first, last))
        spread = (clock(last) - clock(first)).abs().sqrt().reshape(-1, 1).to(self.made_on)
        unit = torch.where(spread > 0, (after - before) / spread, 0.0)  # nothing moves over no interval
        return unit.reshape(len(keys), *self.shape).to(self.device)

    def _recalled(self, sigma: Tensor, clock: Clock, keys: Tensor, is_all: bool) -> Tensor:
        """The value at `sigma`, which may be one of the last that were asked for all samples."""
        if not is_all:
            return self._value(sigma, clock, keys)
        levels = sigma.tolist()
        for known, at, value in self._kept:
            if known == clock and at == levels:
                return value
        value = self._value(sigma, clock, keys)
        self._kept = [(clock, levels, value), *self._kept][:KEPT]
        return value

    def _value(self, sigma: Tensor, clock: Clock, keys: Tensor) -> Tensor:
        """B at `sigma` [1] or [B], as [B, pixels]: a weighted sum of the normals on the way down the tree."""
        place = (math.log(self.high) - sigma.log()) / math.log(self.high / self.low)
        if bool((place < -1e-6).any() | (place > 1 + 1e-6).any()):
            raise SamplingError(f"the Brownian path runs from {self.high:g} to {self.low:g} and was asked outside")
        scale = 2 ** torch.arange(self._depth + 1)[:, None]
        index = (place.clamp(0, 1) * scale).long().minimum(scale - 1)  # which interval holds the place, at each depth
        nodes = torch.cat([torch.zeros_like(index[:1]), scale + index])  # the root's end is node 0
        weights = self._weights(index, scale, sigma, clock).to(self.made_on)
        value = torch.zeros(len(keys), self._size, dtype=torch.float64, device=self.made_on)
        at_once = max(1, TOGETHER // value.numel())  # small samples: several depths in one call, to the same bits
        for part, node in zip(weights.split(at_once), nodes.to(self.made_on).split(at_once), strict=True):
            for weight, normals in zip(part, self._normals(node, keys), strict=True):
                value.addcmul_(weight.reshape(-1, 1), normals)
        return value

    def _weights(self, index: Tensor, scale: Tensor, sigma: Tensor, clock: Clock) -> Tensor:
        """What each of the normals contributes at `sigma` [B], whose intervals are these: [self._depth + 2, B]."""
        ends = torch.stack([index.double(), index + 0.5, index + 1.0]).double() / scale
        u_left, u_middle, u_right = clock(self.high * (self.low / self.high) ** ends).numpy()
        low, high = np.zeros((2, self._depth + 2, index.shape[1]))  # the ends of the interval, as sums of normals
        high[0] = np.sqrt(np.abs(u_right[0] - u_left[0]))
        for depth, goes_left in enumerate((index[1:] % 2 == 0).numpy()):
            value = _bridge(u_left[depth], u_middle[depth], u_right[depth], low, high, 1 + depth)
            low, high = np.where(goes_left, low, value), np.where(goes_left, value, high)
        return torch.from_numpy(_bridge(u_left[-1], clock(sigma).numpy(), u_right[-1], low, high, self._depth + 1))

    def _normals(self, node: Tensor, keys: Tensor) -> Tensor:
        """Standard normals of nodes [depths, B] or [depths, 1] (one for all rows): [depths, B, pixels]."""
        bits = _mix(_mix(keys + node * GOLDEN)[..., None] + self._pairs)
        radius = ((bits >> 32) & LOW).double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle = (bits & LOW).double().mul_(2 * math.pi * 2.0**-32)
        return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., : self._size]


def _bridge(
    u_left: np.ndarray, u: np.ndarray, u_right: np.ndarray, low: np.ndarray, high: np.ndarray, normal: int
) -> np.ndarray:
    """A Brownian bridge's value at time u between its ends, with normal number `normal`; all as sums of normals."""
    whole = np.where(u_right == u_left, 1.0, u_right - u_left)  # a clock that hardly moves rounds to standing still
    share = ((u - u_left) / whole).clip(0, 1)
    value: np.ndarray = low + share * (high - low)
    value[normal] += np.sqrt(share * (1 - share) * np.abs(u_right - u_left))
    return value


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finalizer on int64, which wraps as unsigned integers do."""
    x = (x ^ _shift(x, 30)) * MIX_1
    x = (x ^ _shift(x, 27)) * MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift to the right."""
    return (x >> by) & (2 ** (64 - by) - 1)
