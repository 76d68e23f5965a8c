"""Equal steps in the time of flow matching, with the shift that latent models use."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from harness.core.config import Positive
from harness.core.errors import InputError
from harness.sampling.discretizations.base import Discretization, Range, fractions

LEAST = 1e-5
"""The least time that equal steps down to 0 leave before the last: that of 100,000 steps."""


class FlowLevels(Discretization):
    """Equal steps in the time u of flow matching, shifted: t = shift u / (1 + (shift - 1) u), so sigma = shift u / (1 - u).

    Without `t_min` u_i = t_max (1 - i/N), i < N: the step to 0 is as long as the others. With `t_min`
    u_i = t_max + i/(N-1) (t_min - t_max), and the step to 0 starts at t_min. At u = 1 sigma is infinite and a sample is
    noise alone; that needs schedule and scaling `flow`, and a denoiser that may be asked there.

    Solver `euler` with schedule and scaling `flow` on these levels is the sampler of SiT and FLUX. `FlowMatchEuler` of
    diffusers takes t from 1 to 1/N where a pipeline gives it `sigmas`, as that of FLUX does, and otherwise from 1 to
    1/1000, which is `t_min: 0.001` (with a shift there, 1/1000 shifted once: shift / (999 + shift)). Its `shift` is this
    one, and its `mu` is log(shift).

    Args:
        t_max: u of the first level, in (0, 1].
        t_min: u of the last level; None for t_max / N.
        shift: alpha > 0, which multiplies every noise level; above 1 for more steps at high noise. 1 is none.
        sigma_min, sigma_max: not to be given; the times have them.

    Source: Liu et al. 2023 (arXiv 2209.03003); for the shift Esser et al. 2024 (arXiv 2403.03206), eq. 23.
    """  # noqa: E501

    formula: ClassVar[str] = "shift*u(i)/(1 - u(i))"

    kind: Literal["flow"] = "flow"
    sigma_min: None = None
    sigma_max: None = None
    t_max: Annotated[float, Field(gt=0, le=1)] = 1.0
    t_min: Annotated[float, Field(gt=0, lt=1)] | None = None
    shift: Positive = 1.0

    @model_validator(mode="after")
    def _downwards(self) -> "FlowLevels":
        if self.t_min is not None and self.t_min >= self.t_max:
            raise ValueError(f"times fall from t_max to t_min; we got {self.t_max:g} and {self.t_min:g}")
        return self

    def default_range(self) -> Range:
        """The levels of t_min, or of a time below that of any step, and of t_max."""
        return Range(self._sigma(LEAST * self.t_max if self.t_min is None else self.t_min), self._sigma(self.t_max))

    def clamp(self, sigma_min: float, sigma_max: float) -> Range:
        """The part of the range that the denoiser supports; the top may be infinite.

        Raises:
            InputError: nothing is left of the range.
        """
        asked = self.default_range()
        low, high = max(asked.low, sigma_min), min(asked.high, sigma_max)
        if not 0 < low < high:
            raise InputError(
                f"no noise range is left: discretization 'flow' asks for {asked.low:g} to {asked.high:g} and the "
                f"denoiser supports {sigma_min:g} to {sigma_max:g}; move t_min and t_max"
            )
        return Range(low, high)

    def notes(self, within: Range) -> list[str]:
        asked = self.default_range()
        ends = (("t_max", self.t_max, asked.high, within.high), ("t_min", self.t_min, asked.low, within.low))
        return [
            f"{name} = {given:g} is not within the denoiser's range, and {self._time(used):.4g} is taken."
            for name, given, wanted, used in ends
            if name in self.model_fields_set and given is not None and wanted != used
        ]

    def __call__(self, n: int, within: Range) -> Tensor:
        top, bottom = self._time(within.high), self._time(within.low)
        if self.t_min is None and top / n > bottom:
            bottom = top / n
        u = top + fractions(n) * (bottom - top)
        sigmas = self.shift * u / (1 - u)
        sigmas[0] = within.high
        return sigmas

    def _sigma(self, u: float) -> float:
        return self.shift * u / (1 - u) if u < 1 else math.inf

    def _time(self, sigma: float) -> float:
        """u of a noise level, before the shift."""
        return sigma / (self.shift + sigma) if sigma < math.inf else 1.0
