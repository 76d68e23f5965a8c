"""The order of convergence that a sampler shows on a denoiser, from its end-point error at more and more steps."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness.core.errors import InputError
from harness.metrics.base import SamplingJob, SharedEvaluations
from harness.metrics.diagnostics.base import Diagnostic, SampleValues, rmse
from harness.metrics.diagnostics.converged import check_path, end_points, shared_end_points

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.sampler import Sampler


class ConvergenceOrder(Diagnostic):
    """Fitted order: minus the slope of log end-point error against log steps, for each sample.

    The sampler is run at its own number of steps and at doublings of it. The last step, to sigma = 0, is part of all of
    them alike. An order well below the solver's own says that the steps are too large, or the denoiser too rough, for
    the order to show.

    Args:
        doublings: how often the number of steps is doubled, >= 1.
        reference: steps of the converged trajectory, at least four times the most that are compared with it; 16 to
            100,000.
    """

    word: ClassVar[str] = "Fitted order of convergence"
    better: ClassVar[Literal["lower", "higher"]] = "higher"

    kind: Literal["convergence-order"] = "convergence-order"
    doublings: Annotated[int, Field(ge=1, le=10)] = 2
    reference: Annotated[int, Field(ge=16, le=100_000)] = 1024

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        from harness.sampling.discretizations import IDDPM, Explicit, FlowLevels, Optimized

        levels = sampler.discretization
        if isinstance(levels, FlowLevels) and levels.t_min is None:
            raise InputError(
                f"{self.kind} needs one last level at all numbers of steps, and '{levels.kind}' has t_max / N; give it "
                "t_min"
            )
        if sampler.solver.adaptive or isinstance(levels, Explicit | Optimized | IDDPM):
            raise InputError(
                f"{self.kind} doubles the number of steps, which solver '{sampler.solver.kind}' with discretization "
                f"'{levels.kind}' does not let it do; use a fixed-step solver and a formula for levels"
            )
        check_path(sampler, self.kind, self.reference, sampler.steps * 2**self.doublings)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return nfe * (2 ** (self.doublings + 1) - 1)

    def shared_evaluations(self, sampler: "Sampler", nfe: int) -> SharedEvaluations:
        return shared_end_points(sampler, nfe, self.reference)

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.sample import sample

        self.check(job.sampler)
        errors, rows, nfe = [], 0, torch.zeros(len(job.seeds), dtype=torch.int64)
        steps = [job.sampler.steps * 2**k for k in range(self.doublings + 1)]
        for n in steps:
            finer = job.sampler.model_copy(update={"steps": n})
            out = sample(job.denoiser, finer, job.seeds, job.labels, device=job.device, batch=job.batch)
            truth = end_points(job, self.reference)
            errors.append(rmse(out.images, truth.images))
            rows += out.rows + truth.rows
            nfe = out.nfe if n == job.sampler.steps else nfe
        return SampleValues(-slope(steps, torch.stack(errors)), nfe, rows)


def slope(sizes: list[int], errors: "Tensor") -> "Tensor":
    """Least-squares slope of log error [K, N] against log size [K], for each sample [N]."""
    import torch

    x = torch.tensor(sizes, dtype=torch.float64).log()
    x = x - x.mean()
    y = errors.clip(min=torch.finfo(torch.float64).tiny).log()
    return (x[:, None] * (y - y.mean(0))).sum(0) / x.square().sum()
