"""DEIS: multistep exponential integrators that extrapolate the predicted noise by a polynomial in some time.

With d xbar / d sigma = eps and sigma a function of a time tau,

    xbar_next = xbar + sum_j eps_j integral_tau^tau_next L_j(tau') (d sigma / d tau)(tau') d tau'

where L_j are the Lagrange polynomials of the current and past times. In the data's units this is the paper's eq. 15.
The integral is taken over log sigma, where no time makes it steep.
"""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.schedules import VP_DEFAULT
from harness.sampling.solvers.adams import recent, step
from harness.sampling.solvers.base import Multistep, Solver
from harness.sampling.solvers.euler import DDIM
from harness.sampling.solvers.interpolation import weights


class DEIS(Multistep):
    """DEIS of the Adams-Bashforth kind, order as given, 1 NFE per step; the paper's tAB-k is order k + 1 here.

    Order 1 is DDIM. The first steps, with too few past points, use the lower orders. The last step lands on the
    denoised image.

    Args:
        order: number of points, 1 to 4; the degree of the polynomial plus one.
        variable: what the polynomial is in. `t`: the time of the variance preserving schedule with beta 0.1 to 20
            (tAB, the authors' recommendation); `log_sigma`: the logarithm of sigma, which `diffusers` uses. In sigma
            itself (rhoAB) the method is `lms`.

    Source: Zhang & Chen 2023 (arXiv 2204.13902), eq. 15 and Section 3.3.
    """

    last: ClassVar[Solver] = DDIM()

    kind: Literal["deis"] = "deis"
    order: Annotated[int, Field(ge=1, le=4)] = 4
    variable: Literal["t", "log_sigma"] = "t"

    @property
    def convergence_order(self) -> float:
        return self.order

    @property
    def history(self) -> int:
        return self.order - 1

    def with_points(self, count: int) -> Solver:
        return self.model_copy(update={"order": min(self.order, count)})

    def __call__(self, dynamics: Dynamics, here: Point, t_next: Tensor, carry: Any) -> tuple[Tensor, Any]:
        points = recent(here, carry, self.order)
        # in log sigma the density d sigma / d log sigma is sigma = exp(log sigma)
        start, end = math.log(here.sigma.item()), math.log(dynamics.sigma(t_next).item())
        nodes = self._time(np.log([point.sigma.item() for point in points])).tolist()
        return step(dynamics, points, weights(nodes, start, end, np.exp, self._time), t_next), points

    def _time(self, log_sigma: np.ndarray) -> np.ndarray:
        """The polynomial's variable, elementwise."""
        if self.variable == "log_sigma":
            return log_sigma
        return VP_DEFAULT.t(torch.from_numpy(np.exp(log_sigma))).numpy()
