"""A training recipe: one YAML file that says everything a trained network depends on, and nothing else.

The same recipe on the same machine and library versions gives the same weights, bit for bit. Sizes are in images, never
in time, so that a faster machine trains the same network sooner.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.core import yaml
from harness.core.config import Config, Count, Positive, Shape, Shorthand, distinct, freeze, kind_of, one_of, unwritten
from harness.training.augmentation import Augmentation
from harness.training.averages import EMA, HalfLifeEMA
from harness.training.losses import DenoisingLoss, EDMLoss, LossChoice
from harness.training.networks import EDM, IDDPM, TRAINABLE, UNETS, Expressions, Preconditioning, UNetConfig
from harness.training.noise_distributions import IDDPMNoise, NoiseChoice, NoiseDistribution
from harness.training.weights import EDMWeight, LossWeight, WeightChoice

SIGMA_DATA = 0.5
"""The paper's: standard deviation of photographs in [-1, 1]."""

Precision = Literal["float32", "float64", "bf16"]


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


class Recipe(Config):
    """A training recipe: data, length and optimiser.

    Args:
        name: of the result: `<name>.safetensors`. Small letters, digits and hyphens.
        minutes: about how long it takes with one thread of an ordinary CPU, measured. It orders the queue only.
        dataset: what to learn.
        seed: of the initial weights, the order of images and all noise.
        batch: images of a step, over all devices; drawn with replacement.
        images: length of the run in images, rounded up to whole steps.
        optimizer: see Adam.
        ema: average of the weights; what is kept. See `harness.training.averages`.
        snapshots: numbers of images after which the averages are kept in a file of their own.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    minutes: Positive = 1.0
    dataset: Annotated[str, Field(min_length=1)] = "digits"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    batch: Count = 256
    images: Count
    optimizer: Annotated[Adam, Shorthand] = Adam()
    ema: EMA = HalfLifeEMA()
    snapshots: Annotated[tuple[Count, ...], BeforeValidator(freeze), AfterValidator(distinct)] = ()

    @model_validator(mode="after")
    def _snapshots_within(self) -> Self:
        late = [count for count in self.snapshots if count > self.images]
        if late:
            raise ValueError(f"snapshots: {late[0]:,} images are more than the run has ({self.images:,}); remove it")
        return self

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        return -(-self.images // self.batch)

    def canonical(self, data: str | None = None) -> str:
        """All that the result depends on, as JSON with sorted keys.

        Args:
            data: identity of the data set, where that is not its name; see `TrainingData.identity`.
        """
        fields = self.model_dump(mode="json", exclude={"minutes", "snapshots"})
        return json.dumps(fields | ({} if data is None else {"dataset": data}), sort_keys=True)

    def fingerprint(self, data: str | None = None) -> str:
        """SHA-256 of the canonical JSON, in hex: a comment or a default written out changes nothing."""
        return hashlib.sha256(self.canonical(data).encode()).hexdigest()


class DenoiserRecipe(Recipe):
    """How to train a denoiser: the paper's training design space, every axis free.

    Args:
        preconditioning: c_skip, c_out, c_in and c_noise.
        network: the raw network inside it.
        loss: a column of Table 1, noise distribution and weight in one word; or else both of:
        noise: distribution of the noise levels.
        weight: of the squared error at a noise level.
        sigma_data: standard deviation of the data, for every part that uses it and states none of its own; `auto`
            measures it over all pixels. None: what a part states, else 0.5.
        augmentation: non-leaky augmentation; None: none.
        flip: mirror every second image left to right without telling the network.
        label_policy: `none` learns p(x); `class` learns p(x | class), from one-hot classes.
        shape: (C, H, W) that the data must have; None: whatever it has.
        classes: number of classes that the data must have; None: whatever it has.
        precision: arithmetic of training; bf16 is mixed precision, with weights and optimiser in float32.
        compile: whether torch.compile translates the network for training.
        weights: type of the numbers in the result's file.
    Raises: a combination that cannot work, or a field that nothing would use.
    """

    kind: Literal["denoiser"] = "denoiser"
    preconditioning: Annotated[Preconditioning, TRAINABLE]
    network: Annotated[UNetConfig, UNETS]
    loss: LossChoice | None = None
    noise: Annotated[NoiseChoice | None, unwritten(None)] = None
    weight: Annotated[WeightChoice | None, unwritten(None)] = None
    sigma_data: Annotated[Positive | Literal["auto"] | None, unwritten(None)] = None
    augmentation: Annotated[Annotated[Augmentation, Shorthand] | None, unwritten(None)] = None
    flip: Annotated[bool, unwritten(False)] = False
    label_policy: Literal["none", "class"] = "none"
    shape: Annotated[Shape | None, unwritten(None)] = None
    classes: Annotated[Count | None, unwritten(None)] = None
    precision: Annotated[Precision, unwritten("float32")] = "float32"
    compile: Annotated[bool, unwritten(False)] = False
    weights: Annotated[Literal["float32", "float16"], unwritten("float32")] = "float32"

    @model_validator(mode="after")
    def _works(self) -> Self:
        pair = (self.noise, self.weight)
        if (self.loss is None and None in pair) or (self.loss is not None and pair != (None, None)):
            raise ValueError(
                "a recipe has `noise` and `weight`, or `loss`, which is a column of Table 1 and stands for both"
            )
        if self.sigma_data is not None and not any(map(_takes_sigma_data, (self.preconditioning, self._weight))):
            raise ValueError(
                f"sigma_data: neither preconditioning '{kind_of(type(self.preconditioning))}' nor weight "
                f"'{kind_of(type(self._weight))}' uses it, or both state their own; remove it"
            )
        noise, own = self._noise, self.preconditioning
        if isinstance(noise, IDDPMNoise) and isinstance(own, IDDPM):
            theirs, levels = (noise.C_1, noise.C_2, noise.M), (own.C_1, own.C_2, own.M)
            if theirs != levels:
                raise ValueError(
                    f"noise 'iddpm' has C_1, C_2, M = {theirs} and preconditioning 'iddpm' has {levels}; "
                    "a network of discrete levels is trained at its own; give both the same"
                )
        return self

    @property
    def _noise(self) -> NoiseDistribution:
        noise = self.noise if self.loss is None else self.loss
        assert noise is not None
        return noise

    @property
    def _weight(self) -> LossWeight:
        weight = self.weight if self.loss is None else self.loss.weight()
        assert weight is not None
        return weight

    def data_deviation(self, measured: float | None = None) -> float:
        """sigma_data for the parts that state none: the recipe's, else the one that the other part states, else 0.5.

        Args:
            measured: standard deviation of the data over all pixels, for `auto`.
        """
        if self.sigma_data == "auto":
            assert measured is not None
            return measured
        stated = (
            self.sigma_data,
            *(getattr(part, "sigma_data", None) for part in (self.preconditioning, self._weight)),
        )
        return next((value for value in stated if value is not None), SIGMA_DATA)

    def denoising_loss(self, measured: float | None = None) -> DenoisingLoss:
        """The loss; `measured` as in `data_deviation`."""
        return DenoisingLoss(self._noise, self._weight, self.augmentation, self.data_deviation(measured))

    def canonical(self, data: str | None = None) -> str:
        fields: dict[str, Any] = json.loads(super().canonical(data))
        for name in ("shape", "classes"):  # are checked, and change nothing
            fields.pop(name, None)
        if self.preconditioning.model_dump(exclude_defaults=True) == {}:
            fields["preconditioning"] = kind_of(type(self.preconditioning))
        if self.loss is None:
            del fields["loss"]
        elif isinstance(self.loss, EDMLoss) and self.sigma_data is None:
            # recipes of old had their one sigma_data here, the paper's if they stated none
            fields["loss"]["sigma_data"] = self.loss.sigma_data or self.data_deviation()
        return json.dumps(fields, sort_keys=True)


def _takes_sigma_data(part: Config) -> bool:
    """Whether a part of a recipe asks for the recipe's sigma_data."""
    if isinstance(part, Expressions) and not any("sigma_data" in text for text in part.formulas):
        return False
    return isinstance(part, EDM | Expressions | EDMWeight) and part.sigma_data is None


class ClassifierRecipe(Recipe):
    """How to train the classifier whose hidden layer gives features. It learns from the training part of the split.

    Args:
        channels: channels of its convolutions.
        width: number of features.
        penalty: weight of the mean square of the hidden layer before tanh. Without it most features sit at -1 or 1 and
            say little more than the class.
    """

    kind: Literal["classifier"] = "classifier"
    dataset: Literal["digits"] = "digits"
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
