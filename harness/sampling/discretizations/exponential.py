"""Levels in powers of equal steps of log sigma: uniform in log-SNR, and k-diffusion's generalisation."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions, to_ends


class PolyExponential(Discretization):
    """Powers of equal steps in log sigma; `exponential` and `log_snr` are rho = 1, equal ratios between neighbours.

    log sigma_i = log sigma_min + (1 - i/(N-1))^rho (log sigma_max - log sigma_min), i < N.

    Equal steps in the log-SNR, -2 log sigma, are what DPM-Solver recommends for small images. `ve` is the same
    formula with the range of Song et al.

    Args:
        rho: above 1 the steps near sigma_min are shortened; > 0, unitless.
        sigma_min, sigma_max: noise range, in units of the data.

    Source: Lu et al. 2022 (arXiv 2206.00927), Section 3.4, for rho = 1; k-diffusion's get_sigmas_polyexponential.
    """

    formula: ClassVar[str] = "sigma_min*(sigma_max/sigma_min)**((1 - i/(N - 1))**rho)"

    kind: Literal["polyexponential"] = "polyexponential"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    rho: Positive = 1.0

    def __call__(self, n: int, within: Range) -> Tensor:
        low, high = math.log(within.low), math.log(within.high)
        return to_ends(torch.exp(low + (1 - fractions(n)) ** self.rho * (high - low)), within)
