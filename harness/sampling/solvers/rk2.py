"""The two-stage Runge-Kutta family of second order, Heun's method among it."""

from typing import Any, Literal

from torch import Tensor

from harness.choice import Choice, Positive
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.euler import Euler


class RK2(Choice):
    """Two-stage explicit Runge-Kutta method, order 2, 2 NFE per step (1 on the last); `heun` is alpha 1.

    x_next = x + h [(1 - 1/2a) d + (1/2a) d'],  d' = drift at (x + a h d, t + a h).  a = 1 is Heun, 2/3 Ralston,
    1/2 midpoint. Integrates in (x, t), so the schedule changes its error.

    Args:
        alpha: position a of the second stage, > 0, unitless; above 1 it evaluates past t_next, and a plan in which
            t + alpha h falls to 0 or below is refused.

    Shapes: x [B, C, H, W] float64, any image shape; t ().
    Source: Karras et al. 2022 (arXiv 2206.00364), Algorithm 1 and Algorithm 3 (Appendix D.2).
    """

    kind: Literal["rk2"] = "rk2"
    alpha: Positive = 1.0

    @property
    def last(self) -> Euler:
        """The step to sigma = 0, where the second stage could not be evaluated: Euler's."""
        return Euler()

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        h, weight = t_next - here.t, 1 / (2 * self.alpha)
        there = dynamics.at(here.x + self.alpha * h * here.drift, here.t + self.alpha * h)
        return here.x + h * ((1 - weight) * here.drift + weight * there.drift), carry
