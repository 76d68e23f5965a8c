"""From a raw network F to a denoiser D: the preconditionings of Karras et al. 2022, table 1 (arXiv 2206.00364).

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise, labels)                                                  (eq. 7)

| class          | c_skip                              | c_out                                  | c_in                      | c_noise            |
|----------------|-------------------------------------|----------------------------------------|---------------------------|--------------------|
| `VPPrecond`    | 1                                   | -sigma                                 | 1 / sqrt(sigma^2 + 1)     | (M - 1) t(sigma)   |
| `VEPrecond`    | 1                                   | sigma                                  | 1                         | ln(sigma / 2)      |
| `IDDPMPrecond` | 1                                   | -sigma                                 | 1 / sqrt(sigma^2 + 1)     | M - 1 - argmin_j   |
| `EDMPrecond`   | s_d^2 / (sigma^2 + s_d^2)           | sigma s_d / sqrt(sigma^2 + s_d^2)      | 1 / sqrt(sigma^2 + s_d^2) | ln(sigma) / 4      |

Models of discrete time, given by their betas, are in `ddpm`.
"""  # noqa: E501

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.denoisers.ddpm import DDPMPrecond, SampleDDPMPrecond, VelocityDDPMPrecond
from harness.denoisers.preconditioned import Coefficients, Continuous, Formulas, Preconditioned


class VPPrecond(Continuous):
    """Variance-preserving models (DDPM++): sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), t in [epsilon_t, 1].

    The range is sigma(epsilon_t) to sigma(1) in float32 arithmetic, like the network: 2^-10 to 152.167 by default,
    where exact arithmetic would start at 0.0010005.

    Args: beta_d, beta_min: of the schedule; M: steps that c_noise is scaled to; epsilon_t: least t. Others as the base.
    Source: Karras et al. 2022, table 1 and app. C.1; Song et al. 2021 (arXiv 2011.13456), eq. 32-33.
    """

    kind = "vp"
    formulas = Formulas("1", "-sigma", "1/sqrt(sigma**2 + 1)", "(M - 1)*t(sigma)")

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        M: int = 1000,
        epsilon_t: float = 1e-5,
        model_type: str = "SongUNet",
        **network: Any,
    ) -> None:
        low, high = (float(vp_sigma(torch.tensor(t, device="cpu"), beta_d, beta_min)) for t in (epsilon_t, 1.0))
        own = {"beta_d": beta_d, "beta_min": beta_min, "M": M, "epsilon_t": epsilon_t}
        super().__init__(
            img_resolution, img_channels, label_dim, use_fp16, low, high, img_channels, model_type, network, own
        )
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.M = M
        self.epsilon_t = epsilon_t

    def coefficients(self, sigma: Tensor) -> Coefficients:
        t = vp_t(sigma, self.beta_d, self.beta_min)
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), (self.M - 1) * t)


def vp_sigma(t: Tensor, beta_d: float, beta_min: float) -> Tensor:
    """sigma(t) of the variance-preserving schedule, in the arithmetic of t's dtype."""
    return ((0.5 * beta_d * t**2 + beta_min * t).exp() - 1).sqrt()


def vp_t(sigma: Tensor, beta_d: float, beta_min: float) -> Tensor:
    """Inverse of `vp_sigma`, in the arithmetic of sigma's dtype."""
    return ((beta_min**2 + 2 * beta_d * (1 + sigma**2).log()).sqrt() - beta_min) / beta_d


class VEPrecond(Continuous):
    """Variance-exploding models (NCSN++), sigma from 0.02 to 100 by default.

    Source: Karras et al. 2022, table 1; Song et al. 2021.
    """

    kind = "ve"
    formulas = Formulas("1", "sigma", "1", "log(sigma/2)")

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        sigma_min: float = 0.02,
        sigma_max: float = 100.0,
        model_type: str = "SongUNet",
        **network: Any,
    ) -> None:
        low, high = float(sigma_min), float(sigma_max)
        own = {"sigma_min": low, "sigma_max": high}
        super().__init__(
            img_resolution, img_channels, label_dim, use_fp16, low, high, img_channels, model_type, network, own
        )

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(1.0, sigma, 1.0, (0.5 * sigma).log())


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
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        C_1: float = 0.001,
        C_2: float = 0.008,
        M: int = 1000,
        model_type: str = "DhariwalUNet",
        **network: Any,
    ) -> None:
        u = iddpm_levels(M, C_1, C_2)
        own = {"C_1": C_1, "C_2": C_2, "M": M}
        super().__init__(
            img_resolution,
            img_channels,
            label_dim,
            use_fp16,
            float(u[M - 1]),
            float(u[0]),
            2 * img_channels,
            model_type,
            network,
            own,
        )
        self.M = M
        self.register_buffer("u", u)
        self.register_load_state_dict_post_hook(_take_range)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        noise = (self.M - 1 - self._nearest(sigma)).to(sigma.dtype)
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), noise)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        u = self.u.to(sigma.device, sigma.dtype)
        return u[self._nearest(sigma)]

    def _nearest(self, sigma: Tensor) -> Tensor:
        """Index j of the u_j nearest to each sigma; of two equally near, the larger level."""
        rising = self.u.to(sigma.device, torch.float64).flip(0)  # u_M = 0 first
        between = (rising[1:] + rising[:-1]) / 2
        return self.M - torch.bucketize(sigma.to(torch.float64), between, right=True)


def _take_range(net: nn.Module, _: object) -> None:
    assert isinstance(net, IDDPMPrecond)
    net.sigma_min, net.sigma_max = float(net.u[net.M - 1]), float(net.u[0])


def iddpm_levels(M: int, C_1: float, C_2: float) -> Tensor:
    """The levels u_0 ... u_M of `IDDPMPrecond`, float32 [M + 1], in float32 arithmetic throughout."""
    j = torch.arange(M + 1, dtype=torch.float32, device="cpu")
    abar = ((0.5 * math.pi * j / M / (C_2 + 1)).sin() ** 2).numpy()
    u = np.zeros(M + 1, dtype=np.float32)
    one = np.float32(1)
    for index in range(M, 0, -1):
        ratio = np.maximum(abar[index - 1] / abar[index], np.float32(C_1))
        u[index - 1] = np.sqrt((u[index] * u[index] + one) / ratio - one)
    return torch.from_numpy(u)


class EDMPrecond(Continuous):
    """The paper's own preconditioning: unit variance of the network's input and target at every noise level.

    Args: sigma_min, sigma_max: supported levels, by default all; sigma_data: std of the training images (0.5 for
        images in [-1, 1]). Others as the base.
    Source: Karras et al. 2022, table 1 and app. B.6.
    """

    kind = "edm"
    formulas = Formulas(
        "sigma_data**2/(sigma**2 + sigma_data**2)",
        "sigma*sigma_data/sqrt(sigma**2 + sigma_data**2)",
        "1/sqrt(sigma**2 + sigma_data**2)",
        "log(sigma)/4",
    )

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        sigma_data: float = 0.5,
        model_type: str = "DhariwalUNet",
        **network: Any,
    ) -> None:
        low, high = float(sigma_min), float(sigma_max)
        own = {"sigma_min": low, "sigma_max": high, "sigma_data": sigma_data}
        super().__init__(
            img_resolution, img_channels, label_dim, use_fp16, low, high, img_channels, model_type, network, own
        )
        self.sigma_data = sigma_data

    def coefficients(self, sigma: Tensor) -> Coefficients:
        variance = sigma**2 + self.sigma_data**2
        root = variance.sqrt()
        return Coefficients(self.sigma_data**2 / variance, sigma * self.sigma_data / root, 1 / root, sigma.log() / 4)


PRECONDITIONINGS: dict[str, type[Preconditioned]] = {
    cls.kind: cls
    for cls in (
        VPPrecond,
        VEPrecond,
        IDDPMPrecond,
        EDMPrecond,
        DDPMPrecond,
        VelocityDDPMPrecond,
        SampleDDPMPrecond,
    )
}
"""Every preconditioning by its kind."""
