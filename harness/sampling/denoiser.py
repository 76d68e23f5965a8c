"""What every denoiser is, of whatever origin: the interface that samplers, losses and metrics rely on.

A third party's model joins by wrapping it in an object with these attributes; it need not inherit from anything here.
D(x; sigma) is the expected clean image given the noisy image x = y + sigma n, n ~ N(0, I)
(Karras et al. 2022, arXiv 2206.00364, eq. 2 and 3). A network that predicts noise or velocity is converted first:
D = x - sigma eps(x; sigma) for a prediction of the noise.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.core.data_range import BYTES, DataRange


@runtime_checkable
class Denoiser(Protocol):
    """A black-box D(x; sigma).

    Attributes:
        shape: of one sample, (C, H, W) for images; a sequence, a video or a vector has its own number of sides.
        label_dim: number of classes; 0 means unconditional.
        sigma_min, sigma_max: noise levels at which D may be called, in units of the data; samplers clamp their range to
            them. 0 and infinity mean no limit; whether D may be asked at infinity itself is said by `AtInfinity`.
        dtype: of the returned D; the samplers' state has its own (usually float64).
        device: where x is expected.
        cost: network evaluations that one row of x costs: 1, or 2 for guidance with two networks. NFE counts in it.
            Where it depends on the noise level this is the most, and `Metered` says how much it is at each.
    """

    label_dim: int
    sigma_min: float
    sigma_max: float
    cost: int

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def __call__(self, x: Tensor, sigma: Tensor, labels: Any = None, /) -> Tensor:
        """Denoise a batch; must not change x, and a row's result must not depend on the other rows.

        Args:
            x: [B, *shape], noisy samples in any floating dtype, on `device`, not scaled by c_in or s.
            sigma: () for the whole batch or [B], noise standard deviation > 0, float64 or float32; a 0-dim sigma may be
                on the CPU whatever the device.
            labels: [B, label_dim], one-hot rows; None means no class (all zeros); see also `ClassTable`. A denoiser of
                other conditions takes a tensor, a dict of tensors, or a list of texts, with a row a sample; see
                `harness.sampling.conditions`.

        Returns:
            D [B, *shape] in `dtype`.
        """
        ...

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The levels nearest to `sigma` (float64, any shape) that the model was trained at; the identity if all are."""
        ...


@runtime_checkable
class Metered(Protocol):
    """A denoiser whose cost depends on the noise level, such as guidance that is off outside an interval."""

    def cost_at(self, sigma: Tensor) -> Tensor:
        """Network evaluations of one row, int64 of the shape of sigma."""
        ...


@runtime_checkable
class AtInfinity(Protocol):
    """A denoiser that may be asked at sigma = infinity, time t = 1 of flow matching, where a sample is noise alone.

    y + sigma n is infinite there. At sigma = infinity such a denoiser takes the unit noise n itself for x, the limit of
    x / sigma, and returns the limit of D(sigma n; sigma): for an exact denoiser the mean of the data. Rows of a batch
    may be at infinite and at finite levels.

    Attributes:
        takes_infinity: whether it may.
    """

    takes_infinity: bool


@runtime_checkable
class ClassTable(Protocol):
    """A denoiser that looks classes up in a table, so that an image without a class is one more class or nothing.

    Attributes:
        null_class: the class that stands for none, which no labels and all-zero labels mean; None if no class does. It
            is never drawn at random, and may be named like any other.
        needs_class: whether the network knows images of a class alone, so that D without labels means nothing.
    """

    null_class: int | None
    needs_class: bool


@runtime_checkable
class Ranged(Protocol):
    """A denoiser that declares the range of its data; one that does not has images in [-1, 1].

    Attributes:
        data_range: lowest and highest value of the data, or None for no limits; (-1, 1) means images that metrics see
            as bytes, and everything else floats; see `harness.core.data_range`.
    """

    data_range: DataRange


@runtime_checkable
class Conditional(Protocol):
    """A denoiser of conditions other than classes; see `harness.sampling.conditions`.

    Attributes:
        conditional: whether it takes them.
    """

    conditional: bool


def takes_conditions(denoiser: Denoiser) -> bool:
    """Whether the denoiser takes conditions other than classes."""
    return isinstance(denoiser, Conditional) and denoiser.conditional


def takes_infinity(denoiser: Denoiser) -> bool:
    """Whether the denoiser may be asked at sigma = infinity."""
    return isinstance(denoiser, AtInfinity) and denoiser.takes_infinity


def data_range(denoiser: Denoiser) -> DataRange:
    """The range of the denoiser's data."""
    return denoiser.data_range if isinstance(denoiser, Ranged) else BYTES


def null_class(denoiser: Denoiser) -> int | None:
    """The denoiser's class that stands for none; None if no class does."""
    return denoiser.null_class if isinstance(denoiser, ClassTable) else None


def needs_class(denoiser: Denoiser) -> bool:
    """Whether the denoiser's D without labels means nothing."""
    return isinstance(denoiser, ClassTable) and denoiser.needs_class


def cost_at(denoiser: Denoiser, sigma: Tensor) -> Tensor:
    """Network evaluations that one row costs a denoiser at these noise levels, int64 of their shape."""
    if isinstance(denoiser, Metered):
        return denoiser.cost_at(sigma)
    return torch.full_like(sigma, denoiser.cost, dtype=torch.int64)
