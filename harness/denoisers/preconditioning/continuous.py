"""Preconditionings of models that were trained at a continuum of noise levels: VP, sub-VP, VE, EDM and flow."""

import math
from typing import Any

import torch
from torch import Tensor

from harness.denoisers.preconditioning.base import Coefficients, Formulas, Preconditioned


class Continuous(Preconditioned):
    """A model that takes every noise level in its range as it is."""

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return sigma


class VPPrecond(Continuous):
    """Variance-preserving models (DDPM++): sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1), t in [epsilon_t, 1].

    The range is sigma(epsilon_t) to sigma(1) in float32 arithmetic, like the network: 2^-10 to 152.167 by default,
    where exact arithmetic would start at 0.0010005.

    Args: beta_d, beta_min: of the schedule; M: steps that c_noise is scaled to; epsilon_t: least t. Others as the base.
    Source: Karras et al. 2022, table 1 and app. C.1; Song et al. 2021 (arXiv 2011.13456), eq. 32-33.
    """

    kind = "vp"
    usual_network = "SongUNet"
    formulas = Formulas("1", "-sigma", "1/sqrt(sigma**2 + 1)", "(M - 1)*t(sigma)")

    def __init__(
        self,
        *common: Any,
        beta_d: float = 19.9,
        beta_min: float = 0.1,
        M: int = 1000,
        epsilon_t: float = 1e-5,
        **network: Any,
    ) -> None:
        low, high = (self.level(t, beta_d, beta_min) for t in (epsilon_t, 1.0))
        super().__init__(
            *common,
            own={"beta_d": beta_d, "beta_min": beta_min, "M": M, "epsilon_t": epsilon_t},
            sigma_min=low,
            sigma_max=high,
            **network,
        )
        self.beta_d = beta_d
        self.beta_min = beta_min
        self.M = M

    @staticmethod
    def level(t: float, beta_d: float, beta_min: float) -> float:
        """The noise level at a time, for the ends of the range."""
        return float(vp_sigma(torch.tensor(t, device="cpu"), beta_d, beta_min))

    def coefficients(self, sigma: Tensor) -> Coefficients:
        t = vp_t(sigma, self.beta_d, self.beta_min)
        return Coefficients(1.0, -sigma, (sigma**2 + 1).rsqrt(), (self.M - 1) * t)


def vp_sigma(t: Tensor, beta_d: float, beta_min: float) -> Tensor:
    """sigma(t) of the variance-preserving schedule, in the arithmetic of t's dtype."""
    return ((0.5 * beta_d * t**2 + beta_min * t).exp() - 1).sqrt()


def vp_t(sigma: Tensor, beta_d: float, beta_min: float) -> Tensor:
    """Inverse of `vp_sigma`, in the arithmetic of sigma's dtype."""
    return _vp_root((1 + sigma**2).log(), beta_d, beta_min)


def _vp_root(decay: Tensor, beta_d: float, beta_min: float) -> Tensor:
    """The t >= 0 at which beta_d t^2 / 2 + beta_min t = decay, which is -2 ln m of the signal's share m."""
    return ((beta_min**2 + 2 * beta_d * decay).sqrt() - beta_min) / beta_d


class SubVPPrecond(VPPrecond):
    """Sub-VP models: x_t = m y + (1 - m^2) n with the m(t) of VP, so sigma = 1/m - m.

        m = 2 / (sigma + sqrt(sigma^2 + 4)),   -2 ln m = 2 asinh(sigma / 2) = beta_d t^2 / 2 + beta_min t

    Args: as `VPPrecond`. The range is sigma(epsilon_t) to sigma(1), 1.0e-6 to 152.16 by default.
    Source: Song et al. 2021 (arXiv 2011.13456), eq. 29 and app. B.
    """

    kind = "sub-vp"
    formulas = Formulas(
        "1",
        "-sigma",
        "2/(sigma + sqrt(sigma**2 + 4))",
        "(M - 1)*t(sqrt((sigma + sqrt(sigma**2 + 4))**2/4 - 1))",
    )

    @staticmethod
    def level(t: float, beta_d: float, beta_min: float) -> float:
        return 2 * math.sinh((0.5 * beta_d * t**2 + beta_min * t) / 2)  # 1/m - m = 2 sinh(-ln m)

    def coefficients(self, sigma: Tensor) -> Coefficients:
        t = _vp_root(2 * (sigma / 2).asinh(), self.beta_d, self.beta_min)
        return Coefficients(1.0, -sigma, 2 / (sigma + (sigma**2 + 4).sqrt()), (self.M - 1) * t)


class VEPrecond(Continuous):
    """Variance-exploding models (NCSN++), sigma from 0.02 to 100 by default.

    Source: Karras et al. 2022, table 1; Song et al. 2021.
    """

    kind = "ve"
    usual_network = "SongUNet"
    formulas = Formulas("1", "sigma", "1", "log(sigma/2)")

    def __init__(
        self,
        *common: Any,
        sigma_min: float = 0.02,
        sigma_max: float = 100.0,
        **network: Any,
    ) -> None:
        low, high = float(sigma_min), float(sigma_max)
        super().__init__(
            *common,
            own={"sigma_min": low, "sigma_max": high},
            sigma_min=low,
            sigma_max=high,
            **network,
        )

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(1.0, sigma, 1.0, (0.5 * sigma).log())


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
        *common: Any,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        sigma_data: float = 0.5,
        **network: Any,
    ) -> None:
        low, high = float(sigma_min), float(sigma_max)
        super().__init__(
            *common,
            own={"sigma_min": low, "sigma_max": high, "sigma_data": sigma_data},
            sigma_min=low,
            sigma_max=high,
            **network,
        )
        self.sigma_data = sigma_data

    def coefficients(self, sigma: Tensor) -> Coefficients:
        variance = sigma**2 + self.sigma_data**2
        root = variance.sqrt()
        return Coefficients(self.sigma_data**2 / variance, sigma * self.sigma_data / root, 1 / root, sigma.log() / 4)


class FlowPrecond(Continuous):
    """Flow matching on straight paths, also called rectified flow: the network predicts the velocity n - y.

        x_t = (1 - t) y + t n,   t = sigma / (1 + sigma),   so x_t = x / (1 + sigma) for x = y + sigma n

    The image is y = x_t - t F. Time runs from data at t = 0 to noise at t = 1. Some of the sources count it from noise
    to data; a network of theirs predicts y - n and is told 1 - t.

    Args:
        sigma_min, sigma_max: supported levels, by default all.
        time_scale: the network's time label is t times this; many published networks take 1000 t.
        Others as the base.
    Raises: ValueError: levels that do not rise from 0 or above, or a time scale that is not positive and finite.
    Source: Lipman et al. 2023 (arXiv 2210.02747); Liu et al. 2023 (arXiv 2209.03003); Esser et al. 2024
        (arXiv 2403.03206).
    """

    kind = "flow"
    formulas = Formulas("1/(sigma + 1)", "-sigma/(sigma + 1)", "1/(sigma + 1)", "time_scale*sigma/(sigma + 1)")

    def __init__(
        self,
        *common: Any,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        time_scale: float = 1.0,
        **network: Any,
    ) -> None:
        low, high = float(sigma_min), float(sigma_max)
        if not (0 <= low < high and 0 < time_scale < math.inf):
            raise ValueError(
                "sigma_min is 0 or more and below sigma_max, and time_scale is positive and finite; we got "
                f"{sigma_min}, {sigma_max} and {time_scale}"
            )
        super().__init__(
            *common,
            own={"sigma_min": low, "sigma_max": high, "time_scale": time_scale},
            sigma_min=low,
            sigma_max=high,
            **network,
        )
        self.time_scale = time_scale

    @property
    def takes_infinity(self) -> bool:
        return self.sigma_max == math.inf

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return flow_coefficients(sigma, self.time_scale)


def flow_coefficients(sigma: Tensor, time_scale: float) -> Coefficients:
    """The coefficients of a velocity n - y, elementwise; at sigma = infinity, t = 1, those of x_1 = n itself."""
    at_end = sigma.isinf()
    share = 1 / (sigma + 1)  # 1 - t, of the image in x_t
    t = torch.where(at_end, 1.0, sigma * share)
    share = torch.where(at_end, 1.0, share)
    return Coefficients(share, -t, share, time_scale * t)
