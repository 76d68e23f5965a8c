"""What a card says, by its kind.

    denoiser    a pretrained denoiser
    features    our network for features of digits
    extractor   somebody else's network for features
    reference   a data set's statistics of such features

A card's file comes with the package (`file`) or has to be fetched (`url`).
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from harness.core.config import Config, Real, Shape
from harness.core.errors import InputError
from harness.hub.addresses import check_address, file_name
from harness.hub.header import FORMAT as OUR_FORMAT
from harness.hub.header import Kind

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Card(Config):
    """What all cards say.

    Args:
        file: the file's name in the folder `pretrained`, or
        url: where it can be had, https.
        sha256: of the file, in hex. May be missing with `url`: then the file is pinned at its first download.
        size: of the file in bytes, with `url`, where it is known.
        format: how to read the file.
        dataset: the images it is about.
        licence: of the file.
        recipe: how it was made.
    """

    file: Text | None = None
    url: Text | None = None
    sha256: Digest | None = None
    size: Count | None = None
    dataset: Text
    licence: Text
    recipe: Text

    @model_validator(mode="after")
    def _one_place(self) -> "_Card":
        if (self.file is None) == (self.url is None):
            raise ValueError("a card needs either `file` or `url`")
        if self.url is None and self.sha256 is None:
            raise ValueError("a card with `file` needs its `sha256`; only what is fetched can be pinned")
        return self

    @field_validator("url")
    @classmethod
    def _allowed(cls, url: str | None) -> str | None:
        try:
            if url is not None:
                check_address(url)
                file_name(url)
        except InputError as error:
            raise ValueError(str(error)) from None
        return url


class DenoiserCard(_Card):
    """A pretrained denoiser.

    Args:
        format: ours, or the kind of another program's checkpoint format; such a file is imported when it is fetched.
        preconditioning: kind of the preconditioning.
        shape: [C, H, W] of its images.
        label_dim: classes; 0 means unconditional.
        labels: what a sample's label is unless told otherwise: none, or uniform, one class per seed.
        sigma_min, sigma_max: noise range that it supports, in units of the images.
        parameters: trained numbers. May be missing with `url`.
    """

    kind: Literal["denoiser"] = "denoiser"
    format: Text = OUR_FORMAT
    preconditioning: Kind
    shape: Shape
    label_dim: Annotated[int, Field(ge=0)]
    labels: Literal["none", "uniform"]
    sigma_min: Annotated[Real, Field(ge=0)]
    sigma_max: Annotated[Real, Field(gt=0)]
    parameters: Count | None = None

    @model_validator(mode="after")
    def _as_packed(self) -> "DenoiserCard":
        if self.file is not None and self.parameters is None:
            raise ValueError("a card with `file` needs its `parameters`")
        if self.file is not None and self.format != OUR_FORMAT:
            raise ValueError(f"a file that comes along has format {OUR_FORMAT}, and this is {self.format}")
        return self


class FeaturesCard(_Card):
    """A network whose hidden layer gives the features for a Frechet distance.

    Args:
        width: numbers per image.
        test_accuracy: share of held-out images that it classifies right.
        parameters: trained numbers.
    """

    kind: Literal["features"] = "features"
    format: Literal["harness-digit-features-1"] = "harness-digit-features-1"
    sha256: Digest
    width: Count
    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    parameters: Count


class ExtractorCard(_Card):
    """Somebody else's network for features: TorchScript, which is a program of which only the file with this hash is
    run, or the weights of Inception-v3 for our own network.

    Args:
        width: numbers per image.
    """

    kind: Literal["extractor"] = "extractor"
    format: Literal["torchscript", "inception-weights"] = "torchscript"
    sha256: Digest
    width: Count


class ReferenceCard(_Card):
    """A data set's statistics of features: an .npz with `mu` [width] and `sigma` [width, width].

    Args:
        width: numbers per image.
        extractor: the card's name of the network that the features are from.
    """

    kind: Literal["reference"] = "reference"
    format: Literal["npz"] = "npz"
    width: Count
    extractor: Text


AnyCard = DenoiserCard | FeaturesCard | ExtractorCard | ReferenceCard
Card = Annotated[AnyCard, Field(discriminator="kind")]
