"""The training loss of the paper: a noise distribution, a weight, and the squared error of the denoiser.

    loss = lambda(sigma) |D(y + sigma n; sigma) - y|^2,   sigma ~ p_train, n ~ N(0, I)                       (eq. 2)

y is the image, augmented if asked for, and the target. The preconditioning inside D turns this into a loss of the raw
network (eq. 8, see `harness.training.weights`). Random numbers are drawn in a fixed order: sigma, augmentation, n.

The two axes are free. Each column of Table 1 is also there as one word, `loss: edm` for `noise: edm` and `weight: edm`.
Source: Karras et al. 2022 (arXiv 2206.00364).
"""

from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from harness.core.config import Positive, one_of
from harness.denoisers.preconditioning import IDDPMPrecond, Preconditioned
from harness.training.augmentation import Augmentation
from harness.training.noise_distributions import IDDPMNoise, LogNormal, LogUniform, NoiseDistribution, VPNoise
from harness.training.weights import EDMWeight, LossWeight, Power


class Batch(NamedTuple):
    """Images and all random numbers of one step, so that it can be cut into parts with equal results.

    Args:
        images: [N, C, H, W], nominally in [-1, 1].
        labels: one-hot classes [N, label_dim]; None without condition.
        sigma: noise levels [N, 1, 1, 1].
        augmentation: parameters of each image's augmentation [N, P]; None without.
        noise: unit normal, of the images' shape.
    """

    images: Tensor
    labels: Tensor | None
    sigma: Tensor
    augmentation: Tensor | None
    noise: Tensor


class DenoisingLoss(NamedTuple):
    """A loss of the paper's training design space.

    Args:
        noise: distribution of the noise level.
        weight: of the squared error.
        augmentation: changes images and tells the network how; None leaves them.
        sigma_data: standard deviation of the data, for weights that do not state their own.
    """

    noise: NoiseDistribution
    weight: LossWeight
    augmentation: Augmentation | None = None
    sigma_data: float = 0.5

    def draw(self, images: Tensor, labels: Tensor | None = None, generator: Generator | None = None) -> Batch:
        """Draw the random numbers of a step, on the CPU and in float32, whatever device and type train.

        Args:
            images: [N, C, H, W] on the CPU.
            labels: [N, label_dim] one-hot, or None.
            generator: where random numbers come from; None is torch's own stream.
        """
        sigma = self.noise.draw(len(images), generator)
        augmentation = None if self.augmentation is None else self.augmentation.draw(len(images), generator)
        noise = torch.randn(images.shape, generator=generator)
        return Batch(images, labels, sigma, augmentation, noise)

    def __call__(self, network: nn.Module, batch: Batch, denoiser: Preconditioned | None = None) -> Tensor:
        """The loss of every pixel, [N, C, H, W]; nothing is summed or averaged.

        Args:
            network: D(x, sigma, labels, augment_labels=None), on the batch's device and of its type.
            batch: see `draw`.
            denoiser: the preconditioned network inside, where `network` wraps it; None: `network` is one, or has no
                preconditioning and then no weight that asks for c_out.
        """
        denoiser = denoiser or (network if isinstance(network, Preconditioned) else None)
        sigma = batch.sigma
        if isinstance(denoiser, IDDPMPrecond):
            # this network knows the levels of its table only; 0, the last of them, is none to train at
            sigma = denoiser.round_sigma(sigma.clamp(denoiser.sigma_min, denoiser.sigma_max))
        target, augment_labels = batch.images, None
        if self.augmentation is not None and batch.augmentation is not None:
            target, augment_labels = self.augmentation.apply(target, batch.augmentation)
        denoised = network(target + sigma * batch.noise, sigma, batch.labels, augment_labels=augment_labels)
        return self.weigh(sigma, denoiser) * (denoised - target) ** 2

    def weigh(self, sigma: Tensor, denoiser: Preconditioned | None = None) -> Tensor:
        """lambda(sigma), of sigma's shape; `denoiser` is asked for its c_out."""

        def c_out(levels: Tensor) -> Tensor:
            if denoiser is None:
                raise ValueError("the weight 'c_out' needs a preconditioned network")
            return denoiser.coefficients(levels).out

        return self.weight(sigma, c_out, self.sigma_data)


class Column(NoiseDistribution):
    """A column of Table 1: a noise distribution that brings its weight."""

    @abstractmethod
    def weight(self) -> LossWeight:
        """The weight of the column."""


class VPLoss(VPNoise, Column):
    """Column VP: uniform time, weight 1/sigma^2."""

    def weight(self) -> LossWeight:
        return Power(exponent=2.0)


class VELoss(LogUniform, Column):
    """Column VE: log sigma uniform, weight 1/sigma^2.

    Args:
        exponent: of 1/sigma in the weight; 2 in the paper.
    """

    kind: Literal["ve"] = "ve"  # type: ignore[assignment]
    exponent: Annotated[float, Field(ge=0, le=2)] = 2.0

    def weight(self) -> LossWeight:
        return Power(exponent=self.exponent)


class IDDPMLoss(IDDPMNoise, Column):
    """Column iDDPM: the levels of the cosine schedule, weight 1/sigma^2: the simple loss, of the error in the noise."""

    def weight(self) -> LossWeight:
        return Power(exponent=2.0)


class EDMLoss(LogNormal, Column):
    """Column Ours: log sigma normal, weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2.

    Args:
        sigma_data: standard deviation of the data; None: the recipe's.
    """

    kind: Literal["edm"] = "edm"  # type: ignore[assignment]
    sigma_data: Positive | None = None

    def weight(self) -> LossWeight:
        return EDMWeight(sigma_data=self.sigma_data)


COLUMNS = one_of(VPLoss, VELoss, IDDPMLoss, EDMLoss)
LossChoice = Annotated[Column, COLUMNS]
