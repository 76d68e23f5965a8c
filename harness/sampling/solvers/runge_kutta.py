"""Explicit Runge-Kutta methods with fixed steps, in (x, t): the two-stage family of second order, and the classical."""

from typing import Any, ClassVar, Literal

from torch import Tensor

from harness.core.config import Positive
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver
from harness.sampling.solvers.euler import Euler


class RK2(Solver):
    """Two-stage Runge-Kutta method, order 2, 2 NFE per step (1 on the last); `heun`, `midpoint`, `ralston` are choices.

    x_next = x + h [(1 - 1/2a) d + (1/2a) d'],  d' = drift at (x + a h d, t + a h).  a = 1 is Heun, 2/3 Ralston,
    1/2 midpoint. Integrates in (x, t), so the schedule changes its error; compare `dpm_2`, which integrates in sigma.

    Args:
        alpha: position a of the second stage, > 0, unitless; above 1 it evaluates past t_next, and a plan in which
            t + alpha h falls to 0 or below is refused.

    Source: Karras et al. 2022 (arXiv 2206.00364), Algorithm 1 and Algorithm 3 (Appendix D.2).
    """

    starts_at_infinity: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 2
    last: ClassVar[Solver] = Euler()

    kind: Literal["rk2"] = "rk2"
    alpha: Positive = 1.0

    @property
    def has_fixed_stages(self) -> bool:
        return self.alpha <= 1

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        # the order condition sum b_i c_i = 1/2 with c = (0, alpha) gives the second weight
        h, weight = t_next - here.t, 1 / (2 * self.alpha)
        there = dynamics.at(here.x + self.alpha * h * here.drift, here.t + self.alpha * h)
        return here.x + h * ((1 - weight) * here.drift + weight * there.drift), carry


class RK4(Solver):
    """The classical Runge-Kutta method, order 4, 4 NFE per step (1 on the last, Euler's).

    x_next = x + h/6 (k1 + 2 k2 + 2 k3 + k4): the drift at t, twice at t + h/2, and at t_next. Integrates in (x, t), so
    the schedule changes its error.

    Source: Kutta 1901; Hairer, Norsett & Wanner 1993, "Solving Ordinary Differential Equations I", table II.1.2.
    """

    starts_at_infinity: ClassVar[bool] = True
    has_fixed_stages: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 4
    last: ClassVar[Solver] = Euler()

    kind: Literal["rk4"] = "rk4"

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        x, h, half = here.x, t_next - here.t, here.t + (t_next - here.t) / 2
        k1 = here.drift
        k2 = dynamics.at(x + h / 2 * k1, half).drift
        k3 = dynamics.at(x + h / 2 * k2, half).drift
        k4 = dynamics.at(x + h * k3, t_next).drift
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), carry
