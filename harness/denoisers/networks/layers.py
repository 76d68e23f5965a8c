"""Parts of the U-Nets: initialisation, resampling convolutions, embeddings, the residual block, levels of resolution.

Names of parameters and buffers are those of published EDM checkpoints, so that their weights load strictly.
Sources: Karras et al. 2022 (arXiv 2206.00364, app. F.1 and table 7); Song et al. 2021 (arXiv 2011.13456, app. H: DDPM++
and NCSN++); Dhariwal & Nichol 2021 (arXiv 2105.05233, sec. 3 and app. A: ADM).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Init = Callable[[Tensor, Tensor | None], None]
"""Fills a weight [out, in, ...] and, where there is one, a bias [out], in place."""


def xavier(scale: float = 1.0) -> Init:
    """Weights from U(-a, a), a = scale sqrt(6 / (fan_in + fan_out)); biases 0."""

    def fill(weight: Tensor, bias: Tensor | None) -> None:
        nn.init.xavier_uniform_(weight, gain=scale)
        if bias is not None:
            nn.init.zeros_(bias)

    return fill


def kaiming(scale: float = 1.0) -> Init:
    """Weights and biases from U(-a, a), a = scale / sqrt(fan_in); scale 1 is torch's own default, 0 means zeros."""

    def fill(weight: Tensor, bias: Tensor | None) -> None:
        bound = scale / math.sqrt(weight[0].numel())
        for tensor in (weight, bias):
            if tensor is not None:
                nn.init.uniform_(tensor, -bound, bound)

    return fill


def normal(std: float) -> Init:
    """Weights from N(0, std^2); biases 0."""

    def fill(weight: Tensor, bias: Tensor | None) -> None:
        nn.init.normal_(weight, std=std)
        if bias is not None:
            nn.init.zeros_(bias)

    return fill


def linear(in_features: int, out_features: int, init: Init, bias: bool = True) -> nn.Linear:
    """A fully connected layer [..., in_features] -> [..., out_features] with the given initialisation."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    init(layer.weight, layer.bias)
    return layer


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group normalisation with min(32, channels / 4) groups, so that a group has at least four channels."""
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps=eps)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x); overwrites x where gradients are off, so x must not be used elsewhere."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


Resample = Literal["up", "down"]


class Conv2d(nn.Module):
    """A convolution of stride 1, with a fixed low-pass filter that halves or doubles the resolution before it.

    The filter is the outer product of `resample_filter` with itself, normalised to sum 1: [1, 1] is box averaging and
    nearest-neighbour doubling, [1, 3, 3, 1] the smoother filter of NCSN++. Borders are padded with zeros.

    Args:
        in_channels, out_channels: channels; equal where kernel is 0.
        kernel: side of the kernel, odd; 0 means resampling alone, without weights.
        init: fills weight and bias.
        resample: "up" (factor 2), "down" (factor 1/2) or None.
        resample_filter: taps of the separable filter, even in number.
        fused: with "down", convolve first and on a wider border, then filter; this is the other order, as the
            residual input pyramid of NCSN++ has it, and its result differs at the borders.
    Shapes: x [B, in_channels, H, W] -> [B, out_channels, H', W'], H' = H, 2 H or H / 2.
    Source: Zhang 2019 (arXiv 1904.11486) for filtering before subsampling; Song et al. 2021, app. H.
    """

    resample_filter: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        init: Init,
        resample: Resample | None = None,
        resample_filter: Sequence[float] = (1, 1),
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.fused = fused
        self.padding = kernel // 2
        self.border = (len(resample_filter) - 1) // 2  # what keeps an even image's phase when filtering
        self.is_box = list(resample_filter) == [1, 1]
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if kernel else None
        if self.weight is not None:
            init(self.weight, self.bias)
        taps = torch.as_tensor(resample_filter, dtype=torch.float32, device="cpu")
        self.register_buffer("resample_filter", _outer(taps)[None, None] if resample else None)

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and self.resample == "down":
            x = self._convolve(x, self.padding + self.border)
            return self._halve(x, border=0)
        if self.resample == "down":
            x = self._halve(x, self.border)
        elif self.resample == "up":
            x = self._double(x)
        return self._convolve(x, self.padding)

    def _convolve(self, x: Tensor, padding: int) -> Tensor:
        return x if self.weight is None else F.conv2d(x, self.weight, self.bias, padding=padding)

    def _halve(self, x: Tensor, border: int) -> Tensor:
        if self.is_box:
            return F.avg_pool2d(x, 2)
        taps = self._depthwise(x)
        return F.conv2d(x, taps, stride=2, padding=border, groups=x.shape[1])

    def _double(self, x: Tensor) -> Tensor:
        if self.is_box:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        taps = self._depthwise(x) * 4  # zeros take three of four places, so that brightness needs a factor 4
        return F.conv_transpose2d(x, taps, stride=2, padding=self.border, groups=x.shape[1])

    def _depthwise(self, x: Tensor) -> Tensor:
        assert self.resample_filter is not None
        return self.resample_filter.to(x.dtype).expand(x.shape[1], -1, -1, -1)  # [C, 1, k, k]


def _outer(taps: Tensor) -> Tensor:
    return taps.outer(taps) / taps.sum().square()


class PositionalEmbedding(nn.Module):
    """Sines and cosines of the noise label at geometrically spaced frequencies, 1 down to 1 / 10000.

    Args:
        channels: outputs n, even.
        endpoint: True spaces the n / 2 frequencies over [1, 1/10000] inclusive (DDPM++), False stops one short (ADM).
        sine_first: order of the halves: sine then cosine (DDPM++) or cosine then sine (ADM).
    Shapes: noise labels [B] -> [B, channels].  Source: Vaswani et al. 2017, sec. 3.5; Ho et al. 2020, app. B.
    """

    freqs: Tensor

    def __init__(self, channels: int, endpoint: bool, sine_first: bool) -> None:
        super().__init__()
        self.sine_first = sine_first
        half = channels // 2
        exponents = torch.arange(half, dtype=torch.float32, device="cpu") / (half - 1 if endpoint else half)
        self.register_buffer("freqs", (1 / 10000) ** exponents, persistent=False)

    def forward(self, noise_labels: Tensor) -> Tensor:
        return _waves(noise_labels.outer(self.freqs), self.sine_first)


class FourierEmbedding(nn.Module):
    """Sines, then cosines, of 2 pi f times the noise label; the random f ~ N(0, scale^2) are fixed at construction.

    The product 2 pi f is rounded before the label multiplies it: the phases reach hundreds of radians, so another
    order of the float32 operations moves the network's output by 1e-5.

    Shapes: noise labels [B] -> [B, channels].  Source: Tancik et al. 2020; Song et al. 2021, app. H.
    """

    freqs: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, noise_labels: Tensor) -> Tensor:
        return _waves(noise_labels.outer(2 * math.pi * self.freqs), sine_first=True)


def _waves(phase: Tensor, sine_first: bool) -> Tensor:
    halves = (phase.sin(), phase.cos()) if sine_first else (phase.cos(), phase.sin())
    return torch.cat(halves, dim=1)


@dataclass(frozen=True)
class BlockStyle:
    """What all residual blocks of one network share.

    Attributes:
        emb_channels: width of the noise embedding.
        dropout: probability of dropping an activation before the second convolution, in training only.
        skip_scale: factor of every sum of a branch and its skip; sqrt(1/2) keeps the variance.
        eps: of the group normalisations, in units of squared activations.
        resample_filter: see `Conv2d`.
        project_resampled: whether a resampled skip gets a 1x1 convolution although the channels stay the same.
        adaptive_scale: True: the embedding scales and shifts the normalised activation (ADM); False: it is added
            before the normalisation (DDPM++, NCSN++).
        init, init_zero, init_attn: of ordinary layers, of the last layer in a branch, of query, key and value.
    """

    emb_channels: int
    dropout: float
    skip_scale: float
    eps: float
    resample_filter: Sequence[float]
    project_resampled: bool
    adaptive_scale: bool
    init: Init
    init_zero: Init
    init_attn: Init


class UNetBlock(nn.Module):
    """Residual block of both U-Nets: norm, SiLU, conv, embedding, norm, SiLU, dropout, conv, skip; then attention.

    Args:
        in_channels, out_channels: channels of the input and the output.
        style: what the network's blocks share.
        resample: "up", "down" or None; done by the first convolution and the skip.
        heads: attention heads; 0 means no attention.
    Shapes: x [B, in_channels, H, W], emb [B or 1, emb_channels] -> [B, out_channels, H', W'].
    Source: Karras et al. 2022, app. F.1; Song et al. 2021, app. H; Dhariwal & Nichol 2021, app. A.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style: BlockStyle,
        resample: Resample | None = None,
        heads: int = 0,
    ) -> None:
        super().__init__()
        self.style = style
        self.out_channels = out_channels
        self.heads = heads
        taps, width = style.resample_filter, out_channels
        self.norm0 = group_norm(in_channels, style.eps)
        self.conv0 = Conv2d(in_channels, width, 3, style.init, resample, taps)
        self.affine = linear(style.emb_channels, width * (2 if style.adaptive_scale else 1), style.init)
        self.norm1 = group_norm(width, style.eps)
        self.conv1 = Conv2d(width, width, 3, style.init_zero)
        self.skip: Conv2d | None = None
        if in_channels != out_channels or resample:
            projected = style.project_resampled or in_channels != out_channels
            self.skip = Conv2d(in_channels, width, int(projected), style.init, resample, taps)
        if heads:
            self.norm2 = group_norm(width, style.eps)
            self.qkv = Conv2d(width, 3 * width, 1, style.init_attn)
            self.proj = Conv2d(width, width, 1, style.init_zero)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(silu(self.norm0(x)))
        h = silu(self._modulate(h, self.affine(emb)[:, :, None, None]))
        h = self.conv1(F.dropout(h, self.style.dropout, self.training))
        x = self._join(h, x if self.skip is None else self.skip(x))
        return self._join(self._attend(x), x) if self.heads else x

    def _modulate(self, h: Tensor, params: Tensor) -> Tensor:
        if not self.style.adaptive_scale:
            return self.norm1(h.add_(params))
        scale, shift = params.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm1(h), scale + 1)

    def _join(self, branch: Tensor, skip: Tensor) -> Tensor:
        total = branch.add_(skip)
        return total if self.style.skip_scale == 1 else total.mul_(self.style.skip_scale)

    def _attend(self, x: Tensor) -> Tensor:
        """Self-attention over pixels; softmax(q k / sqrt(channels per head)) v, projected."""
        size, channels, height, width = x.shape
        # The 3 C channels of qkv count head (slowest), channel, then q, k, v.
        qkv = self.qkv(self.norm2(x)).reshape(size, self.heads, channels // self.heads, 3, height * width)
        query, key, value = qkv.transpose(2, 4).unbind(3)  # each [B, heads, pixels, channels per head]
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(2, 3).reshape(size, channels, height, width))


def resolutions(finest: int, levels: int) -> list[int]:
    """Side in pixels of every level: finest, finest / 2, finest / 4, ..."""
    return [finest >> level for level in range(levels)]


def check_resolution(finest: int, levels: int) -> None:
    """Raises ValueError unless every level but the last can be halved exactly."""
    if levels < 1:
        raise ValueError("channel_mult needs at least one level; we got none")
    factor = 2 ** (levels - 1)
    if finest < factor or finest % factor:
        raise ValueError(
            f"img_resolution {finest} cannot be halved {levels - 1} times; use a multiple of {factor}, or fewer levels "
            "in channel_mult"
        )


def with_null_class(labels: Tensor | None, null_class: int | str | None, classes: Tensor) -> Tensor | None:
    """Labels in which a row without a class is the null class.

    Args:
        labels: [B, classes], one-hot or all-zero rows; None means all-zero ones.
        null_class: the class that stands for none; without one ("zeros", None) the labels stay as they are.
        classes: the network's table [classes, width], which says how many there are, and of what type and where.

    Returns:
        [B or 1, classes], or None.
    """
    if not isinstance(null_class, int):
        return labels
    null = torch.zeros_like(classes[:1, :1]).expand(1, len(classes)).clone()
    null[0, null_class] = 1
    return null if labels is None else labels.where(labels.any(dim=1, keepdim=True), null.to(labels.dtype))


def check_null_class(null_class: int | str | None, classes: int) -> None:
    """Refuse a null class that is none of the classes, or the only one.

    Raises:
        ValueError: with what it may be.
    """
    if null_class is None:
        return
    if classes < 1:
        raise ValueError(f"null_class {null_class!r} of a network without classes; leave it out")
    if null_class != "zeros" and not (type(null_class) is int and classes > 1 and 0 <= null_class < classes):
        raise ValueError(f"null_class is zeros, or one of several classes, 0 to {classes - 1}; we got {null_class!r}")


def keep_labels(labels: Tensor, dropout: float) -> Tensor:
    """Labels [B, label_dim] with each row zeroed with probability `dropout` (Ho & Salimans 2022)."""
    if not dropout:
        return labels
    return labels * (torch.rand(len(labels), 1, device=labels.device) >= dropout)
