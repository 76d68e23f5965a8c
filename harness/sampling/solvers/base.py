"""Base classes of all solvers: what a solver says of itself beside its step."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from torch import Tensor

from harness.core.config import Config, unwritten
from harness.sampling.dynamics import Dynamics, Point


class Solver(Config):
    """Base of all solvers. A solver adds its fields, `convergence_order`, `last` and the step itself.

    The step takes the sample from `here`, where the denoiser was evaluated, to `t_next`. It may evaluate the denoiser
    elsewhere through `dynamics`, which counts. What it needs of earlier steps it keeps in `carry`.

    Attributes:
        adaptive: it chooses steps of its own between the levels, to a tolerance; levels are only places to stop at.
        supports_afs: its first step can start from the analytical first step, which makes no evaluation.
        starts_at_infinity: its step works from t = 1 of flow matching, where sigma is infinite: it looks at `here.x`,
            `here.drift` and times alone. Another ODE solver leaves that step to Euler's method in t, to which every
            first-order step in sigma or log sigma tends there.

    Example: a solver of one's own, which need not be in the union or a plugin to be sampled with.
        >>> from typing import ClassVar, Literal
        >>> import harness
        >>> from harness.sampling.solvers import Euler
        >>> class Ralston(Solver):
        ...     kind: Literal["my_ralston"] = "my_ralston"
        ...     convergence_order: ClassVar[float] = 2
        ...     last: ClassVar[Solver] = Euler()
        ...
        ...     def __call__(self, dynamics, here, t_next, carry):
        ...         h = t_next - here.t
        ...         there = dynamics.at(here.x + 2 / 3 * h * here.drift, here.t + 2 / 3 * h)
        ...         return here.x + h * (here.drift + 3 * there.drift) / 4, carry
        >>> sampler = harness.Sampler(solver=Ralston(), steps=5)
        >>> harness.sample(harness.load_denoiser("ideal"), sampler, seeds=[0, 1]).nfe
        tensor([9, 9])

    Shapes of every solver: x [B, *shape] float64; t, sigma, s () float64, or [B, 1, ...] where samples are at times of
    their own.
    """

    adaptive: ClassVar[bool] = False
    supports_afs: ClassVar[bool] = True
    starts_at_infinity: ClassVar[bool] = False

    kind: str

    @property
    @abstractmethod
    def convergence_order(self) -> float | None:
        """The power of the step size in the error, on graded levels with exact starting values.

        It need not be the field `order` that some solvers have, which counts points. For SDE solvers it is the strong
        order, on a shared Brownian path; for adaptive ones the power of the tolerance. None where none is claimed.
        """

    @property
    def history(self) -> int:
        """How many earlier points a step uses beside the current one: 0 for a single-step method."""
        return 0

    @property
    def has_fixed_stages(self) -> bool:
        """Whether a step makes as many evaluations wherever it starts, whatever the state, and none past its end."""
        return False

    @property
    def is_stochastic(self) -> bool:
        """Whether it draws noise, with these fields."""
        return False

    @property
    @abstractmethod
    def last(self) -> "Solver":
        """The solver that takes the final step, to sigma = 0, where nothing can be evaluated."""

    def notes(self, sigmas: Tensor) -> list[str]:
        """What of it has no effect at noise levels [N], in sentences."""
        if len(sigmas) == 1 and self.last.kind != self.kind:
            return [
                f"With one noise level the only step is the last, which '{self.last.kind}' takes: solver '{self.kind}' "
                "is not used."
            ]
        if self.history > max(len(sigmas) - 2, 0):
            return [
                f"Solver '{self.kind}' looks back at {self.history} earlier points, and there are fewer: it does not "
                "reach its order."
            ]
        return []

    @abstractmethod
    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """One step.

        Args:
            dynamics: evaluates the denoiser, gives schedule and scaling.
            here: the evaluated point to start from.
            t_next: time to arrive at, ().
            carry: what the last step left; None at the first.

        Returns:
            The state at t_next [B, *shape], and the carry for the next step.
        """

    def lowered(self, left: int) -> "Solver":
        """The solver of a step with so many to go, itself included, that to sigma = 0 not: lowered near the end."""
        return self

    def rebased(self, carry: Any, begun: Tensor, reached: Tensor) -> Any:
        """The carry of a step as if it had begun and ended at other states [B, *shape], without their scaling.

        Measures of single steps put exact states in the place of computed ones. Only a method that carries states of
        the sample, and not just evaluated points, has anything to change.
        """
        return carry


class Multistep(Solver):
    """Base of ODE solvers that use earlier points.

    Args:
        lower_order_final: use no more points than steps are left, so that the order falls to 1 in the step to the last
            level. High orders extrapolate far where steps are few and the last ones long. diff-sampler does this by
            default, and so does `diffusers` in short runs, which counts the step to sigma = 0 as the last; the papers
            do not.
    """

    lower_order_final: Annotated[bool, unwritten(False)] = False

    def lowered(self, left: int) -> Solver:
        return self.with_points(left) if self.lower_order_final and left <= self.history else self

    @abstractmethod
    def with_points(self, count: int) -> Solver:
        """The method of this family that uses so many points, fewer than this one."""


class SDESolver(Solver):
    """Base of solvers that draw the noise of an SDE themselves."""

    supports_afs: ClassVar[bool] = False

    @property
    def is_stochastic(self) -> bool:
        return True
