"""Feature extractors as a grid or a command line names them: identities that need no network, and `load`."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from harness.core import yaml
from harness.core.config import Config, one_of
from harness.core.data_range import DataRange, is_of_bytes, range_in_words
from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import DATASET_SHAPES
from harness.hub.cards import Digest, checked_path, features_card, load_cards

if TYPE_CHECKING:
    import torch

    from harness.metrics.features.extractor import Extractor

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Place = Annotated[str, Field(min_length=1)]


ImageShape = tuple[int, ...]
"""[C, H, W] of images; of floats any shape."""


class ExtractorConfig(Config):
    """Base of all extractors; only `load` loads a network.

    Attributes:
        word: how a distance in these features is called, FD-<word>.
        is_wide: moments of its features are large.
        customary_samples: N that papers take with these features; None where there is no custom.
        edm2_metric: EDM2's name of the distance in these features, under which its files keep statistics; "" for none.
    """

    word: ClassVar[str] = ""
    is_wide: ClassVar[bool] = True
    customary_samples: ClassVar[int | None] = None
    edm2_metric: ClassVar[str] = ""

    @property
    def title(self) -> str:
        """How a distance in these features is called: FD-<title>, or FID where it is empty."""
        return self.word

    @property
    def cards(self) -> tuple[str, ...]:
        """Names of the cards whose files it loads."""
        return ()

    @property
    @abstractmethod
    def identity(self) -> str:
        """Network, hash of the weights, layer and resizing.

        Raises:
            InputError: that depends on a file which is not there.
        """

    @property
    def sees_floats(self) -> bool:
        """Whether it sees images as the floats that they are, and not as bytes."""
        return False

    def for_range(self, data_range: DataRange) -> "ExtractorConfig":
        """The extractor for data of a range: itself, or itself of floats where it takes both and was told neither.

        Raises:
            InputError: it sees bytes, and data of this range are floats.
        """
        if not is_of_bytes(data_range) and not self.sees_floats:
            kind = type(self).model_fields["kind"].default
            raise InputError(
                f"extractor '{kind}' sees images as bytes of [-1, 1], and these are floats, "
                f"{range_in_words(data_range)}; use extractor 'raw', or a network of your own with `values: float`"
            )
        return self

    def check(self) -> None:
        """See that the weights are there and are the right ones.

        Raises:
            InputError: they are not; with what to do.
        """

    def needs(self, shape: tuple[int, ...]) -> str:
        """What images it needs, in words, where those of a shape [C, H, W] are others; "" where they will do."""
        if len(shape) != 3:
            return "needs images [C, H, W]"
        return "needs images of 1 or 3 channels" if shape[0] not in (1, 3) else ""

    @abstractmethod
    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        """The extractor, ready for images of a shape.

        Args:
            shape: [C, H, W] of the images that it will see; of floats any shape.
            device: where it is to compute.

        Raises:
            InputError: weights that are missing or are not the right ones, a program that nobody vouches for, or a
                size that does not suit the images.
        """


class DigitsFeatures(ExtractorConfig):
    """64 numbers of the embedded classifier of digits."""

    word: ClassVar[str] = "digits"
    is_wide: ClassVar[bool] = False
    kind: Literal["digits"] = "digits"

    @property
    def identity(self) -> str:
        card = features_card("digits-features")
        return f"digits-features:{card.sha256[:12]}:tanh{card.width}"

    def needs(self, shape: tuple[int, ...]) -> str:
        digits = DATASET_SHAPES["digits"]
        return "" if tuple(shape) == digits else f"compares images {list(digits)}"

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.metrics.features.digits import load_digit_features

        return load_digit_features(checked_path("digits-features", features_card("digits-features")), device)


class _Program(ExtractorConfig):
    """A file that is code: only run if it is the one with this hash."""

    path: Place
    sha256: Digest | None = None

    @property
    def trusted(self) -> str:
        """The hash that the file must have.

        Raises:
            InputError: none was given; with that of the file, to look at it first.
        """
        if self.sha256 is None:
            sha256 = sha256_of(Path(self.path)) if Path(self.path).is_file() else None
            hint = f"; this file's is {sha256}" if sha256 else ", and there is no such file"
            kind = type(self).model_fields["kind"].default
            raise InputError(
                f"{self.path}: a {kind} file is a program, and none is run whose SHA-256 is not on a card or given as "
                f"`sha256`{hint}"
            )
        return self.sha256

    def check(self) -> None:
        """The file is there, and is the one that was named."""
        if sha256_of(_there(self.path)) != self.trusted:
            raise InputError(f"{self.path}: SHA-256 is {sha256_of(Path(self.path))}, not {self.trusted}")


class Inception(ExtractorConfig):
    """Inception-v3 as the official TorchScript file: 2048 features, with its own resizing. FID's own network.

    Args:
        path: another file with the same call signature; the fetched one by default.
        sha256: of that file; it is run only if this is its hash.
        width: features that it gives.
    """

    CARD: ClassVar[str] = "inception-2015-12-05"
    customary_samples: ClassVar[int | None] = 50_000
    edm2_metric: ClassVar[str] = "fid"
    kind: Literal["inception"] = "inception"
    path: Place | None = None
    sha256: Digest | None = None
    width: Count = 2048

    @property
    def program(self) -> "TorchScript | None":
        """The user's own file, if it is not the fetched one."""
        return None if self.path is None else TorchScript(path=self.path, sha256=self.sha256)

    @property
    def title(self) -> str:
        """Nothing for the published network alone: only that gives FID."""
        is_published = self.path is None or self.sha256 == _card_sha256(self.CARD)
        return "" if is_published else "detector"

    @property
    def identity(self) -> str:
        """Network, weights, layer; resizing is the file's own."""
        known = self.program.trusted if self.program else _card_sha256(self.CARD)
        return f"inception:{known[:12]}:pool{self.width}:tf299"

    @property
    def cards(self) -> tuple[str, ...]:
        return () if self.program else (self.CARD,)

    def check(self) -> None:
        """The file is there, and is the one of the card or the one that was named."""
        if self.program:
            self.program.check()
        else:
            checked_path(self.CARD, load_cards()[self.CARD])

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.denoisers.programs.torchscript import ScriptModuleFile
        from harness.metrics.features.programs import OfficialInception

        if own := self.program:
            program = ScriptModuleFile.read(Path(own.path), own.trusted, device)
        else:
            card = load_cards()[self.CARD]
            program = ScriptModuleFile.read(checked_path(self.CARD, card), card.sha256 or "", device)
        return OfficialInception(program.load(), self.identity, self.width, device)


class InceptionPT(ExtractorConfig):
    """Inception-v3 with the weights of torch-fidelity and pytorch-fid, in our own network: no program from a file.

    Args:
        path: a file of weights; the fetched one by default.
    """

    CARD: ClassVar[str] = "inception-pt-2015-12-05"
    customary_samples: ClassVar[int | None] = 50_000
    edm2_metric: ClassVar[str] = "fid"
    kind: Literal["inception-pt"] = "inception-pt"
    path: Place | None = None

    @property
    def identity(self) -> str:
        """Network, weights, layer, resizing."""
        known = sha256_of(_there(self.path)) if self.path else _card_sha256(self.CARD)
        return f"inception-pt:{known[:12]}:pool2048:tf299"

    @property
    def cards(self) -> tuple[str, ...]:
        return () if self.path else (self.CARD,)

    @property
    def title(self) -> str:
        """Nothing for the published weights alone: only those give FID."""
        known = _card_sha256(self.CARD)
        is_published = self.path is None or sha256_of(_there(self.path)) == known
        return "" if is_published else "inception"

    @property
    def file(self) -> Path:
        """The weights, checked where they were fetched."""
        return _there(self.path) if self.path else checked_path(self.CARD, load_cards()[self.CARD])

    def check(self) -> None:
        """The file is there; the fetched one is that of the card."""
        _ = self.file

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.denoisers.checkpoints.pickles.torch_file import read_torch_file
        from harness.metrics.features.inception import InceptionFeatures, inception_of

        root = read_torch_file(self.file).root
        return InceptionFeatures(inception_of(root, str(self.file)), self.identity, device)


class DinoV2(ExtractorConfig):
    """DINOv2's class token, with weights from a folder; needs the extra `dinov2`.

    Args:
        path: folder with `config.json` and `model.safetensors`.
        positions: how the table of positions, 37 x 37 for the published networks, is brought to the 16 x 16 patches of
            an image: `official`, as the authors' code does, with a scale of (16 + 0.1) / 37; or `library`, as
            `transformers` does, with a scale of 16 / 37.
    """

    word: ClassVar[str] = "DINOv2"
    edm2_metric: ClassVar[str] = "fd_dinov2"
    kind: Literal["dinov2"] = "dinov2"
    path: Place
    positions: Literal["official", "library"] = "official"

    @property
    def identity(self) -> str:
        """Network, weights, configuration, rule of positions, layer, resizing."""
        weights, config = (sha256_of(file)[:12] for file in self._files())
        return f"dinov2:{weights}:{config}:{self.positions}-positions:cls:bicubic224"

    def _files(self) -> tuple[Path, Path]:
        """Weights and configuration."""
        folder = Path(self.path)
        return _there(str(folder / "model.safetensors")), _there(str(folder / "config.json"))

    def check(self) -> None:
        """The weights are there."""
        self._files()

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.metrics.features.dinov2 import load_dinov2

        return load_dinov2(Path(self.path), self.identity, device, self.positions)


class _OwnNetwork(_Program):
    """A network of the user's: images in, features [N, d] out.

    Args:
        path: the file.
        sha256: its hash, without which it is not run.
        values: what the network takes: `bytes` (uint8), `unit` (the same as float32 in [-1, 1]), or `float` (float32 as
            the denoiser gives it, of any range).
        channels: it takes; grey images are repeated to 3. Null for any, and for floats of any shape.
        width: features that it gives; found by trying it, if left out.
    """

    word: ClassVar[str] = "own"
    values: Literal["bytes", "unit", "float"] = "unit"
    channels: Literal[1, 3] | None = 3
    width: Count | None = None

    @property
    def sees_floats(self) -> bool:
        return self.values == "float"

    def needs(self, shape: tuple[int, ...]) -> str:
        return "" if self.sees_floats and self.channels is None else super().needs(shape)

    @property
    def identity(self) -> str:
        """Kind, hash, and what it is given."""
        kind = type(self).model_fields["kind"].default
        return f"{kind}:{self.trusted[:12]}:{self.values}{self.channels or ''}"

    @abstractmethod
    def network(self, device: "str | torch.device") -> Any:
        """The program in the file, as a callable."""

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.metrics.features.programs import ProgramFeatures

        return ProgramFeatures(
            self.network(device), self.identity, self.values, self.width, shape, self.channels, device
        )


class TorchScript(_OwnNetwork):
    """A TorchScript module."""

    kind: Literal["torchscript"] = "torchscript"

    def network(self, device: "str | torch.device") -> Any:
        from harness.denoisers.programs.torchscript import ScriptModuleFile

        return ScriptModuleFile.read(Path(self.path), self.trusted, device).load()


class Exported(_OwnNetwork):
    """A program of torch.export (`.pt2`)."""

    kind: Literal["exported"] = "exported"

    def network(self, device: "str | torch.device") -> Any:
        from harness.denoisers.programs.pt2 import ExportedProgramFile

        return ExportedProgramFile.read(Path(self.path), self.trusted, device).load()


class Pixels(ExtractorConfig):
    """Pixels as they are, or averaged down; the numbers of samples of any other shape as they are.

    Args:
        size: pixels a side after averaging; all, if left out.
        values: `bytes`, in units of the whole range (byte / 255), or `float`, as the denoiser gives them; by default as
            the denoiser's `data_range` says.
    """

    word: ClassVar[str] = "pixels"
    kind: Literal["raw"] = "raw"
    size: Annotated[int, Field(ge=1, le=4096)] | None = None
    values: Literal["bytes", "float"] | None = None

    @property
    def identity(self) -> str:
        """There are no weights."""
        return f"raw:{self.size or 'all'}:mean" + (":float" if self.sees_floats else "")

    @property
    def sees_floats(self) -> bool:
        return self.values == "float"

    def for_range(self, data_range: DataRange) -> ExtractorConfig:
        if self.values is None and not is_of_bytes(data_range):
            return self.model_copy(update={"values": "float"})
        return super().for_range(data_range)

    def needs(self, shape: tuple[int, ...]) -> str:
        return "averages the pixels of images [C, H, W]" if self.size is not None and len(shape) != 3 else ""

    def load(self, shape: ImageShape, device: "str | torch.device" = "cpu") -> "Extractor":
        from harness.metrics.features.pixels import PixelFeatures

        return PixelFeatures(self.identity, shape, self.size, device, "floats" if self.sees_floats else "bytes")


EXTRACTORS = one_of(
    *(Inception, InceptionPT, DinoV2, DigitsFeatures, TorchScript, Exported, Pixels),
    group="harness.extractors",
)


def read_extractor(text: str) -> ExtractorConfig:
    """An extractor from a word, or from a mapping in YAML or JSON, as a command line gives it.

    Raises:
        InputError: unknown kind or field.
    """
    value = yaml.loads(text, "--extractor").data
    try:
        return EXTRACTORS.read(value)
    except ValidationError as error:
        raise InputError(f"extractor {text}: {yaml.first_mistake(error)}") from None


def _card_sha256(name: str) -> str:
    """The hash on a card that has one."""
    known = load_cards()[name].sha256
    assert known is not None
    return known


def _there(path: str) -> Path:
    """A file that has to be there.

    Raises:
        InputError: it is not.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; check the path")
    return file
