"""Guidance: denoisers that hold denoisers, and lead away from what one of them says.

    D(x; sigma) = D_guide(x; sigma) + w (D_main(x; sigma, c) - D_guide(x; sigma)),  where sigma_lo < sigma <= sigma_hi,

and D_main elsewhere. In classifier-free guidance the guide is the same network without the class (Ho & Salimans 2022,
arXiv 2207.12598); in autoguidance an inferior network with it (Karras et al. 2024, arXiv 2406.02507); the interval is
that of Kynkaanniemi et al. 2024 (arXiv 2404.07724). The guide is evaluated, and counted, only where it is needed:
outside the interval and at w = 1 a guided evaluation costs as much as one of D_main.

Importing this module loads no torch: plans read the configurations.
"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.core.config import Real
from harness.core.data_range import DataRange, range_in_words
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import NonNegative
from harness.denoisers.config import DenoiserConfig, Description, Part, Window
from harness.hub.header import NAME_NULL_CLASS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.sampling.denoiser import Denoiser


class GuidedSpec(DenoiserConfig):
    """What all guidance has: the guided denoiser, a weight, and the noise levels at which it is on.

    Args:
        denoiser: a card's name, a checkpoint's path, or a spec that is no guidance itself.
        weight: w; 1 is no guidance, above 1 leads away from the guide.
        sigma_lo, sigma_hi: guidance is on where sigma_lo < sigma <= sigma_hi, in units of the data.
    """

    denoiser: Part
    weight: NonNegative = 1.5
    sigma_lo: NonNegative = 0.0
    sigma_hi: Annotated[Real, Field(gt=0)] = math.inf

    @model_validator(mode="after")
    def _of_unguided(self) -> "GuidedSpec":
        if any(isinstance(part, GuidedSpec) for part in self.parts()):
            raise ValueError("guidance is of a denoiser that is not guided itself; give that one")
        return self

    @model_validator(mode="after")
    def _an_interval(self) -> "GuidedSpec":
        if self.sigma_lo >= self.sigma_hi:
            raise ValueError(
                f"guidance is on from sigma_lo to sigma_hi, and we got {self.sigma_lo:g} and {self.sigma_hi:g}; raise "
                "sigma_hi"
            )
        return self

    def _describe(self, main: Description, guide: Description, by_class: bool) -> Description:
        _check_shapes(main.shape, guide.shape)
        _check_ranges(main.data_range, guide.data_range)
        _check_conditions(main.conditional, guide.conditional)
        return Description(
            identity=self.canonical(denoiser=main.identity, guide=guide.identity),
            shape=main.shape,
            label_dim=main.label_dim,
            sigma_min=max(main.sigma_min, guide.sigma_min),
            sigma_max=min(main.sigma_max, guide.sigma_max),
            cost=main.cost + (guide.cost if self.weight != 1 else 0),
            window=Window(self.sigma_lo, self.sigma_hi, main.cost),
            guided_by_class=by_class,
            family=main.family,
            null_class=main.null_class,
            needs_class=main.needs_class,
            dtypes=tuple(dtype for dtype in main.dtypes if dtype in guide.dtypes),
            takes_infinity=main.takes_infinity and guide.takes_infinity,
            conditional=main.conditional,
            data_range=main.data_range,
        )


class CFGSpec(GuidedSpec):
    """Classifier-free guidance: a class-conditional denoiser, guided by itself without the class.

    D = D(x; sigma) + w (D(x; sigma, c) - D(x; sigma)).
    """

    kind: Literal["cfg"] = "cfg"

    def parts(self) -> tuple[Any, ...]:
        return (self.denoiser,)

    def describe(self, *parts: Description) -> Description:
        (main,) = parts
        _check_has_classes(main.label_dim, main.needs_class)
        return self._describe(main, main, by_class=True)

    def build(self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None") -> "CFG":
        return CFG(parts[0], self.weight, self.sigma_lo, self.sigma_hi)


class AutoguidanceSpec(GuidedSpec):
    """Autoguidance: a denoiser guided by an inferior version of itself, with the same class.

    D = D_guide(x; sigma, c) + w (D(x; sigma, c) - D_guide(x; sigma, c)).

    Args:
        guide: the inferior denoiser; of the same image shape, with the same classes or none.
    """

    kind: Literal["autoguidance"] = "autoguidance"
    guide: Part

    def parts(self) -> tuple[Any, ...]:
        return (self.denoiser, self.guide)

    def describe(self, *parts: Description) -> Description:
        main, guide = parts
        _check_same_classes(main.label_dim, guide.label_dim)
        return self._describe(main, guide, by_class=False)

    def build(
        self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None"
    ) -> "Autoguidance":
        main, guide = parts
        return Autoguidance(main, guide, self.weight, self.sigma_lo, self.sigma_hi)


class Guided(ABC):
    """What all guidance shares: the interval, the cost at each noise level, and the extrapolation.

    Args:
        main: the denoiser that is guided.
        guide: the one that it is led away from.
        weight: w >= 0; 1 is no guidance.
        sigma_lo, sigma_hi: where it is on, in units of the data.

    Raises:
        InputError: images of different shapes.
    """

    def __init__(
        self, main: "Denoiser", guide: "Denoiser", weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf
    ) -> None:
        from harness.sampling.denoiser import data_range, needs_class, null_class, takes_conditions, takes_infinity

        _check_shapes(main.shape, guide.shape)
        self.data_range = data_range(main)
        _check_ranges(self.data_range, data_range(guide))
        self.main, self.guide, self.weight = main, guide, weight
        self.sigma_lo, self.sigma_hi = sigma_lo, sigma_hi
        self.shape, self.label_dim = main.shape, main.label_dim
        self.sigma_min = max(main.sigma_min, guide.sigma_min)
        self.sigma_max = min(main.sigma_max, guide.sigma_max)
        self.cost = main.cost + (guide.cost if weight != 1 else 0)
        self.null_class, self.needs_class = null_class(main), needs_class(main)
        self.takes_infinity = takes_infinity(main) and takes_infinity(guide)
        self.conditional = takes_conditions(main)
        _check_conditions(self.conditional, takes_conditions(guide))

    @property
    def dtype(self) -> "torch.dtype":
        return self.main.dtype

    @property
    def device(self) -> "torch.device":
        return self.main.device

    def is_on(self, sigma: "Tensor") -> "Tensor":
        """Whether guidance is on at these noise levels; bool of their shape."""
        return (sigma > self.sigma_lo) & (sigma <= self.sigma_hi) & (self.weight != 1)

    def cost_at(self, sigma: "Tensor") -> "Tensor":
        """Network evaluations of one row at these noise levels, int64 of their shape."""
        from harness.sampling.denoiser import cost_at

        return cost_at(self.main, sigma) + cost_at(self.guide, sigma).where(self.is_on(sigma), 0)

    def round_sigma(self, sigma: "Tensor") -> "Tensor":
        """The levels that the guided denoiser was trained at."""
        return self.main.round_sigma(sigma)

    def __call__(self, x: "Tensor", sigma: "Tensor", labels: "Tensor | None" = None, /) -> "Tensor":
        """The guided denoised images; arguments as for every denoiser."""
        denoised, on = self.main(x, sigma, labels), self.is_on(sigma)
        if not bool(on.any()):
            return denoised
        away = self.guide(x, sigma, self._guides_labels(labels)).to(denoised.dtype)
        on = on.to(denoised.device).reshape(-1, *[1] * (x.ndim - 1))
        return (away + self.weight * (denoised - away)).where(on, denoised)

    @abstractmethod
    def _guides_labels(self, labels: "Tensor | None") -> "Tensor | None":
        """The labels that the guide gets."""


class CFG(Guided):
    """Classifier-free guidance of a class-conditional denoiser by itself without the class.

    Args:
        main: a denoiser with classes, trained with the class left out at times.
        weight, sigma_lo, sigma_hi: as for `Guided`.

    Raises:
        InputError: a denoiser without classes, or one that does not know images without a class.
    """

    def __init__(self, main: "Denoiser", weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf) -> None:
        super().__init__(main, main, weight, sigma_lo, sigma_hi)
        _check_has_classes(self.label_dim, self.needs_class)

    def _guides_labels(self, labels: "Tensor | None") -> None:
        return None


class Autoguidance(Guided):
    """Autoguidance of a denoiser by an inferior one, which is given the same class if it has classes.

    Args:
        main, guide, weight, sigma_lo, sigma_hi: as for `Guided`.

    Raises:
        InputError: images of different shapes, or classes that differ.
    """

    def __init__(
        self, main: "Denoiser", guide: "Denoiser", weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf
    ) -> None:
        _check_same_classes(main.label_dim, guide.label_dim)
        super().__init__(main, guide, weight, sigma_lo, sigma_hi)

    def _guides_labels(self, labels: "Tensor | None") -> "Tensor | None":
        return labels if self.guide.label_dim or self.conditional else None


def _check_shapes(main: tuple[int, ...], guide: tuple[int, ...]) -> None:
    if main != guide:
        raise InputError(
            f"guidance needs images of one shape; the denoiser has {list(main)} and its guide {list(guide)}"
        )


def _check_ranges(main: DataRange, guide: DataRange) -> None:
    if main != guide:
        raise InputError(
            f"guidance needs data of one range; the denoiser has {range_in_words(main)} and its guide "
            f"{range_in_words(guide)}; give both the same `data_range`"
        )


def _check_conditions(main: bool, guide: bool) -> None:
    if main != guide:
        raise InputError("a denoiser that takes conditions and one that takes none cannot guide each other")


def _check_has_classes(label_dim: int, needs_class: bool) -> None:
    if label_dim == 0:
        raise InputError(
            "classifier-free guidance needs a class-conditional denoiser, and this one has no classes; use "
            "'autoguidance', or a denoiser with classes"
        )
    if needs_class:
        raise InputError(
            f"classifier-free guidance needs a denoiser that also knows images without a class, and {NAME_NULL_CLASS}"
        )


def _check_same_classes(main: int, guide: int) -> None:
    if guide not in (0, main):
        raise InputError(f"a guide needs the classes of the denoiser it guides, or none; they have {guide} and {main}")
