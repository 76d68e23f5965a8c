"""Guidance: denoisers that hold denoisers, and lead away from what one of them says.

    D(x; sigma) = D_guide(x; sigma) + w (D_main(x; sigma, c) - D_guide(x; sigma)),  where sigma_lo < sigma <= sigma_hi,

and D_main elsewhere. In classifier-free guidance the guide is the same network without the class (Ho & Salimans 2022,
arXiv 2207.12598); in autoguidance an inferior network with it (Karras et al. 2024, arXiv 2406.02507); the interval is
that of Kynkaanniemi et al. 2024 (arXiv 2404.07724). The guide is evaluated, and counted, only where it is needed:
outside the interval and at w = 1 a guided evaluation costs as much as one of D_main.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.denoisers.guidance_specs import check_classes, check_same_classes
from harness.sampling.denoiser import Denoiser, cost_at


class Guided(ABC):
    """What all guidance shares: the interval, the cost at each noise level, and the extrapolation.

    Args:
        main: the denoiser that is guided.
        guide: the one that it is led away from.
        weight: w >= 0; 1 is no guidance.
        sigma_lo, sigma_hi: where it is on.

    Raises:
        InputError: images of different shapes.
    """

    def __init__(
        self, main: Denoiser, guide: Denoiser, weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf
    ) -> None:
        if main.shape != guide.shape:
            raise InputError(
                f"guidance needs images of one shape; the denoiser has {list(main.shape)} and its guide "
                f"{list(guide.shape)}"
            )
        self.main, self.guide, self.weight = main, guide, weight
        self.sigma_lo, self.sigma_hi = sigma_lo, sigma_hi
        self.shape, self.label_dim = main.shape, main.label_dim
        self.sigma_min = max(main.sigma_min, guide.sigma_min)
        self.sigma_max = min(main.sigma_max, guide.sigma_max)
        self.cost = main.cost + (guide.cost if weight != 1 else 0)

    @property
    def dtype(self) -> torch.dtype:
        return self.main.dtype

    @property
    def device(self) -> torch.device:
        return self.main.device

    def is_on(self, sigma: Tensor) -> Tensor:
        """Whether guidance is on at these noise levels; bool of their shape."""
        if self.weight == 1:
            return torch.zeros_like(sigma, dtype=torch.bool)
        return (sigma > self.sigma_lo) & (sigma <= self.sigma_hi)

    def cost_at(self, sigma: Tensor) -> Tensor:
        """Network evaluations of one row at these noise levels, int64 of their shape."""
        return cost_at(self.main, sigma) + torch.where(self.is_on(sigma), cost_at(self.guide, sigma), 0)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The levels that the guided denoiser was trained at."""
        return self.main.round_sigma(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, /) -> Tensor:
        """The guided denoised images; arguments as for every denoiser."""
        denoised, on = self.main(x, sigma, labels), self.is_on(sigma)
        if not bool(on.any()):
            return denoised
        away = self.guide(x, sigma, self._guides_labels(labels)).to(denoised.dtype)
        on = on.to(denoised.device).reshape(-1, 1, 1, 1)
        return torch.where(on, away + self.weight * (denoised - away), denoised)

    @abstractmethod
    def _guides_labels(self, labels: Tensor | None) -> Tensor | None:
        """The labels that the guide gets."""


class CFG(Guided):
    """Classifier-free guidance of a class-conditional denoiser by itself without the class.

    Args:
        main: a denoiser with classes, trained with the class left out at times.
        weight, sigma_lo, sigma_hi: as for `Guided`.

    Raises:
        InputError: a denoiser without classes.
    """

    def __init__(self, main: Denoiser, weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf) -> None:
        check_classes(main.label_dim)
        super().__init__(main, main, weight, sigma_lo, sigma_hi)

    def _guides_labels(self, labels: Tensor | None) -> None:
        return None


class Autoguidance(Guided):
    """Autoguidance of a denoiser by an inferior one, which is given the same class if it has classes.

    Args:
        main, guide, weight, sigma_lo, sigma_hi: as for `Guided`.

    Raises:
        InputError: images of different shapes, or classes that differ.
    """

    def __init__(
        self, main: Denoiser, guide: Denoiser, weight: float, sigma_lo: float = 0.0, sigma_hi: float = math.inf
    ) -> None:
        check_same_classes(main.label_dim, guide.label_dim)
        super().__init__(main, guide, weight, sigma_lo, sigma_hi)

    def _guides_labels(self, labels: Tensor | None) -> Tensor | None:
        return labels if self.guide.label_dim else None
