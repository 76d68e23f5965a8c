"""Euler's method."""

from typing import Any, Literal

from torch import Tensor

from harness.choice import Choice
from harness.sampling.dynamics import Dynamics, Point


class Euler(Choice):
    """Euler's method, order 1, 1 NFE per step; with schedule `linear` and scaling `none` it is DDIM.

    x_next = x + (t_next - t) d,  d = drift at (x, t).  Integrates in (x, t), so the schedule changes its error.

    Shapes: x [B, C, H, W] float64, any image shape; t ().
    Source: Karras et al. 2022, Algorithm 1 without its correction; Song, Meng & Ermon 2021 (DDIM).
    """

    kind: Literal["euler"] = "euler"

    @property
    def last(self) -> "Euler":
        """The step to sigma = 0: Euler's own, which lands on the denoised image."""
        return self

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        return here.x + (t_next - here.t) * here.drift, carry
