"""The one loop over steps: every sampler, every measure and every search goes through it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.sampler import Sampler
from harness.sampling.solvers.euler import Euler

REPEATED = 1e-12
"""Times nearer to each other than this, relative, are one: what lies between them is rounding."""


FROM_INFINITY = Euler()
"""x_next = (t_next / t) x + (s_next - s t_next / t) D at t = 1, s = 0, with s_next = 1 - t_next."""


class Step(NamedTuple):
    """One step of a trajectory: its number from 0, the evaluated point it started from, and the state it reached."""

    number: int
    here: Point
    x: Tensor


def trajectory(dynamics: Dynamics, sampler: Sampler, times: Tensor, x: Tensor) -> Iterator[Step]:
    """Walk the times from the first to the last with the sampler's solver and stochasticity.

    Args:
        dynamics: the ODE's right-hand side for the samples in x.
        sampler: supplies solver, stochasticity and the first step; its other fields are in `dynamics` and `times`.
        times: float64 [N + 1] on the CPU, N steps, descending; or ascending, for a deterministic sampler.
        x: initial state [B, *shape] at times[0].

    Raises:
        SamplingError: with the step at which it happened.
    """
    solver, stochasticity = sampler.solver, sampler.stochasticity
    own_steps = len(times) - 1 - int(times[-1] == 0)  # the step to zero is `solver.last`'s
    carry: Any = None
    is_assumed = sampler.afs
    for index, segment in enumerate(stochasticity.segments(dynamics, times)):
        try:
            if segment.is_renoising:
                x, carry = stochasticity.renoise(dynamics, x, segment), None
                continue
            # Algorithm 2 of the paper: raise the noise, evaluate, step, and for ancestral noise land below and add
            x, t_hat = stochasticity.lift(dynamics, x, segment.t, sampler.steps)
            here = dynamics.analytical_first_step(x, t_hat) if is_assumed else dynamics.at(x, t_hat)
            is_assumed = False
            t_land, sigma_up = stochasticity.land(dynamics, t_hat, segment.t_next)
            if bool(here.sigma.isinf()):  # t = 1: in the limit all first-order steps are Euler's in t
                first = solver if solver.starts_at_infinity and t_land > 0 else FROM_INFINITY
                x, carry = first(dynamics, here, t_land, None)[0], None
            elif not dynamics.sigma(t_land) > 0:
                x, carry = solver.last(dynamics, here, t_land, None)[0], None
            # a level may repeat, where a denoiser rounds or levels crowd: no history and no noise comes of such a step
            elif not ((solver.history or solver.is_stochastic) and torch.isclose(t_land, t_hat, rtol=REPEATED, atol=0)):
                x, carry = solver.lowered(own_steps - index)(dynamics, here, t_land, carry)
            if sigma_up is not None:
                s_next = dynamics.s(segment.t_next)
                x = x * (s_next / dynamics.s(t_land)) + s_next * sigma_up * dynamics.noise()
        except SamplingError as error:
            raise SamplingError(error.reason, index) from None
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            raise SamplingError(
                f"the step from sigma {here.sigma.item():.4g} cannot be computed ({error})", index
            ) from None
        yield Step(index, here, x)
