"""Metrics that compare features of images with a reference, as choices that a grid can name."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.choice import Choice


class FrechetDigits(Choice):
    """FD-digits: Frechet distance to the digits in the features of the digit classifier; lower is better.

    Args:
        samples: N of this metric in a grid; the grid's own number by default.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.
    """

    title: ClassVar[str] = "FD-digits"
    by_level: ClassVar[str | None] = None

    kind: Literal["fd-digits"] = "fd-digits"
    samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    series: tuple[str, ...] | None = None
    denoisers: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The kind, as a word."""
        return self.kind
