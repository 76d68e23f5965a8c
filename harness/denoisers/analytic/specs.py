"""Specs of the analytic denoisers, without torch.

The data distribution is a density whose optimal denoiser has a closed form: one Gaussian, a mixture of Gaussians, or
points: two a pixel, or the images of a data set. A spec knows the shape of a sample and the noise range, so that a plan
needs no tensor; its `build` makes the denoiser, see `exact`.
"""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.core.config import AnyShape, Positive, freeze, one_of
from harness.core.data_range import BYTES, DataRange, DeclaredRange
from harness.core.errors import InputError
from harness.denoisers.config import DenoiserConfig, Description

if TYPE_CHECKING:
    import torch

    from harness.denoisers.analytic.exact import Analytic
    from harness.sampling.denoiser import Denoiser

DATASET_SHAPES: dict[str, tuple[int, int, int]] = {"digits": (1, 8, 8)}
"""The data sets that `ideal` knows by name, with the shape [C, H, W] of their images."""


def _level(value: Any) -> Any:
    """A number, or nested lists of numbers as tuples, however deep.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, list | tuple):
        return tuple(_level(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"a mean is a finite number, or nested lists of them; we got {value!r}")
    return float(value)


Level = Annotated[Any, BeforeValidator(_level)]
"""A mean: one number for all numbers of a sample, or nested lists, such as [C][H][W]."""

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def shape_of(nested: Any) -> tuple[int, ...]:
    """The shape of nested sequences of numbers; () for a number.

    Raises:
        ValueError: ragged or empty lists.
    """
    if not isinstance(nested, list | tuple):
        return ()
    inner = {shape_of(item) for item in nested}
    if len(inner) != 1:
        raise ValueError(f"nested lists must be rectangular and not empty; we got shapes {sorted(inner)}")
    return (len(nested), *inner.pop())


def _with_shape(data: Any, means: list[Any]) -> Any:
    """Fill in `shape` from means given as nested lists; refuse means that contradict each other or it."""
    shapes = {shape_of(mean) for mean in means} - {()}
    if not shapes:
        return data
    shape = data.get("shape")
    allowed = shapes if shape is None else shapes | {freeze(shape)}
    if len(allowed) != 1:
        raise ValueError(f"means must be numbers or have one shape, such as [C, H, W]; we got {sorted(allowed)}")
    return {**data, "shape": next(iter(shapes))}


class AnalyticSpec(DenoiserConfig):
    """What all analytic denoisers share: every noise level, no classes, float64, one evaluation a row."""

    sigma_min: ClassVar[float] = 0.0
    sigma_max: ClassVar[float] = math.inf

    def _describe(self, shape: tuple[int, ...], data_range: DataRange = BYTES) -> Description:
        return Description(
            self.canonical(), shape, 0, self.sigma_min, self.sigma_max, takes_infinity=True, data_range=data_range
        )

    def build(self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None") -> "Analytic":
        if dtype is not None and str(dtype) != "torch.float64":
            raise InputError(f"an analytic denoiser computes in float64, not {dtype}; leave dtype out")
        return self.on(device)

    @abstractmethod
    def on(self, device: "torch.device | str") -> "Analytic":
        """The denoiser on a device."""


class GaussianSpec(AnalyticSpec):
    """Data from N(mean, std^2 I).

    Args:
        mean: a number, or nested lists such as [C][H][W]; units of the data.
        std: standard deviation of every number, at least 0.
        shape: of a sample, such as [C, H, W]; taken from `mean` where that is nested.
        data_range: lowest and highest value of the data, or null; see `harness.core.data_range`.
    """

    kind: Literal["gaussian"] = "gaussian"
    mean: Level = 0.0
    std: NonNegative = 0.5
    shape: AnyShape = (1, 8, 8)
    data_range: DeclaredRange = BYTES

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, data: Any) -> Any:
        return _with_shape(data, [data.get("mean", 0.0)]) if isinstance(data, dict) else data

    def describe(self, *parts: Description) -> Description:
        return self._describe(self.shape, self.data_range)

    def on(self, device: "torch.device | str") -> "Analytic":
        from harness.denoisers.analytic.exact import Gaussian

        return Gaussian(self.mean, self.std, self.shape, device).with_range(self.data_range)


class MixtureSpec(AnalyticSpec):
    """Data from sum_k w_k N(mean_k, std^2 I).

    Args:
        means: K entries, each a number or nested lists such as [C][H][W]; units of the data.
        weights: K positive numbers, brought to sum 1; all equal by default.
        std: standard deviation shared by all components, at least 0.
        shape: of a sample, such as [C, H, W]; taken from `means` where those are nested.
        data_range: lowest and highest value of the data, or null; see `harness.core.data_range`.
    """

    kind: Literal["mixture"] = "mixture"
    means: Annotated[tuple[Level, ...], BeforeValidator(freeze), Field(min_length=1)]
    weights: Annotated[tuple[Positive, ...] | None, BeforeValidator(freeze)] = None
    std: NonNegative = 0.0
    shape: AnyShape = (1, 8, 8)
    data_range: DeclaredRange = BYTES

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("means"), list | tuple):
            return data
        return _with_shape(data, list(data["means"]))

    @model_validator(mode="after")
    def _one_weight_a_mean(self) -> "MixtureSpec":
        if self.weights is not None and len(self.weights) != len(self.means):
            raise ValueError(f"needs one weight a mean; we got {len(self.weights)} for {len(self.means)} means")
        return self

    def describe(self, *parts: Description) -> Description:
        return self._describe(self.shape, self.data_range)

    def on(self, device: "torch.device | str") -> "Analytic":
        from harness.denoisers.analytic.exact import Mixture

        return Mixture.of(self.means, self.shape, self.weights, self.std, device).with_range(self.data_range)


class DiracsSpec(AnalyticSpec):
    """Data whose every number is -1 or +1, equally likely and independent: the one-dimensional example of Figure 3.

    Args:
        shape: of a sample; a single number by default, as an image.
    """

    kind: Literal["diracs"] = "diracs"
    shape: AnyShape = (1, 1, 1)

    def describe(self, *parts: Description) -> Description:
        return self._describe(self.shape)

    def on(self, device: "torch.device | str") -> "Analytic":
        from harness.denoisers.analytic.exact import Diracs

        return Diracs(self.shape, device)


class IdealSpec(AnalyticSpec):
    """Data that are exactly the images of a data set, each equally likely.

    Args:
        dataset: name of the data set; see `DATASET_SHAPES`.
    """

    kind: Literal["ideal"] = "ideal"
    dataset: Literal["digits"] = "digits"

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of the images."""
        return DATASET_SHAPES[self.dataset]

    def describe(self, *parts: Description) -> Description:
        return self._describe(self.shape)

    def on(self, device: "torch.device | str") -> "Analytic":
        from harness.denoisers.analytic.exact import Ideal
        from harness.hub import digits

        return Ideal(digits.load_digits().images, device)


class DigitsMixtureSpec(AnalyticSpec):
    """Data from a Gaussian mixture with 100 means fitted to the digits; see `harness.hub.digits_mixture`."""

    kind: Literal["digits-mixture"] = "digits-mixture"

    def describe(self, *parts: Description) -> Description:
        return self._describe(DATASET_SHAPES["digits"])

    def on(self, device: "torch.device | str") -> "Analytic":
        from harness.denoisers.analytic.exact import Mixture
        from harness.hub.digits_mixture import digits_mixture

        mixture = digits_mixture()
        means = mixture.means.reshape(-1, *DATASET_SHAPES["digits"])
        return Mixture(means, mixture.weights, mixture.std, device)


ANALYTIC = one_of(GaussianSpec, MixtureSpec, DiracsSpec, IdealSpec, DigitsMixtureSpec)
