"""The places beside a solver's step where a choice of stochasticity puts noise in."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from harness.core.config import Config
from harness.sampling.dynamics import Dynamics


class Leg(NamedTuple):
    """One stretch of a trajectory in time. A raise goes up by adding noise; the others are the solver's."""

    t: Tensor
    t_next: Tensor
    is_raise: bool = False


class Stochasticity(Config):
    """Base of all choices on this axis. One that draws noise overrides `draws`, and `legs`, `lift` or `land`."""

    kind: str

    @property
    def draws(self) -> bool:
        """Whether noise is added beside the solver's own."""
        return False

    @property
    def keeps_history(self) -> bool:
        """Whether the solver's past points stay on the trajectory, so that multistep methods make sense."""
        return True

    def legs(self, dynamics: Dynamics, times: Tensor) -> Iterator[Leg]:
        """The stretches of the trajectory: those between the times [N + 1], and any that go back up."""
        for t, t_next in pairwise(times):
            yield Leg(t, t_next)

    def raised(self, dynamics: Dynamics, x: Tensor, leg: Leg) -> Tensor:
        """The state after a leg that is a raise, for choices whose `legs` have any."""
        raise TypeError(f"stochasticity '{self.kind}' never goes back up, so none of its legs is a raise")

    def lift(self, dynamics: Dynamics, x: Tensor, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The state and time from which the solver's step starts."""
        return x, t

    def land(self, dynamics: Dynamics, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor | None]:
        """The time that the solver's step aims at, and the noise level to add there (None for nothing)."""
        return t_next, None
