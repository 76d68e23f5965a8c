"""Round-trip error: images turned into latents and back by the same sampler."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.core.data_range import DataRange
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import Diagnostic, SampleValues, rmse
from harness.metrics.diagnostics.images import Source, check_images, check_range, images_for

if TYPE_CHECKING:
    from harness.sampling.sampler import Sampler


class RoundTripError(Diagnostic):
    """Root mean square error of each image after `harness.encode` and `harness.sample` with the same sampler.

    NFE is that of one way down; the way up costs as much, or one more.

    Args:
        images: `samples`, which the denoiser itself makes of the seeds' latents, or `digits`, that data set's, with
            their own classes where the denoiser has classes.
    """

    word: ClassVar[str] = "Round-trip error"
    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["round-trip-error"] = "round-trip-error"
    images: Source = "samples"

    def for_range(self, data_range: DataRange) -> Self:
        check_range(self.images, data_range)
        return self

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        sampler.check_ode(self.kind)
        check_images(self.images, shape)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return 2 * nfe + (127 if self.images == "samples" else 0)

    def measure(self, job: SamplingJob) -> SampleValues:
        from harness.sampling.encode import encode
        from harness.sampling.sample import sample

        self.check(job.sampler)
        given = images_for(self.images, job)
        denoiser, sampler, seeds, device, batch = job.denoiser, job.sampler, job.seeds, job.device, job.batch
        up = encode(denoiser, sampler, given.images, given.labels, seeds, device, batch)
        down = sample(denoiser, sampler, seeds, given.labels, up.latents, device, batch)
        return SampleValues(rmse(down.images, given.images), down.nfe, given.rows + up.rows + down.rows)
