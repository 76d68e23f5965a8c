"""Curvature of trajectories in (x, t): how far they are from straight lines, which every solver follows without
error."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import Diagnostic, Paths, Profile, SampleValues
from harness.metrics.diagnostics.converged import Follower, check_steps

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler


class Curvature(Diagnostic):
    """Curvature of the ODE's trajectory in (x, t), under the sampler's schedule and scaling: from 0, a straight line,
    to 1.

        sqrt( mean |dx/dt - V|^2 / mean |dx/dt|^2 ),  V = (x(T) - x(0)) / T the mean velocity, means over the range in
        t.

    What is compared with the velocity's deviation is its own size; its square is the straightness of Liu et al. 2022
    made free of units. By noise level: |dx/dt - V| over the root mean square velocity. The trajectory is the converged
    one, so only schedule, scaling and range of the sampler matter. Trajectories themselves are kept where an image is a
    single number.

    Args:
        points: at which the trajectory is looked at (eq. 5), >= 8.
        substeps: of Heun's method between two points.

    Source: Karras et al. 2022, Section 3 and Figure 3; Liu, Gong & Liu 2022 (arXiv 2209.03003), eq. 7.
    """

    word: ClassVar[str] = "Curvature of trajectories"
    by_level: ClassVar[str | None] = "Deviation of the velocity by noise level"
    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["curvature"] = "curvature"
    points: Annotated[int, Field(ge=8, le=100_000)] = 128
    substeps: Annotated[int, Field(ge=1, le=1000)] = 1

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        sampler.check_ode(self.kind)
        check_steps(sampler, self.kind)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return (2 * self.substeps + 1) * self.points

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.discretizations import EDM
        from harness.sampling.discretizations.base import Range
        from harness.sampling.initial_state import initial_state
        from harness.sampling.optimize import with_levels

        self.check(job.sampler)
        job = job._replace(sampler=with_levels(job.denoiser, job.sampler, job.device, job.batch))
        dynamics, time_steps, *_ = initial_state(
            job.denoiser, job.sampler, job.seeds, job.labels, device=job.device, batch=job.batch
        )
        sigmas = EDM()(self.points, Range(time_steps.sigmas[-1].item(), time_steps.sigmas[0].item()))
        sigmas = job.denoiser.round_sigma(sigmas).cpu().unique().flip(0)
        follower = Follower(job, self.substeps)
        states, velocities = [], []
        for sigma, xbar in zip(sigmas, follower.through(sigmas), strict=True):
            here = dynamics.at_level(xbar, sigma)
            states.append(here.x.flatten(1).cpu())
            velocities.append(here.drift.flatten(1).cpu())
        x, velocity, t = torch.stack(states, 1), torch.stack(velocities, 1), dynamics.curve.t(sigmas)
        mean = (x[:, -1] - x[:, 0]) / (t[-1] - t[0])  # [N, d]
        deviation = (velocity - mean[:, None]).square().sum(-1)  # [N, K]
        size = torch.trapezoid(velocity.square().sum(-1), t, dim=1) / (t[-1] - t[0])
        spread = torch.trapezoid(deviation, t, dim=1) / (t[-1] - t[0])
        profile = Profile(sigmas, (deviation / size[:, None]).sqrt())
        single = x.shape[-1] == 1
        paths = Paths(t, x[:, :, 0]) if single else None
        rows = dynamics.rows + follower.dynamics.rows
        return SampleValues((spread / size).sqrt(), torch.zeros_like(dynamics.nfe), rows, profile, paths=paths)
