"""The time steps of Song et al. 2021 for their two processes, as noise levels."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions, to_ends
from harness.sampling.schedules import VP, VP_DEFAULT


class VELevels(Discretization):
    """Equal ratios between neighbours: the time steps of Song et al. 2021 for VE.

    sigma_i = sigma_max (sigma_min / sigma_max)^(i/(N-1)), i < N.

    Source: Karras et al. 2022, Table 1, column VE.
    """

    formula: ClassVar[str] = "sigma_max*(sigma_min/sigma_max)**(i/(N - 1))"

    kind: Literal["ve"] = "ve"
    sigma_min: Positive = 0.02
    sigma_max: Positive = 100.0

    def __call__(self, n: int, within: Range) -> Tensor:
        return to_ends(within.high * (within.low / within.high) ** fractions(n), within)


class VPLevels(Discretization):
    """Equal times of the VP schedule: the time steps of Song et al. 2021 for VP.

    sigma_i = sigma_vp(t_i) at t_i = 1 + i/(N-1) (epsilon_s - 1), i < N.

    The betas are solved from the range in use, whatever the schedule that the ODE is solved in.

    Args:
        epsilon_s: the last time, where sigma_vp = sigma_min; in (0, 1). The schedule `vp` uses the same value.
        sigma_min, sigma_max: noise range; None for that of beta_d = 19.9, beta_min = 0.1 (0.0105 to 152 at 1e-3).

    Source: Karras et al. 2022, Table 1, column VP.
    """

    formula: ClassVar[str] = "sigma_vp(1 + i/(N - 1)*(epsilon_s - 1))"

    kind: Literal["vp"] = "vp"
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None
    epsilon_s: Annotated[float, Field(gt=0, lt=1)] = 1e-3

    @property
    def vp_epsilon(self) -> float:
        return self.epsilon_s

    def default_range(self) -> Range:
        return Range(*VP_DEFAULT.sigma(torch.tensor([self.epsilon_s, 1.0], dtype=torch.float64)).tolist())

    def __call__(self, n: int, within: Range) -> Tensor:
        curve = VP().fit(within.low, within.high, self.epsilon_s)
        return to_ends(curve.sigma(1 + fractions(n) * (self.epsilon_s - 1)), within)
