"""A denoiser with an error of known size, fixed and smooth: what a network that is less than perfect does to samplers.

    D'(x; sigma) = D(x; sigma) + epsilon c_out(sigma) F(c_in(sigma) x, c_noise(sigma))

F is a random network, drawn once from a seed and never trained, with outputs of mean square 1. c_in, c_out and c_noise
are those of the paper's preconditioning (Karras et al. 2022, Table 1), under which a network's target has mean square 1
at every level. So epsilon is the root mean square error of the raw network, the loss of which is larger by epsilon^2.

Importing this module loads no torch.
"""

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from harness.core.config import Positive
from harness.denoisers.analytic.specs import NonNegative
from harness.denoisers.config import DenoiserConfig, Description, Part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.sampling.denoiser import Denoiser

WIDTH = 256
"""Units of each of the two hidden layers."""

LEVELS = (0.002, 80.0)
"""Noise levels between which the mean square of F is brought to 1, log-uniform."""


class WithErrorSpec(DenoiserConfig):
    """A denoiser with a fixed, smooth error.

    Args:
        denoiser: a card's name, a checkpoint's path, or a spec.
        epsilon: root mean square of the error, in units of the raw network's target.
        seed: of the error.
        sigma_data: standard deviation of the data, in the error's c_in and c_out.
    """

    kind: Literal["with-error"] = "with-error"
    denoiser: Part
    epsilon: NonNegative = 0.1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    sigma_data: Positive = 0.5

    def parts(self) -> tuple[Any, ...]:
        return (self.denoiser,)

    def describe(self, *parts: Description) -> Description:
        (of,) = parts
        return of._replace(identity=self.canonical(denoiser=of.identity), takes_infinity=False)

    def build(self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None") -> "WithError":
        return WithError(parts[0], self.epsilon, self.seed, self.sigma_data)


class WithError:
    """A denoiser with an error; its shape, classes, levels and cost are those of the denoiser.

    Args:
        denoiser: what is disturbed.
        epsilon, seed, sigma_data: see `WithErrorSpec`.
    """

    def __init__(self, denoiser: "Denoiser", epsilon: float, seed: int = 0, sigma_data: float = 0.5) -> None:
        self.denoiser, self.epsilon, self.sigma_data = denoiser, epsilon, sigma_data
        from harness.sampling.denoiser import data_range, needs_class, null_class, takes_conditions

        self.shape, self.label_dim, self.cost = denoiser.shape, denoiser.label_dim, denoiser.cost
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max
        self.null_class, self.needs_class = null_class(denoiser), needs_class(denoiser)
        self.data_range, self.conditional = data_range(denoiser), takes_conditions(denoiser)
        self._layers = [layer.to(denoiser.device, denoiser.dtype) for layer in _random_network(self.shape, seed)]

    @property
    def dtype(self) -> "torch.dtype":
        return self.denoiser.dtype

    @property
    def device(self) -> "torch.device":
        return self.denoiser.device

    def cost_at(self, sigma: "Tensor") -> "Tensor":
        """Evaluations of one row at these noise levels: those of the denoiser."""
        from harness.sampling.denoiser import cost_at

        return cost_at(self.denoiser, sigma)

    def round_sigma(self, sigma: "Tensor") -> "Tensor":
        """The levels that the denoiser was trained at."""
        return self.denoiser.round_sigma(sigma)

    def __call__(self, x: "Tensor", sigma: "Tensor", labels: "Tensor | None" = None, /) -> "Tensor":
        """The denoised images with the error; arguments as for every denoiser."""
        denoised = self.denoiser(x, sigma, labels)
        level = sigma.to(denoised.dtype).reshape(-1, 1)  # [B, 1] or [1, 1]
        scale = (level.square() + self.sigma_data**2).sqrt()
        noise = (level.clamp(min=1e-10).log() / 4).expand(len(x), 1)  # at sigma = 0 the error is 0 whatever F says
        error = _apply(self._layers, x.to(denoised.dtype).flatten(1) / scale, noise)
        return denoised + (self.epsilon * level * self.sigma_data / scale * error).reshape(denoised.shape)


def _random_network(shape: tuple[int, ...], seed: int) -> "list[Tensor]":
    """Weights [out, in] float64 of two hidden layers and the output, the last scaled to outputs of mean square 1."""
    import torch

    rng, d = np.random.default_rng(seed), int(np.prod(shape))
    sizes = [d + 1, WIDTH, WIDTH, d]
    layers = [
        torch.from_numpy(rng.standard_normal((after, before)) / np.sqrt(before)) for before, after in pairwise(sizes)
    ]
    layers[0][:, -1] *= np.sqrt(sizes[0])  # the noise label counts as much as all pixels together
    probe = torch.from_numpy(rng.standard_normal((4096, d)))
    levels = torch.from_numpy(rng.uniform(math.log(LEVELS[0]), math.log(LEVELS[1]), (4096, 1)))
    layers[-1] /= _apply(layers, probe, levels / 4).square().mean().sqrt()
    return layers


def _apply(layers: "list[Tensor]", x: "Tensor", noise: "Tensor") -> "Tensor":
    """F [B, d] of x [B, d] and the noise label [B, 1]."""
    import torch

    first, second, last = layers
    return ((torch.cat([x, noise], 1) @ first.T).tanh() @ second.T).tanh() @ last.T
