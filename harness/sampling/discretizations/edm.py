"""The paper's own noise levels: equal steps in a root of sigma (Karras et al. 2022, eq. 5)."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions, to_ends


class EDM(Discretization):
    """Equal steps in sigma^(1/rho): fine near sigma_min, coarse near sigma_max.

    sigma_i = (sigma_max^(1/rho) + i/(N-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i < N.

    Args:
        rho: how much the steps near sigma_min are shortened at the expense of those near sigma_max; > 0, unitless.
            7 is the paper's choice, 3 nearly equalises the truncation error of Heun's method.
        sigma_min, sigma_max: noise range, in units of the data.

    Source: Karras et al. 2022, eq. 5.
    """

    formula: ClassVar[str] = "(sigma_max**(1/rho) + i/(N - 1)*(sigma_min**(1/rho) - sigma_max**(1/rho)))**rho"

    kind: Literal["edm"] = "edm"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    rho: Positive = 7.0

    def __call__(self, n: int, within: Range) -> Tensor:
        # sigma_max taken out of the power: no root overflows at a small rho, and none rounds to 1 at a large one
        span = math.expm1(math.log(within.low / within.high) / self.rho)
        return to_ends(within.high * torch.exp(self.rho * torch.log1p(fractions(n) * span)), within)
