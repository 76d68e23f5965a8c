"""The paper's own noise levels: equal steps in a root of sigma (Karras et al. 2022, eq. 5)."""

from typing import ClassVar, Literal

from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions


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
        top, bottom = within.high ** (1 / self.rho), within.low ** (1 / self.rho)
        return (top + fractions(n) * (bottom - top)) ** self.rho
