"""Detail and contrast: how much of the data's fine structure, and of its spread, a sampler's images have."""

from abc import abstractmethod
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.core.data_range import DataRange
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import DATASET_SHAPES
from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics.base import Diagnostic, SampleValues
from harness.metrics.diagnostics.images import check_range

if TYPE_CHECKING:
    from torch import Tensor

    from harness.sampling.sampler import Sampler

HIGH = 0.5
"""Spatial frequencies above this part of the largest one along an axis are high."""


class ImageShare(Diagnostic):
    """A quantity of each image over its mean for the data: 1 is as much as the data has.

    Values beyond [-1, 1] are clipped first, as in pictures.

    Args:
        images: the data, `digits`.
    """

    images: Literal["digits"] = "digits"

    @staticmethod
    @abstractmethod
    def quantity(images: "Tensor") -> "Tensor":
        """The quantity [N] of images [N, C, H, W] float64."""

    def for_range(self, data_range: DataRange) -> Self:
        check_range(self.images, data_range)
        return self

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        expected = DATASET_SHAPES[self.images]
        if shape is not None and tuple(shape) != expected:
            raise InputError(f"'{self.name}' compares with '{self.images}' {list(expected)}; we got {list(shape)}")

    def measure(self, job: SamplingJob) -> SampleValues:
        from harness.sampling.denoiser import data_range
        from harness.sampling.sample import sample

        self.for_range(data_range(job.denoiser))
        out = sample(job.denoiser, job.sampler, job.seeds, job.labels, device=job.device, batch=job.batch)
        seen = self.quantity(out.images.double().cpu().clamp(-1, 1))
        return SampleValues(seen / _of_the_digits(type(self)), out.nfe, out.rows)


class Detail(ImageShare):
    """Power of an image's high spatial frequencies, over the data's: 1 is as much detail as the data has.

    High are all frequencies that lie above half the largest one along an axis. A denoiser that removes a little too
    much noise takes detail away in every step of new noise; S_noise slightly above 1 is to make up for it.

    Source of the idea: Karras et al. 2022, Section 4.
    """

    word: ClassVar[str] = "Detail"

    kind: Literal["detail"] = "detail"

    @staticmethod
    def quantity(images: "Tensor") -> "Tensor":
        import torch

        height, width = images.shape[-2:]
        down, across = torch.fft.fftfreq(height).abs()[:, None] * 2, torch.fft.fftfreq(width).abs() * 2
        high = torch.maximum(down, across) > HIGH
        return torch.fft.fft2(images, norm="ortho").abs().square()[..., high].flatten(1).sum(1)


class PixelContrast(ImageShare):
    """Standard deviation of an image's pixels, over the data's: 1 is as much contrast as the data has."""

    word: ClassVar[str] = "Contrast"

    kind: Literal["pixel-contrast"] = "pixel-contrast"

    @staticmethod
    def quantity(images: "Tensor") -> "Tensor":
        return images.flatten(1).std(1)


@cache
def _of_the_digits(metric: type[ImageShare]) -> float:
    from harness.hub.digits import load_digits

    return float(metric.quantity(load_digits().images.double()).mean())
