"""Training losses of the paper's design space: a noise distribution and a weight, one class for each column of Table 1.

Every loss is weight(sigma) |D(y + sigma n; sigma) - y|^2 with unit normal n and the (augmented) image y as the target,
as in eq. 2 of Karras et al. 2022 (arXiv 2206.00364); the preconditioning inside D turns it into a loss on the raw
network (eq. 8). Random numbers are drawn in a fixed order: sigma, augmentation, n.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from harness.core.config import Config, Finite, Positive, one_of

Augment = Callable[[Tensor, Generator | None], tuple[Tensor, Tensor]]
"""Augmentation of images [N, C, H, W]: the changed images and the labels [N, A] that say what was changed."""


class DenoisingLoss(Config):
    """What the losses share: the order of draws and the weighted squared error. A member adds `draw` and `weight`.

    Attributes:
        distribution: of the noise levels, in words.
        weighting: the weight as an expression in sigma and the loss's own numbers.
    """

    distribution: ClassVar[str]
    weighting: ClassVar[str]

    @abstractmethod
    def draw(self, n: int, network: nn.Module, generator: Generator | None, device: torch.device) -> Tensor:
        """Noise levels [n, 1, 1, 1] float32, in units of the data."""

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight of the squared error, same shape as sigma: 1/sigma^2 counts the error in the noise, not the image."""
        return 1 / sigma**2

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor | None = None,
        augment: Augment | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """The loss of every pixel; nothing is summed or averaged.

        Args:
            network: D(x, sigma, labels, augment_labels=None).
            images: [N, C, H, W] float32, nominally in [-1, 1].
            labels: [N, label_dim] one-hot float32, or None for no condition.
            augment: changes images and says how; None leaves them.
            generator: where random numbers come from; None is torch's own stream.

        Returns:
            [N, C, H, W] float32.
        """
        sigma = self.draw(len(images), network, generator, images.device)
        target, augment_labels = (images, None) if augment is None else augment(images, generator)
        noise = torch.randn(target.shape, dtype=target.dtype, device=target.device, generator=generator)
        denoised = network(target + sigma * noise, sigma, labels, augment_labels=augment_labels)
        return self.weight(sigma) * (denoised - target) ** 2


class VPLoss(DenoisingLoss):
    """Variance preserving: sigma(t) with t uniform between epsilon_t and 1, weight 1/sigma^2. Table 1, column VP.

    sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1.  Source: Song et al. 2021 (arXiv 2011.13456), App. C.

    Args:
        beta_d: slope of the noise rate, unitless.
        beta_min: noise rate at t = 0, unitless.
        epsilon_t: smallest t, in (0, 1).
    """

    distribution: ClassVar[str] = "sigma(t) with t uniform between epsilon_t and 1"
    weighting: ClassVar[str] = "1/sigma**2"

    kind: Literal["vp"] = "vp"
    beta_d: Positive = 19.9
    beta_min: Positive = 0.1
    epsilon_t: Annotated[float, Field(gt=0, lt=1)] = 1e-5

    def sigma(self, t: Tensor) -> Tensor:
        """Noise level at time t; exp(..) - 1 and not expm1: in float32 these are the levels of published models."""
        return ((0.5 * self.beta_d * t**2 + self.beta_min * t).exp() - 1).sqrt()

    def draw(self, n: int, network: nn.Module, generator: Generator | None, device: torch.device) -> Tensor:
        """Uniform in t, from 1 down."""
        return self.sigma(1 + torch.rand([n, 1, 1, 1], generator=generator, device=device) * (self.epsilon_t - 1))


class VELoss(DenoisingLoss):
    """Variance exploding: log sigma uniform between the ends, weight 1/sigma^2. Table 1, column VE.

    Args:
        sigma_min: smallest noise level, in units of the data.
        sigma_max: largest noise level.
        exponent: of 1/sigma in the weight, 2 in the paper. A smaller one lets the high levels count more; the ideal
            denoiser is the same for all.
    """

    distribution: ClassVar[str] = "log sigma uniform between log sigma_min and log sigma_max"
    weighting: ClassVar[str] = "1/sigma**exponent"

    kind: Literal["ve"] = "ve"
    sigma_min: Positive = 0.02
    sigma_max: Positive = 100.0
    exponent: Annotated[float, Field(ge=0, le=2)] = 2.0

    def weight(self, sigma: Tensor) -> Tensor:
        """1 / sigma^exponent."""
        return 1 / sigma**self.exponent

    def draw(self, n: int, network: nn.Module, generator: Generator | None, device: torch.device) -> Tensor:
        """sigma_min (sigma_max / sigma_min)^u, u uniform in [0, 1)."""
        u = torch.rand([n, 1, 1, 1], generator=generator, device=device)
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** u


class IDDPMLoss(DenoisingLoss):
    """Improved DDPM, simple loss: all levels u_j equally likely, weight 1/sigma^2. Table 1, column iDDPM.

    With D = x - sigma F this is the squared error of F against the noise. The levels are the buffer `u` [M + 1] of the
    preconditioned network (cosine schedule; u_0 is the largest, u_M = 0 is never drawn).
    Source: Nichol and Dhariwal 2021 (arXiv 2102.09672), eq. 17 for the levels, L_simple for the loss.
    """

    distribution: ClassVar[str] = "u(j) with j uniform in 0 to M − 1"
    weighting: ClassVar[str] = "1/sigma**2"

    kind: Literal["iddpm"] = "iddpm"

    def draw(self, n: int, network: nn.Module, generator: Generator | None, device: torch.device) -> Tensor:
        """u_j with j uniform in 0..M-1."""
        levels = network.get_buffer("u")[:-1].to(device, torch.float32)
        return levels[torch.randint(len(levels), [n, 1, 1, 1], generator=generator, device=device)]


class EDMLoss(DenoisingLoss):
    """The paper's own: log sigma normal, weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2. Table 1, column Ours.

    Args:
        P_mean: mean of ln sigma.
        P_std: standard deviation of ln sigma.
        sigma_data: standard deviation of the data; the same as in the preconditioning.
    """

    distribution: ClassVar[str] = "log sigma normal with mean P_mean and standard deviation P_std"
    weighting: ClassVar[str] = "(sigma**2 + sigma_data**2)/(sigma*sigma_data)**2"

    kind: Literal["edm"] = "edm"
    P_mean: Finite = -1.2
    P_std: Positive = 1.2
    sigma_data: Positive = 0.5

    def draw(self, n: int, network: nn.Module, generator: Generator | None, device: torch.device) -> Tensor:
        """exp(P_mean + P_std z), z standard normal."""
        return (torch.randn([n, 1, 1, 1], generator=generator, device=device) * self.P_std + self.P_mean).exp()

    def weight(self, sigma: Tensor) -> Tensor:
        """1 / c_out^2, so that the raw network sees weight 1 at every level (eq. 8 and App. B.6)."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2


LOSSES = one_of(VPLoss, VELoss, IDDPMLoss, EDMLoss)
Loss = Annotated[DenoisingLoss, LOSSES]
