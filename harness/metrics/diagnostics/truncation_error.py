"""Truncation error: what one step of a solver gets wrong, by noise level (paper Figure 13)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from harness.metrics.base import Arrays, SamplingJob
from harness.metrics.diagnostics.base import MEAN_BLOCKS, Diagnostic, Profile, SampleValues, rmse
from harness.metrics.diagnostics.converged import Follower, check_steps
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import Estimate

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler


class TruncationError(Diagnostic):
    """Root mean square error of single steps, each from the converged trajectory, against many sub-steps.

    At every level the solver makes one step from the exact state, and is compared with sub-steps from the same state to
    the same level; the next step starts from what the sub-steps reached. A multistep solver finds exact points in its
    history. The value of a sample is the mean over its steps; the last step, to sigma = 0, is left out. The paper takes
    200 sub-steps of Euler's method; 20 of Heun's have less error of their own and cost a fifth.

    Args:
        substeps: between two levels.
        by: their method, `heun` or `euler`.

    Source: Karras et al. 2022, Appendix D.1 and Figure 13.
    """

    word: ClassVar[str] = "Truncation error of a step"
    by_level: ClassVar[str | None] = "Truncation error by noise level"
    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["truncation-error"] = "truncation-error"
    substeps: Annotated[int, Field(ge=1, le=100_000)] = 20
    by: Literal["heun", "euler"] = "heun"

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        sampler.check_ode(self.kind)
        check_steps(sampler, self.kind)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return nfe + (sampler.steps - 1) * self.substeps * (2 if self.by == "heun" else 1)

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.initial_state import initial_state
        from harness.sampling.optimize import with_levels

        self.check(job.sampler)
        job = job._replace(sampler=with_levels(job.denoiser, job.sampler, job.device, job.batch))
        solver = job.sampler.solver
        dynamics, time_steps, *_ = initial_state(
            job.denoiser, job.sampler, job.seeds, job.labels, device=job.device, batch=job.batch
        )
        truth = Follower(job, self.substeps, self.by)
        exact, errors = truth.through(time_steps.sigmas), []
        carry: Any = None
        xbar = next(exact)
        for index, xbar_next in enumerate(exact):
            t, t_next = time_steps.times[index], time_steps.times[index + 1]
            x = dynamics.s(t) * xbar
            here = dynamics.analytical_first_step(x, t) if job.sampler.afs and index == 0 else dynamics.at(x, t)
            reached = x
            if t != t_next:
                reached, carry = solver(dynamics, here, t_next, carry)
            errors.append(rmse(reached / dynamics.s(t_next), xbar_next))
            carry = solver.rebased(carry, xbar, xbar_next)
            xbar = xbar_next
        profile = Profile(time_steps.sigmas[:-1], torch.stack(errors, dim=1))
        to_zero = job.sampler.end == "zero"  # that step makes one, and has no error of its own here
        nfe = dynamics.nfe + (dynamics.cost(time_steps.sigmas[-1]) if to_zero else 0)
        return SampleValues(profile.values.mean(1), nfe, dynamics.rows + truth.dynamics.rows, profile)


class TruncationUnevenness(TruncationError):
    """How uneven the error of steps is along the way: the standard deviation over levels of its logarithm; 0 is even.

    Steps and errors are those of `truncation-error` with the same fields, so that one measurement serves both.

    Source of the idea: Karras et al. 2022, Appendix D.1: rho = 3 nearly equalises the error of all steps.
    """

    word: ClassVar[str] = "Unevenness of truncation errors"
    by_level: ClassVar[str | None] = None

    kind: Literal["truncation-unevenness"] = "truncation-unevenness"  # type: ignore[assignment]

    @property
    def identity(self) -> str:
        return TruncationError(substeps=self.substeps, by=self.by).identity

    @property
    def method(self) -> str:
        return "unevenness over levels"

    def compute(self, blocks: Sequence[Arrays], reference: Reference | None, device: str = "cpu") -> Estimate:
        errors = self.read(blocks)["profile"]  # [N, K]
        parts = np.array_split(errors, min(MEAN_BLOCKS, len(errors)))
        sums, sizes = np.stack([part.sum(0) for part in parts]), np.array([len(part) for part in parts])
        left_out = (sums.sum(0) - sums) / (sizes.sum() - sizes)[:, None] if len(parts) > 1 else np.empty((0, 1))
        return Estimate(float(_unevenness(errors.mean(0))), _unevenness(left_out), sizes, {})


def _unevenness(errors: np.ndarray) -> np.ndarray:
    """Standard deviation over the last axis of the logarithm of errors [..., K]."""
    return np.log(errors).std(-1)
