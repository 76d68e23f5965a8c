"""The places beside a solver's step where a choice of stochasticity puts noise in."""

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, NamedTuple

from torch import Tensor

from harness.core.config import Config
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import Dynamics

USUAL_NOISE = 10.0
"""Factor on new noise up to which its size decides nothing about evaluations: no state comes near the end of floats."""


class Segment(NamedTuple):
    """A part of a trajectory, from time t to t_next: solved down, or with `is_renoising` taken up by adding noise."""

    t: Tensor
    t_next: Tensor
    is_renoising: bool = False


class Stochasticity(Config):
    """Base of all choices on this axis.

    A choice that adds noise overrides `is_stochastic`, and one or more of `segments`, `lift` and `land`.

    Attributes:
        starts_at_infinity: it works from t = 1 of flow matching, where sigma is infinite. One whose `lift` moves the
            sample at its own level does not.
    """

    starts_at_infinity: ClassVar[bool] = True

    kind: str

    @property
    def is_stochastic(self) -> bool:
        """Whether noise is added beside the solver's own."""
        return False

    @property
    def keeps_history(self) -> bool:
        """Whether the solver's past points stay on the trajectory, so that multistep methods make sense."""
        return True

    def counted(self, has_fixed_stages: bool) -> "Stochasticity":
        """A choice under which the solver makes as many evaluations and is refused alike, without amounts of noise.

        Samplers that differ in such amounts alone are counted once.

        Args:
            has_fixed_stages: of the solver.
        """
        return self

    def notes(self, sigmas: Tensor, denoiser: Denoiser) -> list[str]:
        """What of it has no effect at noise levels [N] of a denoiser, in sentences."""
        return []

    def segments(self, dynamics: Dynamics, times: Tensor) -> Iterator[Segment]:
        """The parts of the trajectory in order: those between the times [N + 1], and any that go back up."""
        for t, t_next in pairwise(times):
            yield Segment(t, t_next)

    def renoise(self, dynamics: Dynamics, x: Tensor, segment: Segment) -> Tensor:
        """The state after a segment that goes back up, for choices whose `segments` have any."""
        raise TypeError(f"stochasticity '{self.kind}' has no segments that go back up")

    def lift(self, dynamics: Dynamics, x: Tensor, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The state and time from which the solver's step starts."""
        return x, t

    def land(self, dynamics: Dynamics, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor | None]:
        """The time that the solver's step aims at, and the noise level to add there (None for nothing)."""
        return t_next, None
