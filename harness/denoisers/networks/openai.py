"""OpenAIUNet: the networks of improved-diffusion and guided-diffusion, by their own parameter names.

| name                | resblock_updown | scale_shift | attention heads        | group norms |
|---------------------|-----------------|-------------|------------------------|-------------|
| ADM (guided)        | yes             | yes         | 64 channels a head     | 32 groups   |
| improved DDPM       | no              | yes         | 4                      | 32 groups   |
| improved, LSUN      | no              | no          | 1                      | 32 groups   |

`DhariwalUNet` is the same ADM with fewer groups in narrow layers, as EDM has it.
Sources: Nichol & Dhariwal 2021 (arXiv 2102.09672), app. A; Dhariwal & Nichol 2021 (arXiv 2105.05233), sec. 3, app. A.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.denoisers.networks.layers import (
    PositionalEmbedding,
    check_null_class,
    check_resolution,
    keep_labels,
    resolutions,
    silu,
    with_null_class,
)

GROUPS = 32
EPS = 1e-5


@dataclass(frozen=True)
class Heads:
    """How channels are cut into attention heads.

    Args:
        count: heads; not used where `channels` is not 0.
        channels: channels of a head, or 0.
        split_first: whether query, key and value are told apart before the heads ("new attention order") or after.
    """

    count: int
    channels: int
    split_first: bool

    def of(self, width: int) -> int:
        """Heads of a layer of `width` channels."""
        count = width // self.channels if self.channels else self.count
        if count < 1 or width % count or (self.channels and width % self.channels):
            raise ValueError(f"{width} channels cannot be cut into attention heads of {self.channels or self.count}")
        return count


def _norm(channels: int) -> nn.GroupNorm:
    if channels % GROUPS:
        raise ValueError(f"this network's widths are multiples of {GROUPS}; we got {channels}")
    return nn.GroupNorm(GROUPS, channels, eps=EPS)


def _conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2)


class ResBlock(nn.Module):
    """Residual block: norm, SiLU, (resample,) conv; embedding; norm, SiLU, dropout, conv; plus the skip.

    Args:
        cin, cout: channels; equal where it resamples.
        emb: width of the embedding.
        dropout: probability, in training only.
        scale_shift: the embedding scales and shifts the normalised activation, else it is added before.
        resample: "up", "down" or None: nearest-neighbour doubling, or the mean of 2x2.
    Shapes: h [B, cin, H, W], emb [B or 1, emb] -> [B, cout, H', W'].
    """

    def __init__(
        self, cin: int, cout: int, emb: int, dropout: float, scale_shift: bool, resample: str | None = None
    ) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(_norm(cin), nn.SiLU(), _conv(cin, cout))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * cout if scale_shift else cout))
        self.out_layers = nn.Sequential(_norm(cout), nn.SiLU(), nn.Dropout(dropout), _conv(cout, cout))
        self.skip_connection = nn.Identity() if cin == cout else _conv(cin, cout, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, conv = self.in_layers[0], self.in_layers[2]
        h = conv(self._resampled(silu(norm(x))))
        added = self.emb_layers(emb)[:, :, None, None]
        norm, rest = self.out_layers[0], self.out_layers[1:]
        if self.scale_shift:
            scale, shift = added.chunk(2, dim=1)
            h = rest(norm(h) * (1 + scale) + shift)
        else:
            h = rest(norm(h + added))
        return self.skip_connection(self._resampled(x)) + h

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x


class Attention(nn.Module):
    """Self-attention over pixels, added to its input. Shapes: h [B, width, H, W] -> the same; emb is not used."""

    def __init__(self, width: int, heads: Heads) -> None:
        super().__init__()
        self.heads, self.split_first = heads.of(width), heads.split_first
        self.norm = _norm(width)
        self.qkv = nn.Conv1d(width, 3 * width, 1)
        self.proj_out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        size, width = x.shape[:2]
        flat = x.flatten(2)  # [B, width, pixels]
        qkv = self.qkv(self.norm(flat))
        if self.split_first:  # 3 * width channels count q, k, v (slowest), head, channel
            parts = qkv.reshape(size, 3, self.heads, width // self.heads, -1)
        else:  # head (slowest), q, k, v, channel
            parts = qkv.reshape(size, self.heads, 3, width // self.heads, -1).transpose(1, 2)
        query, key, value = parts.transpose(3, 4).unbind(1)  # each [B, heads, pixels, channels]
        mixed = F.scaled_dot_product_attention(query, key, value)
        out = self.proj_out(mixed.transpose(2, 3).reshape(size, width, -1))
        return (flat + out).reshape(x.shape)


class Downsample(nn.Module):
    """Half the resolution by a convolution of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = _conv(width, width, stride=2)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Twice the resolution by nearest neighbours, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class Input(nn.Conv2d):
    """The first convolution, which takes no notice of the embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class OpenAIUNet(nn.Module):
    """U-Net of improved-diffusion and guided-diffusion.

    Args:
        img_resolution: height and width H of the images, divisible by 2^(levels - 1).
        in_channels, out_channels: channels of the input and the output.
        label_dim: classes, the null class among them; 0 means unconditional.
        null_class: the class that stands for none; "zeros" if an all-zero label does; None if nothing does.
        model_channels: unit of width, a multiple of 32.
        channel_mult: width of every level, in units of model_channels; may be fractions.
        num_blocks: residual blocks a level (one more in the decoder).
        attn_levels: levels with self-attention, 0 the finest; the bottleneck always has it.
        dropout: probability, in training only.
        label_dropout: probability of hiding a sample's class, in training only.
        num_heads, num_heads_up, num_head_channels: attention heads, those of the decoder (0: the same), or their width.
        split_first: see `Heads`.
        scale_shift: see `ResBlock`.
        resblock_updown: residual blocks resample; else convolutions.
    Shapes: x [B, in_channels, H, H], noise_labels [B] or [1], class_labels [B, label_dim] or None (all zero)
        -> [B, out_channels, H, H].
    Raises: ValueError: indivisible resolution, width or heads, or no such null class.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[float] = (1, 2, 3, 4),
        num_blocks: int = 2,
        attn_levels: Sequence[int] = (2, 3),
        dropout: float = 0.0,
        label_dropout: float = 0.0,
        num_heads: int = 4,
        num_heads_up: int = 0,
        num_head_channels: int = 0,
        split_first: bool = False,
        scale_shift: bool = True,
        resblock_updown: bool = False,
        null_class: int | str | None = None,
    ) -> None:
        check_resolution(img_resolution, len(channel_mult))
        check_null_class(null_class, label_dim)
        super().__init__()
        self.null_class = null_class
        self.label_dropout, self.scale_shift, self.updown = label_dropout, scale_shift, resblock_updown
        self.dropout, self.num_blocks, self.attn_levels = dropout, num_blocks, frozenset(attn_levels)
        self.resolutions = resolutions(img_resolution, len(channel_mult))
        self.emb_channels = 4 * model_channels
        widths = [int(mult * model_channels) for mult in channel_mult]
        down = Heads(num_heads, num_head_channels, split_first)
        up = Heads(num_heads_up or num_heads, num_head_channels, split_first)

        self.map_noise = PositionalEmbedding(model_channels, endpoint=False, sine_first=False)
        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, self.emb_channels), nn.SiLU(), nn.Linear(self.emb_channels, self.emb_channels)
        )
        self.label_emb = nn.Embedding(label_dim, self.emb_channels) if label_dim else None
        self.input_blocks, skips = self._encoder(in_channels, widths, down)
        wide = widths[-1]
        self.middle_block = nn.ModuleList([self._block(wide, wide), Attention(wide, down), self._block(wide, wide)])
        self.output_blocks = self._decoder(widths, skips, up)
        self.out = nn.Sequential(_norm(widths[0]), nn.SiLU(), _conv(widths[0], out_channels))

    def _block(self, cin: int, cout: int, resample: str | None = None) -> ResBlock:
        return ResBlock(cin, cout, self.emb_channels, self.dropout, self.scale_shift, resample)

    def _encoder(self, cin: int, widths: list[int], heads: Heads) -> tuple[nn.ModuleList, list[int]]:
        """The encoder's stages, and the channels of what each leaves for the decoder."""
        c, skips = widths[0], [widths[0]]
        stages = nn.ModuleList([nn.ModuleList([Input(cin, c, 3, padding=1)])])
        for level, width in enumerate(widths):
            if level:
                stages.append(nn.ModuleList([self._block(c, c, "down") if self.updown else Downsample(c)]))
                skips.append(c)
            for _ in range(self.num_blocks):
                attention = [Attention(width, heads)] if level in self.attn_levels else []
                stages.append(nn.ModuleList([self._block(c, width), *attention]))
                c = width
                skips.append(c)
        return stages, skips

    def _decoder(self, widths: list[int], skips: list[int], heads: Heads) -> nn.ModuleList:
        """The decoder's stages; consumes `skips` from the end."""
        stages, c = nn.ModuleList(), widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for index in range(self.num_blocks + 1):
                parts: list[nn.Module] = [self._block(c + skips.pop(), width)]
                c = width
                if level in self.attn_levels:
                    parts.append(Attention(c, heads))
                if level and index == self.num_blocks:
                    parts.append(self._block(c, c, "up") if self.updown else Upsample(c))
                stages.append(nn.ModuleList(parts))
        return stages

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        if augment_labels is not None:
            raise ValueError("this network knows no augmentation; leave augment_labels out")
        emb = self.time_embed(self.map_noise(noise_labels))
        if self.label_emb is not None:
            table = self.label_emb.weight
            if class_labels is not None:
                class_labels = keep_labels(class_labels, self.label_dropout if self.training else 0.0)
            class_labels = with_null_class(class_labels, self.null_class, table)
            if class_labels is not None:
                emb = emb + class_labels @ table
        kept_back = []
        for stage in self.input_blocks:
            x = _through(stage, x, emb)
            kept_back.append(x)
        x = _through(self.middle_block, x, emb)
        for stage in self.output_blocks:
            x = _through(stage, torch.cat([x, kept_back.pop()], dim=1), emb)
        image: Tensor = self.out(x)
        return image


def _through(stage: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    assert isinstance(stage, nn.ModuleList)
    for part in stage:
        x = part(x, emb)
    return x
