"""Denoisers from networks that were trained at discrete steps: DDPM and its kin, whatever their betas.

The network sees x / sqrt(sigma^2 + 1), which has the scale of its training, and the step k whose noise level is nearest
to sigma. What it predicts differs:

| class                 | predicts                            | D(x; sigma)                                     |
|-----------------------|-------------------------------------|-------------------------------------------------|
| `DDPMPrecond`         | the noise                           | x - sigma F                                     |
| `VelocityDDPMPrecond` | v = sqrt(abar) n - sqrt(1 - abar) y | x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) F |
| `SampleDDPMPrecond`   | the image                           | F                                               |

Sources: Ho et al. 2020 (arXiv 2006.11239); Salimans & Ho 2022 (arXiv 2202.00512), app. D, for v; Karras et al. 2022
(arXiv 2206.00364), table 1 and app. C.3, for the form.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.denoisers.betas import betas, noise_levels
from harness.denoisers.preconditioned import Coefficients, Formulas, Preconditioned


class DDPMPrecond(Preconditioned):
    """A network of discrete steps that predicts the noise.

    Args:
        beta_schedule, num_steps, beta_start, beta_end, trained_betas, zero_snr: see `harness.denoisers.betas`.
        time_scale: the network's time label is k times this.
        learn_sigma: the network emits 2 C channels; the second half, its variance, is not used.
        Others as the base.
    Raises: ValueError: a schedule that cannot be.
    """

    kind = "ddpm"
    formulas = Formulas("1", "-sigma", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)")

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        beta_schedule: str = "linear",
        num_steps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        trained_betas: Sequence[float] = (),
        zero_snr: bool = False,
        time_scale: float = 1.0,
        learn_sigma: bool = False,
        model_type: str = "OpenAIUNet",
        **network: Any,
    ) -> None:
        schedule = {
            "beta_schedule": beta_schedule,
            "num_steps": num_steps,
            "beta_start": beta_start,
            "beta_end": beta_end,
            "trained_betas": list(trained_betas),
            "zero_snr": zero_snr,
        }
        table = noise_levels(betas(beta_schedule, num_steps, beta_start, beta_end, trained_betas), zero_snr)
        super().__init__(
            img_resolution,
            img_channels,
            label_dim,
            use_fp16,
            float(table[0]),
            float(table[-1]),
            img_channels * (2 if learn_sigma else 1),
            model_type,
            network,
            {**schedule, "time_scale": time_scale, "learn_sigma": learn_sigma},
        )
        self.time_scale = time_scale
        self.levels = torch.tensor(table, device="cpu")  # float64 [T], rising; no buffer, so that no cast rounds it

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), self._label(sigma))

    def round_sigma(self, sigma: Tensor) -> Tensor:
        levels = self.levels.to(sigma.device)
        return levels[self._nearest(sigma)].to(sigma.dtype)

    def _label(self, sigma: Tensor) -> Tensor:
        return (self._nearest(sigma) * self.time_scale).to(sigma.dtype)

    def _nearest(self, sigma: Tensor) -> Tensor:
        """Step k of the level nearest to each sigma; of two equally near, the larger level."""
        levels = self.levels.to(sigma.device)
        return torch.bucketize(sigma.to(torch.float64), (levels[1:] + levels[:-1]) / 2, right=True)


class VelocityDDPMPrecond(DDPMPrecond):
    """A network of discrete steps that predicts v, the rate at which the signal turns into noise."""

    kind = "ddpm-v"
    formulas = Formulas(
        "1/(sigma**2 + 1)", "-sigma/sqrt(sigma**2 + 1)", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)"
    )

    def coefficients(self, sigma: Tensor) -> Coefficients:
        root = (sigma**2 + 1).rsqrt()
        return Coefficients(root**2, -sigma * root, root, self._label(sigma))


class SampleDDPMPrecond(DDPMPrecond):
    """A network of discrete steps that predicts the image."""

    kind = "ddpm-x0"
    formulas = Formulas("0", "1", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(0.0, torch.ones_like(sigma), (sigma**2 + 1).rsqrt(), self._label(sigma))
