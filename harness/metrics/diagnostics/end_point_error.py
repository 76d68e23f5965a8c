"""End-point error: how far a sampler's images are from where the same latents lead without error."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.metrics.diagnostics.base import Measure, Observation, Task, rmse
from harness.metrics.diagnostics.converged import check_path, end_points
from harness.sampling.optimize import with_levels
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler


class EndPointError(Measure):
    """Root mean square error of each image against a converged trajectory of the same latents.

    Source of the idea: Karras et al. 2022, Section 3; the converged trajectory runs over the sampler's own range, so
    what is measured is the error of its steps and not of its range.

    Args:
        reference: steps of the converged trajectory (Heun, eq. 5), at least four times the sampler's; 16 to 100,000.
    """

    title: ClassVar[str] = "End-point error"

    kind: Literal["end-point-error"] = "end-point-error"
    reference: Annotated[int, Field(ge=16, le=100_000)] = 256

    def check(self, sampler: Sampler, shape: tuple[int, ...] | None = None) -> None:
        check_path(sampler, self.kind, self.reference, sampler.steps)

    def evaluations(self, sampler: Sampler, nfe: int) -> int:
        return nfe + self.reference // 2  # trials share the reference

    def observe(self, task: Task) -> Observation:
        self.check(task.sampler)
        task = task._replace(sampler=with_levels(task.denoiser, task.sampler, task.device, task.batch))
        out = sample(task.denoiser, task.sampler, task.seeds, task.labels, device=task.device, batch=task.batch)
        truth = end_points(task, self.reference)
        return Observation(rmse(out.images, truth.images), out.nfe, out.rows + truth.rows)
