"""DhariwalUNet: the ADM architecture of Dhariwal & Nichol 2021."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.denoisers.networks.layers import (
    BlockStyle,
    Conv2d,
    PositionalEmbedding,
    UNetBlock,
    check_resolution,
    group_norm,
    kaiming,
    keep_labels,
    linear,
    normal,
    resolutions,
    silu,
)

EPS = 1e-5
CHANNELS_PER_HEAD = 64


class DhariwalUNet(nn.Module):
    """U-Net of ADM: raw network F of the iDDPM and EDM models on ImageNet-64.

    A block has width / 64 attention heads, rounded down: blocks narrower than 64 channels have no attention even
    where it is asked for, and neither has a bottleneck that narrow.

    Args:
        img_resolution: height and width H of the images, divisible by 2^(levels - 1).
        in_channels, out_channels: channels of the input and the output.
        label_dim: classes; 0 means unconditional.
        augment_dim: numbers in an augmentation label; 0 means none.
        model_channels: unit of width.
        channel_mult: width of every level, in units of model_channels; its length is the number of levels.
        channel_mult_emb: width of the embedding, in units of model_channels.
        num_blocks: residual blocks a level (one more in the decoder).
        attn_resolutions: resolutions with self-attention, in pixels; the bottleneck asks for it always.
        dropout: probability, in training only.
        label_dropout: probability of hiding a sample's class, in training only (classifier-free guidance).
    Shapes: x [B, in_channels, H, H], noise_labels [B] or [1], class_labels [B, label_dim] or None (all zero),
        augment_labels [B, augment_dim] or None (branch left out) -> [B, out_channels, H, H].
    Raises: ValueError: indivisible resolution.
    Source: Dhariwal & Nichol 2021 (arXiv 2105.05233), sec. 3 and app. A; Karras et al. 2022, table 7.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 192,
        channel_mult: Sequence[int] = (1, 2, 3, 4),
        channel_mult_emb: int = 4,
        num_blocks: int = 3,
        attn_resolutions: Sequence[int] = (32, 16, 8),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
    ) -> None:
        check_resolution(img_resolution, len(channel_mult))
        super().__init__()
        self.label_dropout = label_dropout
        self.num_blocks = num_blocks
        self.attn_resolutions = tuple(attn_resolutions)
        self.resolutions = resolutions(img_resolution, len(channel_mult))
        init, init_zero = kaiming(), kaiming(0.0)
        widths = [model_channels * mult for mult in channel_mult]
        emb_channels = model_channels * channel_mult_emb
        self.style = BlockStyle(
            emb_channels=emb_channels,
            dropout=dropout,
            skip_scale=1.0,
            eps=EPS,
            resample_filter=(1, 1),
            project_resampled=False,
            adaptive_scale=True,
            init=init,
            init_zero=init_zero,
            init_attn=init,
        )

        self.map_noise = PositionalEmbedding(model_channels, endpoint=False, sine_first=False)
        self.map_augment = linear(augment_dim, model_channels, init_zero, bias=False) if augment_dim else None
        self.map_layer0 = linear(model_channels, emb_channels, init)
        self.map_layer1 = linear(emb_channels, emb_channels, init)
        # One-hot labels: a column of unit normals is what one class adds to the embedding.
        self.map_label = linear(label_dim, emb_channels, normal(1.0), bias=False) if label_dim else None
        self.enc, skips = self._encoder(in_channels, widths)
        self.dec = self._decoder(widths, skips)
        self.out_norm = group_norm(widths[0], EPS)
        self.out_conv = Conv2d(widths[0], out_channels, 3, init_zero)

    def _block(self, cin: int, cout: int, attention: bool) -> UNetBlock:
        return UNetBlock(cin, cout, self.style, heads=cout // CHANNELS_PER_HEAD if attention else 0)

    def _encoder(self, cin: int, widths: list[int]) -> tuple[nn.ModuleDict, list[int]]:
        """The encoder's parts, in the order of execution, and the channels of what it leaves for the decoder."""
        enc, c, skips = nn.ModuleDict(), widths[0], []
        for level, (res, width) in enumerate(zip(self.resolutions, widths, strict=True)):
            if level == 0:
                enc[f"{res}x{res}_conv"] = Conv2d(cin, c, 3, self.style.init)
            else:
                enc[f"{res}x{res}_down"] = UNetBlock(c, c, self.style, "down")
            skips.append(c)
            for index in range(self.num_blocks):
                enc[f"{res}x{res}_block{index}"] = self._block(c, width, res in self.attn_resolutions)
                c = width
                skips.append(c)
        return enc, skips

    def _decoder(self, widths: list[int], skips: list[int]) -> nn.ModuleDict:
        """The decoder's parts, in the order of execution; consumes `skips` from the end."""
        dec, c, bottom = nn.ModuleDict(), widths[-1], self.resolutions[-1]
        for res, width in zip(reversed(self.resolutions), reversed(widths), strict=True):
            if res == bottom:
                dec[f"{res}x{res}_in0"] = self._block(c, c, attention=True)
                dec[f"{res}x{res}_in1"] = self._block(c, c, attention=False)
            else:
                dec[f"{res}x{res}_up"] = UNetBlock(c, c, self.style, "up")
            for index in range(self.num_blocks + 1):
                dec[f"{res}x{res}_block{index}"] = self._block(c + skips.pop(), width, res in self.attn_resolutions)
                c = width
        return dec

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        emb = self._embed(noise_labels, class_labels, augment_labels)
        x = self._decode(self._encode(x, emb), emb)
        return self.out_conv(silu(self.out_norm(x)))

    def _embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        emb = self.map_noise(noise_labels)  # [B or 1, model_channels]
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        emb = self.map_layer1(silu(self.map_layer0(emb)))
        if self.map_label is not None and class_labels is not None:
            emb = emb + self.map_label(keep_labels(class_labels, self.label_dropout if self.training else 0.0))
        return silu(emb)

    def _encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """All activations that the decoder takes up again; the last one is the encoder's output."""
        skips = []
        for level, res in enumerate(self.resolutions):
            x = self.enc[f"{res}x{res}_down"](x, emb) if level else self.enc[f"{res}x{res}_conv"](x)
            skips.append(x)
            for index in range(self.num_blocks):
                x = self.enc[f"{res}x{res}_block{index}"](x, emb)
                skips.append(x)
        return skips

    def _decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        x, bottom = skips[-1], self.resolutions[-1]
        for res in reversed(self.resolutions):
            if res == bottom:
                x = self.dec[f"{res}x{res}_in0"](x, emb)
                x = self.dec[f"{res}x{res}_in1"](x, emb)
            else:
                x = self.dec[f"{res}x{res}_up"](x, emb)
            for index in range(self.num_blocks + 1):
                x = self.dec[f"{res}x{res}_block{index}"](torch.cat([x, skips.pop()], dim=1), emb)
        return x
