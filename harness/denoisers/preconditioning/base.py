"""A denoiser made of a raw network: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise, labels).

Source: Karras et al. 2022 (arXiv 2206.00364), eq. 7. sigma and x are cast to the network's dtype, float32, before any
arithmetic, and D has that dtype.
"""

import contextlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from harness.denoisers.networks import NETWORKS
from harness.hub.header import needs_class, null_class


class Coefficients(NamedTuple):
    """c_skip, c_out, c_in and c_noise at noise levels () or [B, 1, 1, 1]; each of that shape, or a number."""

    skip: Tensor | float
    out: Tensor
    inp: Tensor | float
    noise: Tensor


class Formulas(NamedTuple):
    """The four coefficients as expressions in sigma and the constructor's numbers; reports print them.

    t(sigma) inverts the schedule; nearest(sigma) is the index of the model's level nearest to sigma.
    """

    c_skip: str
    c_out: str
    c_in: str
    c_noise: str


class Preconditioned(nn.Module, ABC):
    """A denoiser made of a U-Net and four functions of sigma; see `harness.sampling.denoiser.Denoiser`.

    Every subclass takes the first five arguments and those of the raw network too, and passes them on.

    Args:
        img_resolution, img_channels: size of the images.
        label_dim: classes; 0 means unconditional.
        use_fp16: run the network in mixed half precision (autocast); honoured on CUDA only.
        model_type: the raw network, a key of `NETWORKS`; None for the usual one of the class.
        own: arguments of the subclass, kept so that the denoiser can be built again.
        sigma_min, sigma_max: noise levels that the model supports.
        variance: whether the raw network has 2 C output channels; the second half, a variance, is not used.
        network: the raw network's other arguments.

    Attributes:
        usual_network: the raw network where none is named.
    Attributes: formulas: the coefficients as expressions; of the class, or of a denoiser that was given its own.
    Raises: ValueError: unknown model_type, or an argument the network refuses.
    """

    kind: ClassVar[str]
    usual_network: ClassVar[str] = "DhariwalUNet"
    formulas: Formulas
    cost = 1

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int = 0,
        use_fp16: bool = False,
        model_type: str | None = None,
        *,
        own: dict[str, Any],
        sigma_min: float,
        sigma_max: float,
        variance: bool = False,
        **network: Any,
    ) -> None:
        super().__init__()
        model_type = self.usual_network if model_type is None else model_type
        if model_type not in NETWORKS:
            raise ValueError(f"model_type must be one of {', '.join(NETWORKS)}; we got {model_type!r}")
        self.shape = (img_channels, img_resolution, img_resolution)
        self.label_dim = label_dim
        self.use_fp16 = use_fp16
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        described = {"model_type": model_type, **network}
        self.null_class, self.needs_class = null_class(described), needs_class(label_dim, described)
        self.config: dict[str, Any] = {
            "img_resolution": img_resolution,
            "img_channels": img_channels,
            "label_dim": label_dim,
            "use_fp16": use_fp16,
            **own,
            **described,
        }  # the constructor's arguments: enough to build the same denoiser again
        out_channels = img_channels * (2 if variance else 1)
        self.model = NETWORKS[model_type](img_resolution, img_channels, out_channels, label_dim=label_dim, **network)

    @abstractmethod
    def coefficients(self, sigma: Tensor) -> Coefficients:
        """The column of Table 1 for this class, at sigma of shape () or [B, 1, 1, 1]."""

    @abstractmethod
    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise levels that the model was trained at; shape and dtype as given."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters, and so of D: float32, unless the module was converted."""
        return next(self.model.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """D(x; sigma) for x [B, C, H, W] and sigma (), [B] or [B, 1, 1, 1].

        Args:
            labels: [B, label_dim], one-hot; None means no class, which is an all-zero label or the null class.
            augment_labels: [B, augment_dim]; None leaves that branch out.

        Raises:
            ValueError: labels of another width than label_dim.
        """
        dtype, device = self.dtype, x.device
        x = x.to(dtype)
        sigma = torch.as_tensor(sigma).to(dtype)
        if sigma.ndim:  # a 0-dim sigma stays where it is: it multiplies tensors on any device
            sigma = sigma.to(device).reshape(-1, 1, 1, 1)
        c = self.coefficients(sigma)
        noise = c.noise.reshape(-1).to(device)  # [1] or [B]
        with self._precision(device):
            raw = self.model(c.inp * x, noise, self._one_hot(labels, dtype), _cast(augment_labels, dtype))
        return c.skip * x + c.out * raw[:, : self.shape[0]].to(dtype)

    def _precision(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        if self.use_fp16 and device.type == "cuda":
            return torch.autocast("cuda", torch.float16)
        return contextlib.nullcontext()

    def _one_hot(self, labels: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        if labels is None:
            return None
        if labels.ndim != 2 or labels.shape[1] != self.label_dim:
            raise ValueError(
                f"labels must be one-hot rows of shape [B, {self.label_dim}]; we got {tuple(labels.shape)}; "
                "pass None for no class"
            )
        return labels.to(dtype) if self.label_dim else None


def _cast(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)
