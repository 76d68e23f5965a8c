"""The network of a recipe: a preconditioning around a raw network, each a frozen choice.

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise, labels)                                                   (eq. 7)

The choices have the arguments of the classes that they stand for, under the same names.
Source: Karras et al. 2022 (arXiv 2206.00364).
"""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

from harness.core.config import Config, Count, Positive, Real, Shape, freeze, kind_of, one_of
from harness.denoisers.preconditioning import PRECONDITIONINGS, Preconditioned
from harness.training.noise_distributions import LogUniform, NoiseDistribution

Counts = Annotated[tuple[Count, ...], Field(min_length=1), BeforeValidator(freeze)]
Sizes = Annotated[tuple[Count, ...], BeforeValidator(freeze)]
FromZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]

FOURIER_SCALE = 16.0
"""Standard deviation of the frequencies that a fourier embedding draws for itself."""


class UNetConfig(Config):
    """Arguments that the raw networks share.

    Args:
        model_channels: channels at the highest resolution, before channel_mult.
        channel_mult: channels of each resolution, as multiples; each further resolution is half as large.
        channel_mult_emb: width of the embedding, as a multiple of model_channels.
        num_blocks: residual blocks of a resolution.
        attn_resolutions: image sizes, in pixels, at which blocks have self-attention.
        dropout: probability that an activation is zeroed in training.
    """

    model_channels: Count = 16
    channel_mult: Counts = (1, 2)
    channel_mult_emb: Count = 4
    num_blocks: Count = 1
    attn_resolutions: Sizes = (4,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class SongUNetConfig(UNetConfig):
    """A U-Net of Song et al. 2021 (arXiv 2011.13456): DDPM++ with the defaults, NCSN++ with fourier and residual.

    Args:
        embedding_type: of the noise level.
        channel_mult_noise: width of the noise level's embedding, as a multiple of model_channels.
        fourier_scale: standard deviation of the frequencies of the fourier embedding, per unit of its noise label. They
            are kept with the weights and are no argument of the network. 16 is usual and lets neighbouring levels look
            unrelated, which short training cannot mend; with less the network is smooth in sigma.
        encoder_type, decoder_type, resample_filter: see `harness.denoisers.networks.song`.
    """

    kind: Literal["SongUNet"] = "SongUNet"
    embedding_type: Literal["positional", "fourier"] = "positional"
    channel_mult_noise: Count = 1
    fourier_scale: Positive = FOURIER_SCALE
    encoder_type: Literal["standard", "skip", "residual"] = "standard"
    decoder_type: Literal["standard", "skip"] = "standard"
    resample_filter: Counts = (1, 1)


class DhariwalUNetConfig(UNetConfig):
    """The U-Net of Dhariwal and Nichol 2021 (arXiv 2105.05233), ADM; blocks under 64 channels have no attention."""

    kind: Literal["DhariwalUNet"] = "DhariwalUNet"


UNETS = one_of(SongUNetConfig, DhariwalUNetConfig)


class Preconditioning(Config):
    """A column of Table 1, or another one: c_skip, c_out, c_in and c_noise; see `harness.denoisers.preconditioning`."""

    def arguments(self, noise: NoiseDistribution, sigma_data: float) -> dict[str, Any]:
        """Arguments of the class of this kind, JSON-ready.

        Args:
            noise: distribution of the noise levels in training.
            sigma_data: standard deviation of the data, where the choice states none of its own.
        """
        return self.model_dump(exclude={"kind"})


class VP(Preconditioning):
    """Variance preserving; see `VPPrecond`.

    Args: beta_d, beta_min: of the schedule; M: steps that c_noise is scaled to; epsilon_t: least t of the range.
    """

    kind: Literal["vp"] = "vp"
    beta_d: Positive = 19.9
    beta_min: Positive = 0.1
    M: Count = 1000
    epsilon_t: Annotated[float, Field(gt=0, lt=1)] = 1e-5


class VE(Preconditioning):
    """Variance exploding; see `VEPrecond`.

    Args: sigma_min, sigma_max: the supported levels; None: those of a log-uniform noise distribution, else 0.02 and
        100.
    """

    kind: Literal["ve"] = "ve"
    sigma_min: Positive | None = None
    sigma_max: Positive | None = None

    def arguments(self, noise: NoiseDistribution, sigma_data: float) -> dict[str, Any]:
        levels = noise if isinstance(noise, LogUniform) else LogUniform()
        return {
            "sigma_min": levels.sigma_min if self.sigma_min is None else self.sigma_min,
            "sigma_max": levels.sigma_max if self.sigma_max is None else self.sigma_max,
        }


class IDDPM(Preconditioning):
    """Improved DDPM: M discrete levels; see `IDDPMPrecond`.

    Args: C_1: least ratio of two neighbouring shares of the signal; C_2: offset of the cosine; M: number of levels.
    """

    kind: Literal["iddpm"] = "iddpm"
    C_1: Positive = 0.001
    C_2: Positive = 0.008
    M: Count = 1000


class EDM(Preconditioning):
    """The paper's own; see `EDMPrecond`.

    Args: sigma_min, sigma_max: the supported levels, all by default; sigma_data: standard deviation of the data; None:
        the recipe's.
    """

    kind: Literal["edm"] = "edm"
    sigma_min: FromZero = 0.0
    sigma_max: Annotated[Real, Field(gt=0)] = math.inf
    sigma_data: Positive | None = None

    def arguments(self, noise: NoiseDistribution, sigma_data: float) -> dict[str, Any]:
        own = {} if self.sigma_data is not None else {"sigma_data": sigma_data}
        return self.model_dump(exclude={"kind"}) | own


class Flow(Preconditioning):
    """Flow matching, as an ordinary preconditioning; see `FlowPrecond`.

    Args: sigma_min, sigma_max: the supported levels, all by default; time_scale: of the time that the network sees.
    """

    kind: Literal["flow"] = "flow"
    sigma_min: FromZero = 0.0
    sigma_max: Annotated[Real, Field(gt=0)] = math.inf
    time_scale: Positive = 1.0


class Expressions(Preconditioning):
    """Four expressions in sigma and sigma_data; see `ExpressionPrecond`.

    Args: c_skip, c_out, c_in, c_noise: expressions; sigma_min, sigma_max: the supported levels; sigma_data: standard
        deviation of the data; None: the recipe's.
    """

    kind: Literal["expression"] = "expression"
    c_skip: str
    c_out: str
    c_in: str
    c_noise: str
    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0
    sigma_data: Positive | None = None

    @property
    def formulas(self) -> tuple[str, ...]:
        """The four expressions."""
        return self.c_skip, self.c_out, self.c_in, self.c_noise

    def arguments(self, noise: NoiseDistribution, sigma_data: float) -> dict[str, Any]:
        own = {} if self.sigma_data is not None else {"sigma_data": sigma_data}
        return self.model_dump(exclude={"kind"}) | own


TRAINABLE = one_of(VP, VE, IDDPM, EDM, Flow, Expressions)


def build_network(
    preconditioning: Preconditioning,
    unet: UNetConfig,
    shape: Shape,
    label_dim: int,
    augment_dim: int,
    noise: NoiseDistribution,
    sigma_data: float,
) -> Preconditioned:
    """The denoiser of some choices, with fresh weights from torch's own random stream.

    Args:
        preconditioning, unet: the choices.
        shape: (C, H, W) of the images, H = W.
        label_dim: number of classes; 0 for none.
        augment_dim: labels of the augmentation; 0 for none.
        noise: distribution of the noise levels in training.
        sigma_data: standard deviation of the data.

    Raises:
        ValueError: arguments that the network refuses, such as an expression that is not finite.
    """
    arguments = unet.model_dump(mode="json", exclude={"fourier_scale"})
    if augment_dim:
        arguments["augment_dim"] = augment_dim
    kind = str(kind_of(type(preconditioning)))
    network = PRECONDITIONINGS[kind](
        img_resolution=shape[1],
        img_channels=shape[0],
        label_dim=label_dim,
        **preconditioning.arguments(noise, sigma_data),
        model_type=arguments.pop("kind"),
        **arguments,
    )
    if isinstance(unet, SongUNetConfig) and unet.embedding_type == "fourier":
        with torch.no_grad():
            network.get_buffer("model.map_noise.freqs").mul_(unet.fourier_scale / FOURIER_SCALE)
    return network
