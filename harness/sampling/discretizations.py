"""Discretizations: the N noise levels at which a sampler stops on its way down (paper Table 1, row "Time steps").

A discretization gives noise levels, not times: the schedule in use maps them to t, and the sampler appends the final
0. Each has its own default range, clamped to what the denoiser was trained for before `__call__(n, within)` lays out n
levels over what is left: float64 [n], descending, the first at the top of the range (except for `iddpm`'s fixed table).
"""

import math
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.choice import Choice, Positive, Shorthand
from harness.errors import InputError
from harness.sampling.schedules import VP, VP_DEFAULT


class Range(NamedTuple):
    """The noise range in use, in units of the data: lowest and highest level, both reached."""

    low: float
    high: float


class Levels(Choice):
    """What every discretization has: a noise range, and the VP schedule's smallest time under that range."""

    sigma_min: Positive | None
    sigma_max: Positive | None

    @property
    def vp_epsilon(self) -> float:
        """The time that the VP schedule gives to the lowest level."""
        return 1e-3

    def default_range(self) -> Range:
        """The range where the choice names none."""
        return Range(0.0, math.inf)

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The part of this choice's range that the denoiser supports.

        Raises:
            InputError: nothing is left of the range.
        """
        default = self.default_range()
        asked = Range(self.sigma_min or default.low, self.sigma_max or default.high)
        low, high = max(asked.low, sigma_min), min(asked.high, sigma_max)
        if not 0 < low < high < math.inf:
            raise InputError(
                f"no noise range is left: the discretization asks for {asked.low:g} to {asked.high:g} and the denoiser "
                f"supports {sigma_min:g} to {sigma_max:g}; set sigma_min below sigma_max, within the denoiser's range"
            )
        return Range(low, high)


def _fractions(n: int) -> Tensor:
    """i / (n - 1) for i < n as float64 [n]; a single level sits at the top."""
    return torch.arange(n, dtype=torch.float64) / max(n - 1, 1)


class EDM(Levels):
    """Equal steps in sigma^(1/rho): fine near sigma_min, coarse near sigma_max.

    sigma_i = (sigma_max^(1/rho) + i/(N-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i < N.

    Args:
        rho: how much the steps near sigma_min are shortened at the expense of those near sigma_max; > 0, unitless.
            7 is the paper's choice, 3 nearly equalises the truncation error of Heun's method.
        sigma_min, sigma_max: noise range, in units of the data.

    Source: Karras et al. 2022, eq. 5.
    """

    kind: Literal["edm"] = "edm"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    rho: Positive = 7.0

    def __call__(self, n: int, within: Range) -> Tensor:
        top, bottom = within.high ** (1 / self.rho), within.low ** (1 / self.rho)
        return (top + _fractions(n) * (bottom - top)) ** self.rho


class VE(Levels):
    """Equal ratios between neighbours: the time steps of Song et al. 2021 for VE.

    sigma_i = sigma_max (sigma_min / sigma_max)^(i/(N-1)), i < N.

    Source: Karras et al. 2022, Table 1, column VE.
    """

    kind: Literal["ve"] = "ve"
    sigma_min: Positive = 0.02
    sigma_max: Positive = 100.0

    def __call__(self, n: int, within: Range) -> Tensor:
        variance = within.high**2 * (within.low**2 / within.high**2) ** _fractions(n)
        return variance.sqrt()


class VPLevels(Levels):
    """Equal times of the VP schedule: the time steps of Song et al. 2021 for VP.

    sigma_i = sigma_vp(t_i) at t_i = 1 + i/(N-1) (epsilon_s - 1), i < N.

    The betas are solved from the range in use, whatever the schedule that the ODE is solved in.

    Args:
        epsilon_s: the last time, where sigma_vp = sigma_min; in (0, 1). The schedule `vp` uses the same value.
        sigma_min, sigma_max: noise range; None for that of beta_d = 19.9, beta_min = 0.1 (0.0105 to 152 at 1e-3).

    Source: Karras et al. 2022, Table 1, column VP.
    """

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
        return curve.sigma(1 + _fractions(n) * (self.epsilon_s - 1))


class IDDPM(Levels):
    """N of the M levels of improved DDPM's cosine schedule, evenly spaced in index.

    u_M = 0 and u_(j-1) = sqrt((u_j^2 + 1) / max(abar_(j-1) / abar_j, C_1) - 1), abar_j = sin^2(pi j / (2 M (C_2 + 1))).
    The levels within [sigma_min, sigma_max] are kept, and those at round((K-1)/(N-1) i) used, K being their number.

    Args:
        C_1: lower limit on the ratio of neighbouring abar, which bounds the highest levels.
        C_2: offset of the cosine, which bounds the lowest.
        M: number of levels of the training schedule.
        sigma_min, sigma_max: noise range; the lowest level under the defaults is 0.00642.

    Source: Karras et al. 2022, Table 1, column iDDPM + DDIM; Nichol & Dhariwal 2021. As in the paper's released
    sampler, abar is rounded to float32, which moves the lowest levels by up to 5e-4 (relative).
    """

    kind: Literal["iddpm"] = "iddpm"
    sigma_min: Positive = 0.002
    sigma_max: Positive = 81.0
    C_1: Positive = 0.001
    C_2: Positive = 0.008
    M: Annotated[int, Field(ge=1, le=1_000_000)] = 1000

    def __call__(self, n: int, within: Range) -> Tensor:
        table = iddpm_levels(self.M, self.C_1, self.C_2)
        kept = table[(table >= within.low) & (table <= within.high)]
        if n > len(kept):
            raise InputError(
                f"discretization 'iddpm' has {len(kept)} levels between {within.low:g} and {within.high:g} "
                f"and cannot make {n} steps; ask for fewer, or raise M (now {self.M})"
            )
        index = ((len(kept) - 1) / max(n - 1, 1) * torch.arange(n, dtype=torch.float64)).round().long()
        return kept[index]


@lru_cache(maxsize=16)
def iddpm_levels(M: int, C_1: float, C_2: float) -> Tensor:
    """The table u_0 > u_1 > ... > u_M = 0 of improved DDPM as float64 [M+1]; see `IDDPM`. Do not write to it."""
    abar = (0.5 * math.pi * torch.arange(M + 1) / M / (C_2 + 1)).sin() ** 2  # float32, as in the released sampler
    ratios = (abar[:-1] / abar[1:]).clip(min=C_1).double().tolist()
    levels = [0.0]
    for ratio in reversed(ratios):
        levels.append(math.sqrt((levels[-1] ** 2 + 1) / ratio - 1))
    return torch.tensor(levels[::-1], dtype=torch.float64)


Discretization = Annotated[EDM | VE | VPLevels | IDDPM, Field(discriminator="kind"), Shorthand]
