"""What a denoiser makes of images at each noise level: its error, and pictures (paper Figure 1)."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.core.data_range import DataRange
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import APART, Diagnostic, Profile, SampleValues, rmse
from harness.metrics.diagnostics.images import Source, check_images, check_range, images_for

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.sampler import Sampler

PICTURES = 8
"""Seeds whose pictures are kept."""


class DenoisingError(Diagnostic):
    """Root mean square of D(y + sigma n; sigma) - y, by noise level: the levels are the sampler's, nothing is sampled.

    Of all functions of x and sigma the ideal denoiser has the least mean square. Every image has one n for all levels.
    The value of a sample is the mean over levels; pictures of the noisy and the denoised images are kept.

    Args:
        images: `digits`, that data set's, or `samples`, which the denoiser itself makes of the seeds' latents.

    Source: Karras et al. 2022, Figure 1 and eq. 2.
    """

    word: ClassVar[str] = "Denoising error"
    by_level: ClassVar[str | None] = "Denoising error by noise level"
    pictures: ClassVar[tuple[str, ...]] = ("noisy", "denoised")
    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["denoising-error"] = "denoising-error"
    images: Source = "digits"

    def for_range(self, data_range: DataRange) -> Self:
        check_range(self.images, data_range)
        return self

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        check_images(self.images, shape)

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        return sampler.steps + (127 if self.images == "samples" else 0)

    def measure(self, job: SamplingJob) -> SampleValues:
        import torch

        from harness.sampling.denoiser import data_range
        from harness.sampling.initial_state import initial_state
        from harness.sampling.noise import Noise
        from harness.sampling.optimize import with_levels

        given = images_for(self.images, job)
        sampler = with_levels(job.denoiser, job.sampler, job.device, job.batch)
        begun = initial_state(job.denoiser, sampler, job.seeds, given.labels, device=job.device, batch=job.batch)
        apart = [(seed + APART) % 2**32 for seed in job.seeds]
        noise = Noise(apart, job.denoiser.shape, begun.x.device, sampler.noise_device).normal()
        errors, noisy, clean = [], [], []
        for sigma in begun.time_steps.sigmas:
            x = given.images + sigma * noise
            denoised = begun.dynamics.at_level(x, sigma).denoised
            errors.append(rmse(denoised, given.images))
            noisy.append(x[:PICTURES] / max(1.0, float(sigma)))
            clean.append(denoised[:PICTURES])
        profile = Profile(begun.time_steps.sigmas, torch.stack(errors, dim=1))
        shown_range = data_range(job.denoiser)
        pictures = {"noisy": _sheet(noisy, shown_range), "denoised": _sheet(clean, shown_range)}
        dynamics = begun.dynamics
        nfe = torch.zeros_like(dynamics.nfe)
        return SampleValues(profile.values.mean(1), nfe, given.rows + dynamics.rows, profile, pictures)


def _sheet(columns: "list[Tensor]", shown_range: DataRange) -> "Tensor":
    """Pictures [seeds, levels, C, H, W] in bytes."""
    import torch

    from harness.datasets.pictures import pictures

    stacked = torch.stack(columns, dim=1).double().cpu()
    drawn = torch.from_numpy(pictures(stacked.flatten(0, 1).numpy(), shown_range))
    return drawn.reshape(*stacked.shape[:2], *drawn.shape[1:])
