"""SciPy's `solve_ivp`, the oracle of our own adaptive solver."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import NOT_FINITE, SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.solvers.base import Solver
from harness.sampling.solvers.euler import Euler
from harness.sampling.solvers.rk45 import Tolerance


class SolveIVP(Solver):
    """SciPy's solve_ivp, a call for every sample, error in proportion to the tolerance.

    It sees the ODE only through its right-hand side in (x, t). Samples are solved one after the other, with a network
    call for every evaluation of every sample: an oracle for tests. `rk45` gives the same samples in common network
    calls, on the device. The last step, to sigma = 0, is Euler's. NFE differs by sample, and includes an evaluation at
    the start that SciPy repeats.

    Args:
        method: SciPy's name of the method.
        rtol, atol: relative and absolute tolerance of one step's error, in (0, 1); atol in units of x, rtol by default.

    Raises: SamplingError with SciPy's message where it gives up.
    Source: Virtanen et al. 2020; used so by Song et al. 2021 (arXiv 2011.13456) and in the paper's Figure 2.
    """

    adaptive: ClassVar[bool] = True
    supports_afs: ClassVar[bool] = False
    starts_at_infinity: ClassVar[bool] = True
    convergence_order: ClassVar[float] = 1
    last: ClassVar[Solver] = Euler()

    kind: Literal["solve_ivp"] = "solve_ivp"
    method: Literal["RK45", "RK23", "DOP853"] = "RK45"
    rtol: Tolerance = 1e-5
    atol: Tolerance | None = None

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        ends = [self._solve(dynamics, here, row, t_next) for row in range(len(here.x))]
        return torch.stack(ends), carry

    def _solve(self, dynamics: Dynamics, here: Point, row: int, t_next: Tensor) -> Tensor:
        """One sample [C, H, W] at t_next."""
        from scipy.integrate import solve_ivp

        start, is_finite = here.x[row : row + 1], True

        def drift(t: float, x: np.ndarray) -> np.ndarray:
            nonlocal is_finite
            state = torch.from_numpy(x).to(start).reshape(start.shape)
            at = torch.tensor([t], dtype=torch.float64, device=start.device)
            slope = dynamics.at(state, at, [row]).drift.flatten().double().cpu().numpy()
            is_finite = bool(np.isfinite(slope).all())
            return slope

        span = (here.t.item(), t_next.item())
        atol = self.rtol if self.atol is None else self.atol
        solved = solve_ivp(
            drift, span, start.flatten().double().cpu().numpy(), method=self.method, rtol=self.rtol, atol=atol
        )
        if not solved.success:
            # SciPy makes its steps smaller and smaller where the drift is NaN
            raise SamplingError(f"solve_ivp: {solved.message}" if is_finite else NOT_FINITE)
        return torch.from_numpy(solved.y[:, -1]).to(start).reshape(start.shape[1:])
