"""Non-leaky augmentation of training images: random flips and one random affine map, told to the network as labels.

A denoiser that is given the labels learns the distribution of the images for each of them; sampling with all labels at
zero asks for the unchanged images, so that the changes do not leak into what is generated.

Coordinates are pixels from the centre of the image, x to the right and y down. An output pixel q shows the input at p:

    q = T A R S p,    S: scale by 2^(scale_std w),              R: turn by theta,
                      A = D(r) diag(s, 1/s) D(-r), s = 2^(anisotropic_std w'),    T: shift,

where R and D turn counter-clockwise as seen on the screen. Flips come first and are exact. Outside of the image stands
its mirror image without the edge repeated, as often as needed.

The warp interpolates on a grid twice as fine, between two filters of the orthogonal wavelet sym6. As the filter c is
orthonormal to its even shifts, going up with c and down with the same c reversed is exactly the identity.

Sources: Karras et al. 2022 (arXiv 2206.00364), App. F.2 and Table 6; Karras et al. 2020 (arXiv 2006.06676), App. B for
the warp; Daubechies 1992, Ten Lectures on Wavelets, ch. 8 for the symlets.
"""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from harness.core.config import Config
from harness.core.errors import InputError

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Strength = Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]

SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
"""Low-pass filter c of the wavelet sym6: 12 taps, sum sqrt(2), sum of squares 1, six vanishing moments."""

DELAY = sum(i * c for i, c in enumerate(SYM6)) / sum(SYM6)
"""Centre of mass of the filter: where pixel 0 lies on the fine grid, in fine pixels. Not 5.5: c is not symmetric."""


class Augmentation(Config):
    """Geometric augmentation with nine labels. The defaults are the paper's for CIFAR-10; FFHQ and AFHQv2 take 0.15.

    Every transformation is drawn for each image on its own and kept with its probability. A transformation that is
    switched off is one with probability 0: the random stream and the nine labels stay.

    Args:
        probability: that a transformation other than the horizontal flip is applied to an image.
        xflip: probability that the horizontal flip is drawn, where `probability` is not 0; a drawn flip mirrors every
            second image.
        yflip: draw the vertical flip, which mirrors every second image too.
        scale: draw a scale 2^(scale_std w), w standard normal; above 1 it enlarges the content.
        rotate: draw an angle, uniform; a positive one turns the content counter-clockwise as seen.
        anisotropic: draw a stretch by 2^(anisotropic_std w) along a direction and a shrinking by as much across it.
        translate: draw a shift of (w_x, w_y) translate_std times width and height; positive is right and down.
        scale_std: in octaves, in (0, 4].
        rotate_max: largest angle, in units of pi, in (0, 1].
        anisotropic_std: in octaves, in (0, 4].
        anisotropic_rotate: probability that the direction r is drawn, uniform; else it is horizontal, r = 0. A positive
            r lies counter-clockwise of the horizontal as seen.
        translate_std: as a part of the image's size, in (0, 4].
    Labels: xflip, yflip (0 or 1), scale w, cos(theta) - 1, sin(theta), anisotropic w cos(r), w sin(r), w_x, w_y. The
        labels of a transformation that is not applied are 0.
    Source: Karras et al. 2022 (arXiv 2206.00364), App. F.2, Table 6.
    """

    LABELS: ClassVar[int] = 9
    PARAMETERS: ClassVar[int] = 8

    kind: Literal["nonleaky"] = "nonleaky"
    probability: Probability = 0.12
    xflip: Probability = 1.0
    yflip: bool = True
    scale: bool = True
    rotate: bool = True
    anisotropic: bool = True
    translate: bool = True
    scale_std: Strength = 0.2
    rotate_max: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    anisotropic_std: Strength = 0.2
    anisotropic_rotate: Probability = 0.5
    translate_std: Strength = 0.125

    def draw(
        self,
        n: int,
        generator: Generator | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Parameters of n images; the random numbers used depend on n, dtype and device alone.

        To augment a batch in parts, draw for the whole batch and apply slices of rows.

        Args:
            n: number of images.
            generator: where random numbers come from; None is torch's own stream.
            dtype: of the random numbers. Another type is another stream.
            device: of the generator and the result.

        Returns:
            [n, 8]: xflip and yflip (0 or 1), scale w, theta in radians, anisotropic w, r in radians, w_x, w_y. They are
            0 where a transformation is not applied.
        """
        u = torch.rand([n, 11], generator=generator, dtype=dtype, device=device)
        w, stretch, w_x, w_y = torch.randn([n, 4], generator=generator, dtype=dtype, device=device).unbind(1)
        switches = (self.yflip, self.scale, self.rotate, self.anisotropic, self.translate)
        xflip_chance = self.xflip if self.probability else 0.0
        chances = [xflip_chance, *(self.probability * on for on in switches), self.anisotropic_rotate]
        kept = u[:, :7] < torch.tensor(chances, dtype=dtype, device=device)
        xflip, yflip, scale, rotate, anisotropic, translate, direction = kept.unbind(1)
        mirror = (u[:, 7:9] < 0.5).to(dtype)
        theta, r = ((2 * u[:, 9:] - 1) * math.pi).unbind(1)
        drawn = torch.stack([*mirror.unbind(1), w, theta * self.rotate_max, stretch, r, w_x, w_y], 1)
        applied = [xflip, yflip, scale, rotate, anisotropic, anisotropic & direction, translate, translate]
        return torch.where(torch.stack(applied, 1), drawn, 0.0)

    def labels(self, parameters: Tensor) -> Tensor:
        """What the network is told: parameters [N, 8] to labels [N, 9] of the same type."""
        xflip, yflip, w, theta, stretch, r, w_x, w_y = parameters.unbind(1)
        turned = [theta.cos() - 1, theta.sin()]
        stretched = [stretch * r.cos(), stretch * r.sin()]
        return torch.stack([xflip, yflip, w, *turned, *stretched, w_x, w_y], 1)

    def inverse(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """The affine map from output to input, flips left out: parameters [N, 8] to [N, 2, 3] for `warp`.

        p = S^-1 R^-1 A^-1 (q - t), with t the shift in pixels.
        """
        _, _, w, theta, stretch, r, w_x, w_y = parameters.unbind(1)
        across = torch.exp2(self.anisotropic_std * stretch)  # s: A^-1 divides by it along r, multiplies across r
        unstretch = _turn(r) @ torch.diag_embed(torch.stack([1 / across, across], 1)) @ _turn(-r)
        linear = _turn(-theta) @ unstretch / torch.exp2(self.scale_std * w)[:, None, None]
        shift = torch.stack([w_x * width, w_y * height], 1) * self.translate_std
        return torch.cat([linear, -linear @ shift[:, :, None]], 2)

    def apply(self, images: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Change images as the parameters say; a row's result depends on that row alone.

        Images that no transformation is applied to come back bit for bit, flipped ones with their pixels in new places.

        Args:
            images: [N, C, H, W] float32 or float64, any sizes; left as they are.
            parameters: [N, 8] from `draw`, or rows of it; any type and device.

        Returns:
            Images [N, C, H, W] and labels [N, 9], both of the type of the images.

        Raises:
            InputError: images that are not [N, C, H, W] float32 or float64, or parameters of another shape.
        """
        _check(images, parameters)
        parameters = parameters.to(images.device, torch.float64)
        xflip, yflip = (parameters[:, :2] != 0)[:, :, None, None, None].unbind(1)
        changed = torch.where(xflip, images.flip(3), images)
        changed = torch.where(yflip, changed.flip(2), changed)
        rows = (parameters[:, 2:] != 0).any(1).nonzero()[:, 0]
        if len(rows):
            changed[rows] = warp(changed[rows], self.inverse(parameters[rows], *images.shape[2:]))
        return changed, self.labels(parameters).to(images.dtype)

    def __call__(self, images: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw and apply: images [N, C, H, W] to changed images and labels [N, 9].

        Parameters are drawn in float32 whatever the type of the images, so that float64 sees the same augmentation.
        """
        _check(images)
        return self.apply(images, self.draw(len(images), generator, device=images.device))


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Resample images under affine maps, with mirrored surroundings.

    Coordinates are computed in float64, so that only the interpolation has the rounding of the images' type. On a fine
    grid the error of bilinear interpolation is a quarter of that on the image's own.

    Args:
        images: [N, C, H, W] float32 or float64.
        inverse: [N, 2, 3] float64; the output at q shows the input at inverse[:, :, :2] q + inverse[:, :, 2], in pixels
            from the centre of the image, (x, y) with y down.

    Returns:
        [N, C, H, W].
    """
    height, width = images.shape[2:]
    fine = _upsample(_upsample(images).mT).mT
    x, y = (_fine_positions(size, images.device) for size in (width, height))
    inverse = inverse[:, :, :, None, None]  # [N, 2, 3, 1, 1]
    p = inverse[:, :, 0] * x + inverse[:, :, 1] * y[:, None] + inverse[:, :, 2]  # [N, 2, 2H + 10, 2W + 10]
    grid = torch.stack([_to_grid(p[:, 0], width), _to_grid(p[:, 1], height)], 3).to(images.dtype)
    moved = grid_sample(fine, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return _downsample(_downsample(moved).mT).mT


def _turn(angle: Tensor) -> Tensor:
    """Rotations [N, 2, 2] by angles [N], counter-clockwise as seen: y points down, so the minus is below."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2)


def _period(size: int) -> int:
    """Pixels after which a mirrored axis repeats: there and back, the two ends once each."""
    return max(2 * (size - 1), 1)


def _upsample(images: Tensor) -> Tensor:
    """Twice as many pixels along the last axis, over one period of the mirrored axis and a bit: W to 2 period + 2.

    fine[k] = sqrt(2) sum over n of x[n] c[k - 2n].  A period is enough to look up any place, however far outside.
    """
    size, half = images.shape[-1], len(SYM6) // 2
    period = _period(size)
    n = torch.arange(1 - half, period + 1, device=images.device) % period
    mirrored = images[..., torch.where(n < size, n, period - n)]
    # k = 2m + phase meets pixel n = m - j with tap 2j + phase
    pixels = [mirrored.narrow(-1, half - 1 - j, period + 1) for j in range(half)]
    phases = [math.sqrt(2) * _weighted_sum(pixels, SYM6[phase::2]) for phase in (0, 1)]
    return torch.stack(phases, -1).flatten(-2)


def _downsample(fine: Tensor) -> Tensor:
    """Half as many pixels along the last axis, 2W + 10 to W: x[n] = 1/sqrt(2) sum over k of fine[k] c[k - 2n]."""
    span = fine.shape[-1] - len(SYM6) + 2  # 2W
    pixels = [fine[..., i : i + span : 2] for i in range(len(SYM6))]
    return _weighted_sum(pixels, SYM6) / math.sqrt(2)


def _weighted_sum(terms: list[Tensor], weights: Sequence[float]) -> Tensor:
    """Added one by one, and not by a convolution: its rounding may depend on the size of the batch, or be TF32's."""
    total = torch.zeros_like(terms[0])
    for term, weight in zip(terms, weights, strict=True):
        total += term * weight
    return total


def _fine_positions(size: int, device: torch.device) -> Tensor:
    """Where the fine pixels that `_downsample` needs lie, in pixels from the centre: [2 size + 10] float64."""
    k = torch.arange(2 * size + len(SYM6) - 2, dtype=torch.float64, device=device)
    return (k - DELAY) / 2 - (size - 1) / 2


def _to_grid(position: Tensor, size: int) -> Tensor:
    """Pixels from the centre to the coordinate of `grid_sample` on the fine axis: -1 and 1 are its outer pixels."""
    period = 2 * _period(size)  # of the fine axis, which has period + 2 pixels
    k = torch.remainder(2 * position + (size - 1) + DELAY, period)
    return 2 * k / (period + 1) - 1


def _check(images: Tensor, parameters: Tensor | None = None) -> None:
    shape = tuple(images.shape)
    if len(shape) != 4 or 0 in shape[1:]:
        raise InputError(f"augmentation takes images [N, C, H, W], no size but N zero; these have shape {shape}")
    if images.dtype not in (torch.float32, torch.float64):
        raise InputError(f"augmentation takes images in float32 or float64, not {images.dtype}; convert them first")
    wanted = (shape[0], Augmentation.PARAMETERS)
    if parameters is not None and tuple(parameters.shape) != wanted:
        raise InputError(
            f"{shape[0]} images need augmentation parameters of shape {wanted}, not {tuple(parameters.shape)}; "
            "take the same rows of `draw` as of the images"
        )
