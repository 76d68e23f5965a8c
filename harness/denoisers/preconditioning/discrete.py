"""Preconditionings of models that were trained at discrete noise levels: iDDPM, VE, and DDPM with any betas.

**iDDPM** (Karras et al. 2022, table 1) has a table u_0 > ... > u_{M-1} of its own, see `IDDPMPrecond`.

**VE** has geometric levels, see `DiscreteVEPrecond`.

**DDPM and its kin** follow from the betas of their schedule,

    x_k = sqrt(abar_k) y + sqrt(1 - abar_k) n,   abar_k = prod_{i <= k} (1 - beta_i),   k = 0 ... T - 1.

In units of the images, x_k / sqrt(abar_k) = y + sigma_k n with sigma_k = sqrt((1 - abar_k) / abar_k): what a denoiser
D(x; sigma) is asked about. All in float64. The network sees x / sqrt(sigma^2 + 1), which has the scale of its training,
and the step k whose level is nearest to sigma.

| class                 | the network predicts                | D(x; sigma)                                     |
|-----------------------|-------------------------------------|-------------------------------------------------|
| `DDPMPrecond`         | the noise                           | x - sigma F                                     |
| `VelocityDDPMPrecond` | v = sqrt(abar) n - sqrt(1 - abar) y | x / (sigma^2 + 1) - sigma / sqrt(sigma^2 + 1) F |
| `SampleDDPMPrecond`   | the image                           | F                                               |

The schedules of betas are those of `harness.core.betas`.

Sources: Ho et al. 2020 (arXiv 2006.11239); Salimans & Ho 2022 (arXiv 2202.00512), app. D, for v; Karras et al. 2022
(arXiv 2206.00364), table 1 and app. C.3, for the form.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.betas import MAX_STEPS, betas, noise_levels
from harness.denoisers.preconditioning.base import Coefficients, Formulas, Preconditioned


def nearest(rising: Tensor, sigma: Tensor) -> Tensor:
    """Index of the level nearest to each sigma; of two equally near, the larger level.

    Args:
        rising: float64 [T], increasing.
        sigma: any shape.
    """
    between = (rising[1:] + rising[:-1]) / 2
    return torch.bucketize(sigma.to(torch.float64).contiguous(), between, right=True)


class IDDPMPrecond(Preconditioned):
    """Improved-DDPM models (ADM on ImageNet): M discrete noise levels u_0 > ... > u_{M-1}, with u_M = 0.

        u_{j-1} = sqrt((u_j^2 + 1) / max(abar_{j-1} / abar_j, C_1) - 1),   abar_j = sin^2(pi j / (2 M (C_2 + 1)))

    evaluated in float32, like the network. It emits 2 C channels; the second half, its variance, is not used.
    The last bits of u depend on the processor's sine (1e-6 relative), so checkpoints carry u, and loading one takes
    the range from there.

    Args: C_1: least ratio; C_2: offset of the cosine schedule; M: levels. Others as the base.
    Source: Karras et al. 2022, table 1 and app. C.3; Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17.
    """

    kind = "iddpm"
    formulas = Formulas("1", "-sigma", "1/sqrt(sigma**2 + 1)", "M - 1 - nearest(sigma)")
    u: Tensor

    def __init__(
        self,
        *common: Any,
        C_1: float = 0.001,
        C_2: float = 0.008,
        M: int = 1000,
        **network: Any,
    ) -> None:
        u = iddpm_levels(M, C_1, C_2)
        super().__init__(
            *common,
            own={"C_1": C_1, "C_2": C_2, "M": M},
            sigma_min=float(u[M - 1]),
            sigma_max=float(u[0]),
            variance=True,
            **network,
        )
        self.M = M
        self.register_buffer("u", u)
        self.register_load_state_dict_post_hook(_take_range)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        noise = (self.M - 1 - self._index(sigma)).to(sigma.dtype)
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), noise)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        u = self.u.to(sigma.device, sigma.dtype)
        return u[self._index(sigma)]

    def _index(self, sigma: Tensor) -> Tensor:
        """Index j of the u_j nearest to each sigma."""
        rising = self.u.to(sigma.device, torch.float64).flip(0)  # u_M = 0 first
        return self.M - nearest(rising, sigma)


def _take_range(net: nn.Module, _: object) -> None:
    assert isinstance(net, IDDPMPrecond)
    net.sigma_min, net.sigma_max = float(net.u[net.M - 1]), float(net.u[0])


def iddpm_levels(M: int, C_1: float, C_2: float) -> Tensor:
    """The levels u_0 ... u_M of `IDDPMPrecond`, float32 [M + 1], in float32 arithmetic throughout."""
    j = torch.arange(M + 1, dtype=torch.float32, device="cpu")
    abar = ((0.5 * math.pi * j / M / (C_2 + 1)).sin() ** 2).numpy()
    u = np.zeros(M + 1, dtype=np.float32)
    one = np.float32(1)
    for index in range(M, 0, -1):  # from u_M = 0 up to u_0
        ratio = np.maximum(abar[index - 1] / abar[index], np.float32(C_1))
        u[index - 1] = np.sqrt((u[index] * u[index] + one) / ratio - one)
    return torch.from_numpy(u)


class Stepped(Preconditioned):
    """A model of discrete steps whose levels follow from its arguments.

    Attributes:
        levels: float64 [T], rising; no buffer, so that no cast rounds it.
    """

    levels: Tensor

    def round_sigma(self, sigma: Tensor) -> Tensor:
        levels = self.levels.to(sigma.device)
        return levels[nearest(levels, sigma)].to(sigma.dtype)

    def _step(self, sigma: Tensor) -> Tensor:
        """Index of the level nearest to each sigma, 0 the least."""
        return nearest(self.levels.to(sigma.device), sigma)


class DiscreteVEPrecond(Stepped):
    """Variance-exploding models of discrete steps (NCSN++ trained by SMLD): geometric levels, told by their index.

    Args: sigma_min, sigma_max: least and largest level; M: how many. Others as the base.
    Raises: ValueError: levels that do not rise.
    Source: Song & Ermon 2019 (arXiv 1907.05600); Song et al. 2021 (arXiv 2011.13456), sec. 3.1 and app. B.
    """

    kind = "ve-discrete"
    usual_network = "SongUNet"
    formulas = Formulas("1", "sigma", "1", "M - 1 - nearest(sigma)")

    def __init__(
        self,
        *common: Any,
        sigma_min: float = 0.02,
        sigma_max: float = 100.0,
        M: int = 1000,
        **network: Any,
    ) -> None:
        if not (0 < sigma_min < sigma_max < math.inf and 2 <= M <= MAX_STEPS):
            raise ValueError(
                f"noise levels are 2 to {MAX_STEPS:,} and rise from above 0; we got {M} from {sigma_min} to {sigma_max}"
            )
        super().__init__(
            *common,
            own={"sigma_min": sigma_min, "sigma_max": sigma_max, "M": M},
            sigma_min=float(sigma_min),
            sigma_max=float(sigma_max),
            **network,
        )
        self.levels = torch.tensor(np.geomspace(sigma_min, sigma_max, M), device="cpu")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        label = (len(self.levels) - 1 - self._step(sigma)).to(sigma.dtype)  # 0 is the largest level
        return Coefficients(1.0, sigma, 1.0, label)


class DDPMPrecond(Stepped):
    """A network of discrete steps that predicts the noise.

    Args:
        beta_schedule, num_steps, beta_start, beta_end, trained_betas: see `betas`.
        zero_snr: see `noise_levels`.
        time_scale: the network's time label is k times this.
        learn_sigma: the network emits 2 C channels; the second half, its variance, is not used.
        Others as the base.
    Raises: ValueError: a schedule that cannot be.
    """

    kind = "ddpm"
    usual_network = "OpenAIUNet"
    formulas = Formulas("1", "-sigma", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)")

    def __init__(
        self,
        *common: Any,
        beta_schedule: str = "linear",
        num_steps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        trained_betas: Sequence[float] = (),
        zero_snr: bool = False,
        time_scale: float = 1.0,
        learn_sigma: bool = False,
        **network: Any,
    ) -> None:
        table = noise_levels(betas(beta_schedule, num_steps, beta_start, beta_end, trained_betas), zero_snr)
        super().__init__(
            *common,
            own={
                "beta_schedule": beta_schedule,
                "num_steps": num_steps,
                "beta_start": beta_start,
                "beta_end": beta_end,
                "trained_betas": list(trained_betas),
                "zero_snr": zero_snr,
                "time_scale": time_scale,
                "learn_sigma": learn_sigma,
            },
            sigma_min=float(table[0]),
            sigma_max=float(table[-1]),
            variance=learn_sigma,
            **network,
        )
        self.time_scale = time_scale
        self.levels = torch.tensor(table, device="cpu")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), self._label(sigma))

    def _label(self, sigma: Tensor) -> Tensor:
        """c_noise: the network's time label, the step k of the nearest level times `time_scale`."""
        return (self._step(sigma) * self.time_scale).to(sigma.dtype)


class VelocityDDPMPrecond(DDPMPrecond):
    """A network of discrete steps that predicts v, the rate at which the signal turns into noise."""

    kind = "ddpm-v"
    formulas = Formulas(
        "1/(sigma**2 + 1)", "-sigma/sqrt(sigma**2 + 1)", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)"
    )

    def coefficients(self, sigma: Tensor) -> Coefficients:
        root = (sigma**2 + 1).rsqrt()  # sqrt(abar), since abar = 1 / (sigma^2 + 1)
        return Coefficients(root**2, -sigma * root, root, self._label(sigma))


class SampleDDPMPrecond(DDPMPrecond):
    """A network of discrete steps that predicts the image."""

    kind = "ddpm-x0"
    formulas = Formulas("0", "1", "1/sqrt(sigma**2 + 1)", "time_scale*nearest(sigma)")

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(0.0, torch.ones_like(sigma), (sigma**2 + 1).rsqrt(), self._label(sigma))
