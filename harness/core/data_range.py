"""The range of the numbers that data are made of, which says whether images are bytes or floats.

    (-1, 1)       images as most networks have them: metrics see the bytes that a PNG file would keep of them
    (low, high)   other numbers, such as 0 to 8: metrics see them as they are, pictures show the range from low to high
    None          numbers without limits, such as latents: metrics see them as they are

A denoiser declares it, see `harness.sampling.denoiser.Ranged`.
"""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from harness.core.config import Finite, freeze, unwritten

DataRange: TypeAlias = tuple[float, float] | None
"""Lowest and highest value of the data; None for no limits."""

BYTES: DataRange = (-1.0, 1.0)
"""The range of images that are kept as bytes."""


def _rising(value: DataRange) -> DataRange:
    if value is not None and value[0] >= value[1]:
        raise ValueError(f"a range goes from the lowest to the highest value; we got {value[0]:g} and {value[1]:g}")
    return value


DeclaredRange = Annotated[
    Annotated[tuple[Finite, Finite], BeforeValidator(freeze)] | None, AfterValidator(_rising), unwritten(BYTES)
]
"""The field `data_range` of a denoiser's spec; its default, `BYTES`, is left out of identities."""


def is_of_bytes(data_range: DataRange) -> bool:
    """Whether data of a range are kept as bytes."""
    return data_range is not None and tuple(data_range) == BYTES


def range_in_words(data_range: DataRange) -> str:
    """A range for messages: `values from 0 to 8`."""
    return "values without limits" if data_range is None else f"values from {data_range[0]:g} to {data_range[1]:g}"
