"""The one loop over steps: every sampler, every measure and every search goes through it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from harness.core.errors import SamplingError
from harness.sampling.dynamics import Dynamics, Point
from harness.sampling.sampler import Sampler


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
        times: float64 [N + 1] on the CPU, descending; or ascending, for a deterministic sampler.
        x: initial state [B, C, H, W] at times[0].

    Raises:
        SamplingError: with the step at which it happened.
    """
    solver, stochasticity, steps = sampler.solver, sampler.stochasticity, len(times) - 1
    carry: Any = None
    opens = sampler.afs
    for index, leg in enumerate(stochasticity.legs(dynamics, times)):
        try:
            if leg.is_raise:
                x, carry = stochasticity.raised(dynamics, x, leg), None
                continue
            x, t_hat = stochasticity.lift(dynamics, x, leg.t, steps)
            here, opens = dynamics.assumed(x, t_hat) if opens else dynamics.at(x, t_hat), False
            t_land, sigma_up = stochasticity.land(dynamics, t_hat, leg.t_next)
            if not dynamics.sigma(t_land) > 0:
                x, carry = solver.last(dynamics, here, t_land, None)[0], None
            elif not (solver.past and t_land == t_hat):  # where a denoiser rounds, a level again has nothing to teach
                x, carry = solver(dynamics, here, t_land, carry)
            if sigma_up is not None:
                s_next = dynamics.s(leg.t_next)
                x = x * (s_next / dynamics.s(t_land)) + s_next * sigma_up * dynamics.noise()
        except SamplingError as error:
            raise SamplingError(error.reason, index) from None
        yield Step(index, here, x)
