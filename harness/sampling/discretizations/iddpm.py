"""The levels of improved DDPM: a fixed table from its cosine schedule, of which some are picked."""

import math
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from harness.core.config import Positive
from harness.core.errors import InputError
from harness.sampling.discretizations.base import Discretization, Range


class IDDPM(Discretization):
    """N of the M levels of improved DDPM's cosine schedule, evenly spaced in index.

    u_M = 0 and u_(j-1) = sqrt((u_j^2 + 1) / max(abar_(j-1) / abar_j, C_1) - 1), abar_j = sin^2(pi j / (2 M (C_2 + 1))).
    As in the paper's released sampler the levels within [sigma_min, sigma_max] are kept, and those at round((K-1)/(N-1)
    i) used, K being their number, with halves rounded to even. With `j_0` it is the paper's text: the levels at
    floor(j_0 + (M-1-j_0)/(N-1) i + 1/2), whatever their range. For the defaults and j_0 = 8 the two differ in halves
    only.

    Args:
        C_1: lower limit on the ratio of neighbouring abar, which bounds the highest levels.
        C_2: offset of the cosine, which bounds the lowest.
        M: number of levels of the training schedule.
        j_0: index of the first level, as in the paper's text (8); None for the released sampler's rule.
        sigma_min, sigma_max: noise range; the lowest level under the defaults is 0.00642. With `j_0` every
            level has to lie in the denoiser's own range, and these are not used.

    Source: Karras et al. 2022, Table 1, column iDDPM + DDIM; Nichol & Dhariwal 2021. As in the paper's released
    sampler, abar is rounded to float32, which moves the lowest levels by up to 5e-4 (relative).
    """

    formula: ClassVar[str] = "u(floor(j_0 + (M - 1 - j_0)/(N - 1)*i + 1/2))"

    kind: Literal["iddpm"] = "iddpm"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 81.0
    C_1: Positive = 0.001
    C_2: Positive = 0.008
    M: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    j_0: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _starts_in_the_table(self) -> "IDDPM":
        if self.j_0 is not None and self.j_0 >= self.M:
            raise ValueError(f"j_0 is an index into M = {self.M} levels; we got {self.j_0}")
        return self

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The part of the table that is used.

        Raises:
            InputError: nothing is left of the range, or `j_0` starts at a level that the denoiser does not support.
        """
        if self.j_0 is None:
            return super().clamp(sigma_min, sigma_max)
        kept = iddpm_levels(self.M, self.C_1, self.C_2)[self.j_0 : self.M]
        ends = Range(kept[-1].item(), kept[0].item())
        if not sigma_min <= ends.low <= ends.high <= sigma_max:
            raise InputError(
                f"discretization 'iddpm' with j_0 = {self.j_0} goes from {ends.high:g} to {ends.low:g}, outside the "
                f"denoiser's range {sigma_min:g} to {sigma_max:g}; remove j_0, so that it keeps to the range"
            )
        return ends

    def __call__(self, n: int, within: Range) -> Tensor:
        table = iddpm_levels(self.M, self.C_1, self.C_2)
        if self.j_0 is None:
            kept, half_up = table[(table >= within.low) & (table <= within.high)], 0.0
        else:
            kept, half_up = table[self.j_0 : self.M], 0.5
        if n > len(kept):
            raise InputError(
                f"discretization 'iddpm' has {len(kept)} levels between {within.low:g} and {within.high:g} "
                f"and cannot make {n} steps; ask for fewer, or raise M (now {self.M})"
            )
        place = (len(kept) - 1) / max(n - 1, 1) * torch.arange(n, dtype=torch.float64)
        return kept[((place + half_up).floor() if half_up else place.round()).long()]


@lru_cache(maxsize=16)
def iddpm_levels(M: int, C_1: float, C_2: float) -> Tensor:
    """The table u_0 > u_1 > ... > u_M = 0 of improved DDPM as float64 [M+1]; see `IDDPM`. Do not write to it."""
    abar = (0.5 * math.pi * torch.arange(M + 1) / M / (C_2 + 1)).sin() ** 2  # float32, as in the released sampler
    ratios = (abar[:-1] / abar[1:]).clip(min=C_1).double().tolist()
    levels = [0.0]
    for ratio in reversed(ratios):
        levels.append(math.sqrt((levels[-1] ** 2 + 1) / ratio - 1))
    return torch.tensor(levels[::-1], dtype=torch.float64)
