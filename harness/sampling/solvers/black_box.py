"""SciPy's `solve_ivp` as a black box: slow, trusted, the oracle of our own adaptive solver."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver
from harness.sampling.solvers.euler import Euler
from harness.sampling.solvers.meeting import meet
from harness.sampling.solvers.rk45 import Tolerance


class SolveIVP(Solver):
    """SciPy's solve_ivp, a call for every sample, error in proportion to the tolerance.

    It sees the ODE only through its right-hand side in (x, t). The samples' requests are gathered into common network
    calls, so that it can be used on a network; for images of any size `rk45` does the same on the device. The last
    step, to sigma = 0, is Euler's. NFE differs by sample, and includes an evaluation at the start that SciPy repeats.

    Args:
        method: SciPy's name of the method.
        rtol, atol: relative and absolute tolerance of one step's error, in (0, 1); atol in units of x, rtol by default.

    Shapes: x [B, C, H, W] float64, any image shape; t ().
    Raises: SamplingError with SciPy's message where it gives up.
    Source: Virtanen et al. 2020; used so by Song et al. 2021 (arXiv 2011.13456) and in the paper's Figure 2.
    """

    adaptive: ClassVar[bool] = True
    opens: ClassVar[bool] = False

    kind: Literal["solve_ivp"] = "solve_ivp"
    method: Literal["RK45", "RK23", "DOP853"] = "RK45"
    rtol: Tolerance = 1e-5
    atol: Tolerance | None = None

    @property
    def declared(self) -> float:
        return 1

    @property
    def last(self) -> Euler:
        return Euler()

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        shape, device = here.x.shape[1:], here.x.device
        span = (here.t.item(), t_next.item())

        def evaluate(rows: list[int], requests: list[tuple[float, np.ndarray]]) -> list[np.ndarray]:
            t = torch.tensor([time for time, _ in requests], dtype=torch.float64, device=device)
            x = torch.from_numpy(np.stack([state for _, state in requests])).to(device).reshape(-1, *shape)
            drift = dynamics.at(x.to(here.x.dtype), t, rows).drift
            return list(drift.flatten(1).double().cpu().numpy())

        starts = here.x.flatten(1).double().cpu().numpy()
        ends = meet([self._solve(span, start) for start in starts], evaluate)
        return torch.from_numpy(np.stack(ends)).to(device, here.x.dtype).reshape(here.x.shape), carry

    def _solve(self, span: tuple[float, float], start: np.ndarray) -> Callable[[Callable[[Any], Any]], np.ndarray]:
        """One sample's solution, given how to ask for the right-hand side."""
        from scipy.integrate import solve_ivp

        def run(ask: Callable[[Any], Any]) -> np.ndarray:
            atol = self.rtol if self.atol is None else self.atol
            found = solve_ivp(lambda t, x: ask((t, x)), span, start, method=self.method, rtol=self.rtol, atol=atol)
            if not found.success:
                raise SamplingError(f"solve_ivp: {found.message}")
            return found.y[:, -1]

        return run
