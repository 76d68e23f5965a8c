"""What every solver declares about itself beside its step: its order, its history, and what it goes together with."""

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from harness.core.config import Config
from harness.sampling.dynamics import Dynamics, Point


class Solver(Config):
    """Base of all solvers. A solver adds its fields, `declared`, `last` and the step itself.

    The step takes the sample from `here`, where the denoiser was evaluated, to `t_next`, and may evaluate it elsewhere
    through `dynamics`. What it needs of earlier steps it keeps in `carry`, None at the first step.

    Attributes:
        stochastic: it solves an SDE and draws the noise itself.
        adaptive: it picks steps of its own between the levels, to a tolerance, so levels are only places to stop at.
        opens: its first step can start from the analytical first step, which makes no evaluation.
    """

    stochastic: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False
    opens: ClassVar[bool] = True

    kind: str

    @property
    @abstractmethod
    def declared(self) -> float | None:
        """Order of convergence: the power of the step in the error, on graded levels with exact starting values.

        The strong order, on a shared Brownian path, where the solver draws noise; the power of the tolerance where it
        is adaptive; None where none is claimed.
        """

    @property
    def past(self) -> int:
        """How many earlier points a step uses beside the current one: 0 for a single-step method."""
        return 0

    @property
    def draws(self) -> bool:
        """Whether this choice of fields draws noise."""
        return self.stochastic

    @property
    @abstractmethod
    def last(self) -> "Solver":
        """What takes the final step, to sigma = 0."""

    @abstractmethod
    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """One step.

        Args:
            dynamics: evaluates the denoiser, gives schedule and scaling.
            here: the evaluated point to start from.
            t_next: time to arrive at, ().
            carry: what the last step left.

        Returns:
            The state at t_next [B, C, H, W], and the carry for the next step.
        """

    def rebased(self, carry: Any, begun: Tensor, reached: Tensor) -> Any:
        """The carry of a step as if it had begun and ended at other states [B, C, H, W], without their scaling.

        Exact states take the place of computed ones where the error of single steps is looked at. Only a method that
        carries the sample's state, and not just evaluated points, has anything to change.
        """
        return carry
