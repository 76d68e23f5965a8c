"""Metrics that compare features of images with a reference, as choices that a grid can name."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.choice import Choice, Names
from harness.denoisers.analytic_specs import DATASET_SHAPES
from harness.errors import InputError


class FrechetDigits(Choice):
    """FD-digits: Frechet distance to the digits in the features of the digit classifier; lower is better.

    Args:
        samples: N of this metric in a grid; the grid's own number by default.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.
    """

    title: ClassVar[str] = "FD-digits"
    by_level: ClassVar[str | None] = None
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    runs: ClassVar[bool] = True

    kind: Literal["fd-digits"] = "fd-digits"
    samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    series: Names | None = None
    denoisers: Names | None = None

    @property
    def name(self) -> str:
        """The kind, as a word."""
        return self.kind

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Features are those of digits.

        Raises:
            InputError: images of another shape.
        """
        digits = DATASET_SHAPES["digits"]
        if tuple(shape) != digits:
            raise InputError(
                f"'{self.kind}' compares images {list(digits)} and the denoiser has {list(shape)}; use a laboratory "
                "measure, or name the `denoisers` that it is asked of"
            )
