"""What training does at each noise level: the loss before and after, and what the raw network is asked for.

The loss by level is Figure 5a of the paper. The other numbers are its argument for preconditioning, loss weight and
noise distribution: with unit variance of the raw network's input and target at every level, and lambda c_out^2 = 1,
every level starts from the same loss, and the noise distribution alone says where effort goes (eq. 8, App. B.6).
Source: Karras et al. 2022 (arXiv 2206.00364), Sec. 5 and Figure 5a.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from harness.denoisers.preconditioning import Preconditioned
from harness.training.losses import Batch, DenoisingLoss

LOWEST, HIGHEST, COUNT = 0.002, 80.0, 25
"""The levels that are looked at: those of the paper's sampler, evenly spaced in ln sigma."""

IMAGES = 128
"""Images that a loss by level is the mean over, with one noise each for all levels."""


class LevelProfile(NamedTuple):
    """Numbers by noise level, each [K] float64.

    Args:
        sigma: rising, in units of the data.
        density: of ln sigma, in training.
        effective_weight: lambda c_out^2, what an error of the raw network counts.
        input_variance: of the raw network's input c_in x, over all images and pixels.
        target_variance: of its target (y - c_skip x) / c_out.
    """

    sigma: np.ndarray
    density: np.ndarray
    effective_weight: np.ndarray
    input_variance: np.ndarray
    target_variance: np.ndarray


def levels() -> Tensor:
    """The levels [K] that profiles and losses are at, float64."""
    return torch.logspace(np.log10(LOWEST), np.log10(HIGHEST), COUNT, dtype=torch.float64)


def level_profile(objective: DenoisingLoss, denoiser: Preconditioned, images: Tensor, seed: int = 0) -> LevelProfile:
    """What the raw network sees and is asked for at each level; no network is evaluated.

    Args:
        objective: the loss.
        denoiser: for its coefficients.
        images: [N, C, H, W] in [-1, 1].
        seed: of the noise.
    """
    sigmas, y = levels(), images.double()
    noise = torch.randn(y.shape, dtype=torch.float64, generator=Generator().manual_seed(seed))
    weights, inputs, targets = [], [], []
    for sigma in sigmas:
        c = denoiser.coefficients(sigma)
        x = y + sigma * noise
        weights.append(float(objective.weigh(sigma, denoiser) * c.out**2))
        inputs.append(float((c.inp * x).var(correction=0)))
        targets.append(float(((y - c.skip * x) / c.out).var(correction=0)))
    density = objective.noise.density(sigmas.numpy())
    return LevelProfile(sigmas.numpy(), density, np.array(weights), np.array(inputs), np.array(targets))


def loss_by_level(
    objective: DenoisingLoss, network: nn.Module, images: Tensor, labels: Tensor | None = None, seed: int = 0
) -> np.ndarray:
    """The mean training loss of unaugmented images at each level, [K] float64.

    Args:
        objective: the loss; its noise distribution and augmentation are not used.
        network: the denoiser, on its device, whatever its mode; it is evaluated without gradients and dropout.
        images: [N, C, H, W] in [-1, 1].
        labels: one-hot classes [N, label_dim], or None.
        seed: of the noise, one tensor for all levels.
    """
    noise = torch.randn(images.shape, generator=Generator().manual_seed(seed))
    device = next((parameter.device for parameter in network.parameters()), images.device)
    images, noise = images.to(device), noise.to(device)
    labels = None if labels is None else labels.to(device)
    was_training = network.training
    network.eval()
    found = []
    with torch.no_grad():
        for sigma in levels():
            same = sigma.float().to(device).expand(len(images), 1, 1, 1)
            batch = Batch(images, labels, same, None, noise)
            found.append(objective._replace(augmentation=None)(network, batch).double().mean().item())
    network.train(was_training)
    return np.array(found)
