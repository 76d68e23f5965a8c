"""End-point error: how far a sampler's images are from where the same latents lead without error."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness.metrics.base import SamplingJob, SharedEvaluations
from harness.metrics.diagnostics.base import Diagnostic, SampleValues, rmse
from harness.metrics.diagnostics.converged import check_path, end_points, shared_end_points

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler


class EndPointError(Diagnostic):
    """Root mean square error of each image against a converged trajectory of the same latents.

    Source of the idea: Karras et al. 2022, Section 3; the converged trajectory runs over the sampler's own range, so
    what is measured is the error of its steps and not of its range.

    Args:
        reference: steps of the converged trajectory (Heun, eq. 5), at least four times the sampler's; 16 to 100,000.
    """

    word: ClassVar[str] = "End-point error"

    kind: Literal["end-point-error"] = "end-point-error"
    reference: Annotated[int, Field(ge=16, le=100_000)] = 256

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        check_path(sampler, self.kind, self.reference, sampler.steps)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return nfe

    def shared_evaluations(self, sampler: "Sampler", nfe: int) -> SharedEvaluations:
        return shared_end_points(sampler, nfe, self.reference)

    def measure(self, job: SamplingJob) -> SampleValues:
        from harness.sampling.optimize import with_levels
        from harness.sampling.sample import sample

        self.check(job.sampler)
        job = job._replace(sampler=with_levels(job.denoiser, job.sampler, job.device, job.batch))
        out = sample(job.denoiser, job.sampler, job.seeds, job.labels, device=job.device, batch=job.batch)
        truth = end_points(job, self.reference)
        return SampleValues(rmse(out.images, truth.images), out.nfe, out.rows + truth.rows)
