"""A training recipe: one YAML file that says everything a trained network depends on, and nothing else.

The same recipe on the same machine and library versions gives the same weights, bit for bit. Sizes are in images, never
in time, so that a faster machine trains the same network sooner.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.core import yaml
from harness.core.config import Config, Positive, Shorthand, freeze, one_of
from harness.training.losses import Loss

Count = Annotated[int, Field(ge=1)]


Counts = Annotated[tuple[Count, ...], Field(min_length=1), BeforeValidator(freeze)]
Sizes = Annotated[tuple[Count, ...], BeforeValidator(freeze)]


class Adam(Config):
    """The optimiser and its learning rate over the run.

    The rate rises linearly to `lr` over the first `ramp_images`, and falls to zero over the last `decay_fraction` of
    all images along half a cosine.

    Args:
        lr: learning rate.
        beta1, beta2: decay of the running mean and of the running square of the gradient.
        eps: added to the root of the running square.
        ramp_images: images until the full rate.
        decay_fraction: the part of the run over which the rate falls; 0 keeps it constant.
        clip: largest Euclidean norm of the gradient over all parameters; larger ones are scaled down. None: no limit.
    Source: Kingma and Ba 2015 (arXiv 1412.6980), Alg. 1.
    """

    kind: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Positive = 1e-8
    ramp_images: Annotated[int, Field(ge=0)] = 0
    decay_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip: Positive | None = None

    def rate(self, seen: int, total: int) -> float:
        """The learning rate after `seen` of `total` images."""
        ramp = min(1.0, seen / self.ramp_images) if self.ramp_images else 1.0
        decay_images = self.decay_fraction * total
        # the part of the decay that is done: 0 until it begins, 1 at the end
        done = max(0.0, seen - (total - decay_images)) / decay_images if decay_images else 0.0
        return self.lr * ramp * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))


class EMA(Config):
    """Exponential moving average of the weights; the average is what is kept.

    After k images the half-life is min(halflife_images, ramp * k), so that the first, bad weights are soon forgotten.

    Args:
        halflife_images: images until a weight's share has halved.
        ramp: half-life as a part of the images seen; None: no warm-up.
    Source: Karras et al. 2022 (arXiv 2206.00364), App. F.2 (the EMA half-life of Table 7).
    """

    halflife_images: Positive = 500_000.0
    ramp: Positive | None = 0.05

    def decay(self, seen: int, batch: int) -> float:
        """What the average keeps of itself in a step of `batch` images, after `seen` images."""
        halflife = self.halflife_images if self.ramp is None else min(self.halflife_images, self.ramp * seen)
        # after `halflife` images the product of the decays is 1/2; at the very first step nothing is kept
        return 0.5 ** (batch / halflife) if halflife > 0 else 0.0


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
    fourier_scale: Positive = 16.0
    encoder_type: Literal["standard", "skip", "residual"] = "standard"
    decoder_type: Literal["standard", "skip"] = "standard"
    resample_filter: Counts = (1, 1)


class DhariwalUNetConfig(UNetConfig):
    """The U-Net of Dhariwal and Nichol 2021 (arXiv 2105.05233), ADM; blocks under 64 channels have no attention."""

    kind: Literal["DhariwalUNet"] = "DhariwalUNet"


UNETS = one_of(SongUNetConfig, DhariwalUNetConfig)


class Recipe(Config):
    """A training recipe: data, length and optimiser.

    Args:
        name: of the result: `<name>.safetensors`. Small letters, digits and hyphens.
        minutes: about how long it takes with one thread of an ordinary CPU, measured. It orders the queue only.
        dataset: what to learn.
        seed: of the initial weights, the order of images and all noise.
        batch: images of a step; drawn with replacement.
        images: length of the run in images, rounded up to whole steps.
        optimizer: see Adam.
        ema: see EMA.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    minutes: Positive = 1.0
    dataset: Literal["digits"] = "digits"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    batch: Count = 256
    images: Count
    optimizer: Annotated[Adam, Shorthand] = Adam()
    ema: EMA = EMA()

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        return -(-self.images // self.batch)

    def canonical(self) -> str:
        """All that the result depends on, as JSON with sorted keys."""
        fields = self.model_dump(mode="json", exclude={"minutes"})
        if fields.get("weights") == "float32":  # recipes from before the field keep their fingerprints
            del fields["weights"]
        return json.dumps(fields, sort_keys=True)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hex: a comment or a default written out changes nothing."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


class DenoiserRecipe(Recipe):
    """How to train a denoiser.

    Args:
        preconditioning: the column of Table 1 in Karras et al. 2022 (arXiv 2206.00364).
        network: the raw network inside it.
        loss: noise distribution and weight; the paper pairs each preconditioning with the loss of its column.
        label_policy: `none` learns p(x); `class` learns p(x | class), from one-hot classes.
        weights: type of the numbers in the result's file. Training computes in float32 either way.
    """

    kind: Literal["denoiser"] = "denoiser"
    preconditioning: Literal["vp", "ve", "iddpm", "edm"]
    network: Annotated[UNetConfig, UNETS]
    loss: Loss
    label_policy: Literal["none", "class"] = "none"
    weights: Literal["float32", "float16"] = "float32"


class ClassifierRecipe(Recipe):
    """How to train the classifier whose hidden layer gives features. It learns from the training part of the split.

    Args:
        channels: channels of its convolutions.
        width: number of features.
        penalty: weight of the mean square of the hidden layer before tanh. Without it most features sit at -1 or 1 and
            say little more than the class.
    """

    kind: Literal["classifier"] = "classifier"
    channels: Count = 32
    width: Count = 64
    penalty: Annotated[float, Field(ge=0)] = 0.1


RECIPES = one_of(DenoiserRecipe, ClassifierRecipe)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from its YAML file.

    Raises:
        InputError: missing file, not YAML, an unknown key or kind, or a value out of range; with file and line.
    """
    document = yaml.load(path)
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    recipe = RECIPES.find(kind) if isinstance(kind, str) else None
    if recipe is None:
        allowed = ", ".join(map(repr, RECIPES.kinds))
        raise document.error(("kind",), f"unknown kind {kind!r} of recipe; allowed: {allowed}")
    return yaml.build(recipe, document)
