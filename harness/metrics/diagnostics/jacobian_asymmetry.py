"""How far a denoiser's field is from conservative: the asymmetry of its Jacobian.

The exact D(x; sigma) = x + sigma^2 grad log p(x; sigma) has a symmetric Jacobian J. A network's need not be: its field
then has circulation. The paper suspects that this is why too much stochasticity loses detail (Karras et al. 2022,
Section 4).
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness.core.errors import InputError
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import APART, Diagnostic, Profile, SampleValues

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.dynamics import Dynamics, Point
    from harness.sampling.noise import Noise
    from harness.sampling.sampler import Sampler

LEAST = 1e-6
"""A Jacobian whose rows have a smaller norm, in the root mean square, is taken as 0: rounding has no symmetry."""


class JacobianAsymmetry(Diagnostic):
    """|A| / |J|, A = (J - J^T) / 2 the antisymmetric part of the denoiser's Jacobian J in x, by noise level.

    In the Frobenius norm: 0 for a conservative field, sqrt(1/2) for independent entries, 1 where nothing of J is
    symmetric. With independent normal directions u and v, E (u'Jv - v'Ju)^2 = |J - J^T|^2 and likewise for the sum, so
    two products J'u and J'v, each one backward pass, give an estimate; |J|^2 = |J - J^T|^2 / 4 + |J + J^T|^2 / 4. The
    value at a level is the ratio of root mean squares over the probes; of a sample, the mean over levels. The points
    are those of the sampler's own trajectory, and D is as the sampler uses it, clipped if it clips. A denoiser without
    gradients is differentiated by central differences.

    Args:
        probes: pairs of directions a point, >= 1.
    """

    word: ClassVar[str] = "Asymmetry of the Jacobian"
    by_level: ClassVar[str | None] = "Asymmetry of the Jacobian by noise level"
    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["jacobian-asymmetry"] = "jacobian-asymmetry"
    probes: Annotated[int, Field(ge=1, le=1000)] = 8

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        from harness.sampling.stochasticity import Restart

        if sampler.solver.adaptive:
            raise InputError(f"{self.kind} looks at the sampler's levels; use a solver with fixed steps such as 'heun'")
        if isinstance(sampler.stochasticity, Restart):
            raise InputError(f"{self.kind} looks at each level once, and stochasticity 'restart' comes back; remove it")

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return nfe + 5 * self.probes * sampler.steps  # a backward pass costs about two evaluations

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.initial_state import initial_state
        from harness.sampling.noise import Noise
        from harness.sampling.optimize import with_levels
        from harness.sampling.trajectory import trajectory

        self.check(job.sampler)
        sampler = with_levels(job.denoiser, job.sampler, job.device, job.batch)
        dynamics, time_steps, x, *_ = initial_state(
            job.denoiser, sampler, job.seeds, job.labels, device=job.device, batch=job.batch
        )
        apart = initial_state(job.denoiser, sampler, job.seeds, job.labels, device=job.device, batch=job.batch).dynamics
        seeds = [(seed + APART) % 2**32 for seed in job.seeds]
        noise = Noise(seeds, job.denoiser.shape, x.device, sampler.noise_device)
        ratios, levels = [], []
        for step in trajectory(dynamics, sampler, time_steps.times, x):
            ratios.append(self._ratio(apart, step.here, noise))
            levels.append(step.here.sigma.cpu())
        order = torch.stack(levels).argsort(descending=True, stable=True)  # churn may step above the last level
        profile = Profile(torch.stack(levels)[order], torch.stack(ratios, dim=1)[:, order])
        return SampleValues(profile.values.mean(1), dynamics.nfe, dynamics.rows + apart.rows, profile)

    def _ratio(self, dynamics: "Dynamics", here: "Point", noise: "Noise") -> "Tensor":
        """The asymmetry at one point of every sample [N]."""
        import torch

        skew, even = torch.zeros(len(noise), dtype=torch.float64), torch.zeros(len(noise), dtype=torch.float64)
        for _ in range(self.probes):
            u, v = noise.normal(), noise.normal()
            uJv, vJu = products(dynamics, here, u, v)
            skew += (uJv - vJu).square()
            even += (uJv + vJu).square()
        whole = skew + even
        size = whole / (4 * self.probes * torch.Size(noise.shape).numel())
        return torch.where(size > LEAST**2, skew / whole, 0.0).sqrt()


def products(dynamics: "Dynamics", here: "Point", u: "Tensor", v: "Tensor") -> "tuple[Tensor, Tensor]":
    """u'Jv and v'Ju of every sample [N], J the Jacobian of D in xbar."""
    import torch

    with torch.enable_grad():
        xbar = here.xbar.detach().requires_grad_(True)
        denoised = dynamics.at_level(xbar, here.sigma).denoised
    if denoised.grad_fn is None:
        return _dot(u, _difference(dynamics, here, v)), _dot(v, _difference(dynamics, here, u))
    (Ju,) = torch.autograd.grad(denoised, xbar, u.to(denoised.dtype), retain_graph=True)
    (Jv,) = torch.autograd.grad(denoised, xbar, v.to(denoised.dtype))
    return _dot(v, Ju), _dot(u, Jv)


def _difference(dynamics: "Dynamics", here: "Point", direction: "Tensor") -> "Tensor":
    """J times a direction, by central differences, which err least where rounding and curvature of D err alike."""
    import torch

    rounding = torch.finfo(dynamics.denoiser.dtype).eps * (1 + here.sigma)
    h = rounding ** (1 / 3) * here.sigma ** (2 / 3)
    up, down = (dynamics.at_level(here.xbar + side * h * direction, here.sigma).denoised for side in (1, -1))
    return (up - down) / (2 * h)


def _dot(a: "Tensor", b: "Tensor") -> "Tensor":
    return (a.double() * b.double()).flatten(1).sum(1).cpu()
