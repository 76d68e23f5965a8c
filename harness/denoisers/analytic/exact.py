"""Denoisers known in closed form: exact answers to measure solvers against.

For data p(y) and noise of standard deviation sigma, the denoiser that minimises the expected squared error is the
mean of y given x, D(x; sigma) = E[y | x] (Karras et al. 2022, arXiv 2206.00364, appendix B.3). For

    one Gaussian N(mu, v I)         D = (v x + sigma^2 mu) / (v + sigma^2)
    a mixture sum_k w_k N(mu_k, v I)    D = sum_k r_k (v x + sigma^2 mu_k) / (v + sigma^2),
                                    r = softmax_k(log w_k - |x - mu_k|^2 / (2 (v + sigma^2)))
    a finite set {y_i}              D = sum_i N(x; y_i, sigma^2 I) y_i / sum_i N(x; y_i, sigma^2 I)   (eq. 57, figure 1)

The last is the mixture with v = 0 and equal weights. Sums run over the points in blocks with a running minimum of
|x - mu_k|^2, so that no exponential overflows, no sum is zero, and memory does not grow with the number of points. At
v + sigma^2 = 0 the limit is taken: the nearest point (the weighted mean of the nearest ones at a tie). So it is at
sigma = infinity: the mean of the data, whatever x.

All arithmetic is float64. A row of the Gaussian does not depend on its batch at all, a row of the others to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from harness.core.data_range import BYTES, DataRange
from harness.core.errors import InputError

Device: TypeAlias = torch.device | str
Numbers: TypeAlias = Tensor | np.ndarray | float | list[Any] | tuple[Any, ...]

BLOCK = 1024
"""Points taken at a time; bounds the memory of a call to about BLOCK * (B + C H W) * 8 bytes."""


class Analytic(ABC):
    """What all analytic denoisers share: any sigma >= 0, no labels, float64, one evaluation a row.

    Args:
        shape: of one sample, such as [C, H, W].
        device: where the parameters live and x is expected.
    """

    label_dim: int = 0
    sigma_min: float = 0.0
    sigma_max: float = math.inf
    cost: int = 1
    dtype: torch.dtype = torch.float64
    takes_infinity: bool = True
    data_range: DataRange = BYTES

    def __init__(self, shape: tuple[int, ...], device: Device = "cpu") -> None:
        if not shape or min(shape) < 1:
            raise InputError(f"a shape is one or more sides of at least 1, such as [C, H, W]; we got {list(shape)}")
        self.shape = tuple(shape)
        self.device = _indexed(device)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """The denoised images.

        Args:
            x: [B, *shape], any floating type.
            sigma: () or [B], noise level in image units, at least 0.
            labels: ignored; there are no classes.

        Returns:
            [B, *shape] float64.

        Raises:
            ValueError: x or sigma has another shape.
        """
        if x.shape[1:] != self.shape or sigma.shape not in ((), x.shape[:1]):
            raise ValueError(
                f"x must be [B, {', '.join(map(str, self.shape))}] and sigma () or [B]; "
                f"we got {list(x.shape)} and {list(sigma.shape)}"
            )
        square = sigma.to(x.device, torch.float64).square().reshape(-1, 1)
        return self._denoise(x.to(torch.float64).flatten(1), square).reshape(x.shape)

    def with_range(self, data_range: DataRange) -> Self:
        """This denoiser, which declares another range of its data."""
        self.data_range = data_range
        return self

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise level that the denoiser knows: sigma itself, in float64."""
        return sigma.to(torch.float64)

    @abstractmethod
    def _denoise(self, x: Tensor, square: Tensor) -> Tensor:
        """D [B, d] for x [B, d] and sigma^2 [B, 1] or [1, 1], all float64."""


class Gaussian(Analytic):
    """Exact denoiser of N(mean, std^2 I), and the exact solution of its probability-flow ODE.

    Args:
        mean: a number, or an array of that shape.
        std: standard deviation of every pixel, at least 0.
        shape: of one sample; may be left out where `mean` has it.
        device: where to compute.
    """

    def __init__(self, mean: Numbers, std: float, shape: tuple[int, ...] | None = None, device: Device = "cpu") -> None:
        level = torch.as_tensor(mean, dtype=torch.float64, device=device)
        super().__init__(tuple(level.shape) if shape is None else tuple(shape), device)
        self.mean = _filled(level, self.shape).flatten()
        self.std = _checked_std(std)

    def _denoise(self, x: Tensor, square: Tensor) -> Tensor:
        keep, pull = _shares(self.std**2, square)
        return keep * x + pull * self.mean

    def flow(self, x: Tensor, sigma: Tensor | float, sigma_next: Tensor | float) -> Tensor:
        """Follow the probability-flow ODE exactly: mu + (x - mu) sqrt((sigma_next^2 + v) / (sigma^2 + v)).

        Solves dx/dsigma = (x - D(x; sigma)) / sigma (paper eq. 4 with s = 1, sigma(t) = t).

        Args:
            x: [B, *shape] at noise level sigma.
            sigma: () or [B]; above 0 where std is 0.
            sigma_next: () or [B].

        Returns:
            [B, *shape] float64 at noise level sigma_next.
        """
        start, end = (_column(level, x) for level in (sigma, sigma_next))
        ratio = ((end.square() + self.std**2) / (start.square() + self.std**2)).sqrt()
        flat = x.to(torch.float64).flatten(1)
        return (self.mean + (flat - self.mean) * ratio).reshape(x.shape)


class Mixture(Analytic):
    """Exact denoiser of sum_k w_k N(mean_k, std^2 I).

    Args:
        means: [K, *shape].
        weights: [K] positive, brought to sum 1; None means equal.
        std: standard deviation shared by the components, at least 0.
        device: where to compute.
    """

    def __init__(
        self, means: Numbers, weights: Numbers | None = None, std: float = 0.0, device: Device = "cpu"
    ) -> None:
        centres = torch.as_tensor(means, dtype=torch.float64, device=device)
        if centres.ndim < 2 or not len(centres) or not centres.isfinite().all():
            raise InputError(f"means must be finite, of shape [K, *shape], K >= 1; we got {list(centres.shape)}")
        super().__init__(tuple(centres.shape[1:]), device)
        self.means = centres.flatten(1)
        self.weights = _checked_weights(weights, len(centres), self.device)
        self.std = _checked_std(std)

    @classmethod
    def of(
        cls,
        means: Sequence[Any],
        shape: tuple[int, ...],
        weights: Numbers | None,
        std: float,
        device: Device = "cpu",
    ) -> "Mixture":
        """As the constructor, with means that may be numbers, each of which fills an image of this shape."""
        images = [_filled(torch.tensor(mean, dtype=torch.float64), shape) for mean in means]
        return cls(torch.stack(images), weights, std, device)

    def _denoise(self, x: Tensor, square: Tensor) -> Tensor:
        keep, pull = _shares(self.std**2, square)
        return keep * x + pull * posterior_mean(x, self.std**2 + square, self.means, self.weights)


class Diracs(Analytic):
    """Exact denoiser of data whose every number is -1 or +1: D = tanh(x / sigma^2), each number by itself.

    Args:
        shape: of one sample.
        device: where to compute.
    Source: Karras et al. 2022, Figure 3.
    """

    def _denoise(self, x: Tensor, square: Tensor) -> Tensor:
        # (e^(x/s) - e^(-x/s)) / (e^(x/s) + e^(-x/s)) with s = sigma^2: the two points' weights are N(x; +-1, sigma^2)
        return torch.where(square > 0, (x / square).tanh(), x.sign())


class Ideal(Analytic):
    """Exact denoiser of a finite data set, every image equally likely: what a network approaches as it memorises.

    Args:
        images: [N, *shape], kept in their own floating type and read in blocks.
        device: where to compute.
        block: images taken at a time; bounds the memory.
    Source: Karras et al. 2022, eq. 57 and figure 1.
    """

    def __init__(self, images: Numbers, device: Device = "cpu", block: int = BLOCK) -> None:
        points = torch.as_tensor(images, device=device)
        if points.ndim < 2 or not len(points) or not points.is_floating_point() or not points.isfinite().all():
            raise InputError(f"images must be finite floats of shape [N, *shape], N >= 1; we got {list(points.shape)}")
        super().__init__(tuple(points.shape[1:]), device)
        self.points, self.block = points.flatten(1), block
        self.weights = torch.ones(len(points), dtype=torch.float64, device=device)

    def _denoise(self, x: Tensor, square: Tensor) -> Tensor:
        return posterior_mean(x, square, self.points, self.weights, self.block)


class _Running(NamedTuple):
    """Sums so far, relative to the least squared distance so far."""

    least: Tensor  # [B, 1]
    mass: Tensor  # [B, 1]
    moment: Tensor  # [B, d]


def posterior_mean(x: Tensor, variance: Tensor, points: Tensor, weights: Tensor, block: int = BLOCK) -> Tensor:
    """sum_k r_k y_k with r_k proportional to w_k exp(-|x - y_k|^2 / (2 variance)).

    Distances are summed from differences, not expanded into products: at small sigma the expansion would lose the
    digits that matter.

    Args:
        x: [B, d] float64.
        variance: [B, 1] or [1, 1] float64, at least 0; at 0 only the nearest points count.
        points: [K, d], any floating type.
        weights: [K] float64, positive.
        block: points taken at a time.

    Returns:
        [B, d] float64.
    """
    variance = variance.expand(len(x), 1)
    so_far = _Running(x.new_full((len(x), 1), math.inf), torch.zeros_like(x[:, :1]), torch.zeros_like(x))
    for some, weight in zip(points.split(block), weights.split(block), strict=True):
        so_far = _add_block(so_far, x, variance, some.to(torch.float64), weight)
    return so_far.moment / so_far.mass


def _add_block(so_far: _Running, x: Tensor, variance: Tensor, points: Tensor, weights: Tensor) -> _Running:
    distance = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist").square()  # [B, k]
    least = torch.minimum(so_far.least, distance.amin(1, keepdim=True))
    share = weights * _decay(distance - least, variance)  # at most the weight: the exponent is never positive
    scale = _decay(so_far.least - least, variance)  # brings the sums so far to the new least distance
    mass = so_far.mass * scale + share.sum(1, keepdim=True)
    return _Running(least, mass, so_far.moment * scale + share @ points)


def _decay(gap: Tensor, variance: Tensor) -> Tensor:
    """exp(-gap / (2 variance)) for gap >= 0; at variance 0 one where gap is 0, else zero."""
    at_zero = torch.where(gap == 0, 0.0, math.inf)
    exponent = torch.where(variance.isinf(), 0.0, gap / (2 * variance))  # a gap may be infinite too
    return torch.where(variance > 0, exponent, at_zero).neg().exp()


def _shares(v: float, square: Tensor) -> tuple[Tensor, Tensor]:
    """v / (v + sigma^2) and sigma^2 / (v + sigma^2); 0 and 1 where both are 0, or sigma is infinite."""
    total = v + square
    keep, pull = v / total, square / total
    return torch.where(total > 0, keep, 0.0), torch.where((total > 0) & total.isfinite(), pull, 1.0)


def _column(level: Tensor | float, x: Tensor) -> Tensor:
    return torch.as_tensor(level, dtype=torch.float64, device=x.device).reshape(-1, 1)


def _filled(level: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A mean as an image: a number fills it."""
    if tuple(level.shape) not in ((), shape) or not level.isfinite().all():
        raise InputError(
            f"a mean is a finite number or has the image's shape {list(shape)}; we got {list(level.shape)}"
        )
    return level.expand(shape).contiguous()


def _checked_std(std: Any) -> float:
    if not (math.isfinite(value := float(std)) and value >= 0):
        raise InputError(f"std must be finite and at least 0; we got {value}")
    return value


def _checked_weights(weights: Numbers | None, count: int, device: torch.device) -> Tensor:
    if weights is None:
        return torch.full((count,), 1 / count, dtype=torch.float64, device=device)
    given = torch.as_tensor(weights, dtype=torch.float64, device=device)
    if tuple(given.shape) != (count,) or not (given.isfinite() & (given > 0)).all():
        raise InputError(f"weights must be {count} positive numbers, one a mean; we got {given.tolist()}")
    return given / given.sum()


def _indexed(device: Device) -> torch.device:
    """The device with its index, as tensors on it have it: `cuda` is `cuda:0`."""
    return torch.empty(0, device=device).device
