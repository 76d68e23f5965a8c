"""SongUNet: the DDPM++ and NCSN++ architectures of Song et al. 2021 as one network.

| name    | embedding_type | channel_mult_noise | encoder_type | decoder_type | resample_filter |
|---------|----------------|--------------------|--------------|--------------|-----------------|
| DDPM++  | positional     | 1                  | standard     | standard     | [1, 1]          |
| NCSN++  | fourier        | 2                  | residual     | standard     | [1, 3, 3, 1]    |
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from harness.denoisers.networks.layers import (
    BlockStyle,
    Conv2d,
    FourierEmbedding,
    PositionalEmbedding,
    UNetBlock,
    check_resolution,
    group_norm,
    keep_labels,
    linear,
    resolutions,
    silu,
    xavier,
)

SQRT_HALF = math.sqrt(0.5)
EPS = 1e-6


class SongUNet(nn.Module):
    """U-Net of DDPM++ and NCSN++: raw network F of the VP and VE models, and of EDM's on CIFAR-10, FFHQ and AFHQv2.

    Args:
        img_resolution: height and width H of the images, divisible by 2^(levels - 1).
        in_channels, out_channels: channels of the input and the output.
        label_dim: classes; 0 means unconditional.
        augment_dim: numbers in an augmentation label; 0 means none.
        model_channels: width of the first level.
        channel_mult: width of every level, in units of model_channels; its length is the number of levels.
        channel_mult_emb: width of the embedding, in units of model_channels.
        num_blocks: residual blocks a level (one more in the decoder).
        attn_resolutions: resolutions with self-attention, in pixels; the bottleneck always has it.
        dropout: probability, in training only.
        label_dropout: probability of hiding a sample's class, in training only (classifier-free guidance).
        embedding_type: of the noise label: "positional" or "fourier".
        channel_mult_noise: width of that embedding, in units of model_channels.
        encoder_type: "standard"; "skip" or "residual" feed the downsampled input image to every level.
        decoder_type: "standard"; "skip" sums the images that every level paints.
        resample_filter: [1, 1] for DDPM++, [1, 3, 3, 1] for NCSN++.
    Shapes: x [B, in_channels, H, H], noise_labels [B] or [1], class_labels [B, label_dim] or None (all zero),
        augment_labels [B, augment_dim] or None (branch left out) -> [B, out_channels, H, H].
    Raises: ValueError: unknown type or indivisible resolution.
    Source: Song et al. 2021 (arXiv 2011.13456), app. H; Karras et al. 2022 (arXiv 2206.00364), table 7 and app. F.1.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        augment_dim: int = 0,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.10,
        label_dropout: float = 0.0,
        embedding_type: Literal["positional", "fourier"] = "positional",
        channel_mult_noise: int = 1,
        encoder_type: Literal["standard", "skip", "residual"] = "standard",
        decoder_type: Literal["standard", "skip"] = "standard",
        resample_filter: Sequence[float] = (1, 1),
    ) -> None:
        _check("embedding_type", embedding_type, "positional", "fourier")
        _check("encoder_type", encoder_type, "standard", "skip", "residual")
        _check("decoder_type", decoder_type, "standard", "skip")
        check_resolution(img_resolution, len(channel_mult))
        super().__init__()
        self.label_dim = label_dim
        self.label_dropout = label_dropout
        self.num_blocks = num_blocks
        self.encoder_type = encoder_type
        self.decoder_type = decoder_type
        self.resample_filter = tuple(resample_filter)
        self.attn_resolutions = tuple(attn_resolutions)
        self.resolutions = resolutions(img_resolution, len(channel_mult))
        self.init = xavier()
        self.init_zero = xavier(1e-5)
        widths = [model_channels * mult for mult in channel_mult]
        noise_channels, emb_channels = model_channels * channel_mult_noise, model_channels * channel_mult_emb
        self.style = BlockStyle(
            emb_channels=emb_channels,
            dropout=dropout,
            skip_scale=SQRT_HALF,
            eps=EPS,
            resample_filter=self.resample_filter,
            project_resampled=True,
            adaptive_scale=False,
            init=self.init,
            init_zero=self.init_zero,
            init_attn=xavier(math.sqrt(0.2)),
        )

        self.map_noise: nn.Module
        if embedding_type == "positional":
            self.map_noise = PositionalEmbedding(noise_channels, endpoint=True, sine_first=True)
        else:
            self.map_noise = FourierEmbedding(noise_channels)
        self.map_label = linear(label_dim, noise_channels, self.init) if label_dim else None
        self.map_augment = linear(augment_dim, noise_channels, self.init, bias=False) if augment_dim else None
        self.map_layer0 = linear(noise_channels, emb_channels, self.init)
        self.map_layer1 = linear(emb_channels, emb_channels, self.init)
        self.enc, skips = self._encoder(in_channels, model_channels, widths)
        self.dec = self._decoder(out_channels, widths, skips)

    def _block(self, cin: int, cout: int, attention: bool) -> UNetBlock:
        return UNetBlock(cin, cout, self.style, heads=int(attention))

    def _encoder(self, cin: int, first: int, widths: list[int]) -> tuple[nn.ModuleDict, list[int]]:
        """The encoder's parts, in the order of execution, and the channels of what it leaves for the decoder."""
        enc, taps = nn.ModuleDict(), self.resample_filter
        caux, c, skips = cin, first, [first]
        for level, (res, width) in enumerate(zip(self.resolutions, widths, strict=True)):
            if level == 0:
                enc[f"{res}x{res}_conv"] = Conv2d(cin, c, 3, self.init)
            else:
                enc[f"{res}x{res}_down"] = UNetBlock(c, c, self.style, "down")
                skips.append(c)
                if self.encoder_type == "skip":
                    enc[f"{res}x{res}_aux_down"] = Conv2d(caux, caux, 0, self.init, "down", taps)
                    enc[f"{res}x{res}_aux_skip"] = Conv2d(caux, c, 1, self.init)
                elif self.encoder_type == "residual":
                    enc[f"{res}x{res}_aux_residual"] = Conv2d(caux, c, 3, self.init, "down", taps, fused=True)
                    caux = c
            for index in range(self.num_blocks):
                enc[f"{res}x{res}_block{index}"] = self._block(c, width, res in self.attn_resolutions)
                c = width
                skips.append(c)
        return enc, skips

    def _decoder(self, cout: int, widths: list[int], skips: list[int]) -> nn.ModuleDict:
        """The decoder's parts, in the order of execution; consumes `skips` from the end."""
        dec, c, bottom = nn.ModuleDict(), widths[-1], len(widths) - 1
        for level, (res, width) in reversed(list(enumerate(zip(self.resolutions, widths, strict=True)))):
            if level == bottom:
                dec[f"{res}x{res}_in0"] = self._block(c, c, attention=True)
                dec[f"{res}x{res}_in1"] = self._block(c, c, attention=False)
            else:
                dec[f"{res}x{res}_up"] = UNetBlock(c, c, self.style, "up")
            for index in range(self.num_blocks + 1):
                last = index == self.num_blocks
                attention = last and res in self.attn_resolutions
                dec[f"{res}x{res}_block{index}"] = self._block(c + skips.pop(), width, attention)
                c = width
            if self.decoder_type == "skip" and level < bottom:
                dec[f"{res}x{res}_aux_up"] = Conv2d(cout, cout, 0, self.init, "up", self.resample_filter)
            if self.decoder_type == "skip" or level == 0:
                dec[f"{res}x{res}_aux_norm"] = group_norm(c, EPS)
                dec[f"{res}x{res}_aux_conv"] = Conv2d(c, cout, 3, self.init_zero)
        return dec

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        emb = self._embed(noise_labels, class_labels, augment_labels)
        return self._decode(self._encode(x, emb), emb)

    def _embed(self, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        emb = self.map_noise(noise_labels)  # [B or 1, noise_channels]
        if self.map_label is not None:
            if class_labels is None:
                emb = emb + self.map_label.bias  # what an all-zero label gives
            else:
                kept = keep_labels(class_labels, self.label_dropout if self.training else 0.0)
                emb = emb + self.map_label(kept * math.sqrt(self.label_dim))  # unit variance of a one-hot label
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        return silu(self.map_layer1(silu(self.map_layer0(emb))))

    def _encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """All activations that the decoder takes up again; the last one is the encoder's output."""
        skips, aux = [], x
        for level, res in enumerate(self.resolutions):  # aux is the input image, made smaller level by level
            if level == 0:
                x = self.enc[f"{res}x{res}_conv"](x)
            else:
                x = self.enc[f"{res}x{res}_down"](x, emb)
                if self.encoder_type == "skip":
                    aux = self.enc[f"{res}x{res}_aux_down"](aux)
                    x = x + self.enc[f"{res}x{res}_aux_skip"](aux)
                elif self.encoder_type == "residual":
                    # sqrt(1/2) keeps the variance of a sum of two
                    x = aux = (x + self.enc[f"{res}x{res}_aux_residual"](aux)) * SQRT_HALF
            skips.append(x)
            for index in range(self.num_blocks):
                x = self.enc[f"{res}x{res}_block{index}"](x, emb)
                skips.append(x)
        return skips

    def _decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        x, image, bottom = skips[-1], None, self.resolutions[-1]
        for res in reversed(self.resolutions):
            if res == bottom:
                x = self.dec[f"{res}x{res}_in0"](x, emb)
                x = self.dec[f"{res}x{res}_in1"](x, emb)
            else:
                x = self.dec[f"{res}x{res}_up"](x, emb)
            for index in range(self.num_blocks + 1):
                x = self.dec[f"{res}x{res}_block{index}"](torch.cat([x, skips.pop()], dim=1), emb)
            if self.decoder_type == "skip" or res == self.resolutions[0]:
                painted = self.dec[f"{res}x{res}_aux_conv"](silu(self.dec[f"{res}x{res}_aux_norm"](x)))
                image = painted if image is None else self.dec[f"{res}x{res}_aux_up"](image) + painted
        assert image is not None
        return image


def _check(name: str, value: str, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; we got {value!r}")
