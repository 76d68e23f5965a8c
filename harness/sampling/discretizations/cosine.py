"""Levels of the cosine schedule in continuous time."""

import math
from typing import ClassVar, Literal

from torch import Tensor

from harness.core.config import Positive
from harness.sampling.discretizations.base import Discretization, Range, fractions, to_ends


class Cosine(Discretization):
    """Equal steps in the angle of the cosine schedule: sigma = tan(phi), signal cos(phi) and noise sin(phi).

    phi_i runs in equal steps from arctan(sigma_max) to arctan(sigma_min), i < N. This is improved DDPM's schedule
    without its table and its limits C_1 and C_2 (see `iddpm`): the range says where it starts and ends.

    Args:
        sigma_min, sigma_max: noise range, in units of the data.

    Source: Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17.
    """

    formula: ClassVar[str] = "tan(arctan(sigma_max) + i/(N - 1)*(arctan(sigma_min) - arctan(sigma_max)))"

    kind: Literal["cosine"] = "cosine"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0

    def __call__(self, n: int, within: Range) -> Tensor:
        top, bottom = math.atan(within.high), math.atan(within.low)
        return to_ends((top + fractions(n) * (bottom - top)).tan(), within)
