"""Cards: what the harness knows of each file by name, without loading it.

    denoiser    a pretrained denoiser
    features    our network for features of digits
    extractor   a third party's network for features
    reference   a data set's statistics of such features

`pretrained/cards.yaml` maps names to cards. A card's file comes with the package (`file`) or is fetched into the cache
by `harness fetch` (`url`). Plans take a network's identity (the SHA-256 of its file), image shape, classes and noise
range from its card, which needs no torch. `python -m harness.hub.cards FILE...` writes the entries of newly trained
files.
"""

import argparse
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from harness.core import yaml
from harness.core.config import Config, Count, Real, Shape, one_of
from harness.core.embedded import data_dir, sha256_of
from harness.core.errors import InputError
from harness.core.files import write_bytes
from harness.hub.addresses import check_address, file_name
from harness.hub.cache import files_dir, read_pins
from harness.hub.header import FORMAT, Contents, Kind, read_contents, read_header

FEATURES_FORMAT = "harness-digit-features-1"

Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Card(Config):
    """Base of all cards.

    Args:
        file: name of the file in the folder `pretrained`; either this or `url`.
        url: its https address.
        sha256: its hash, in hex. Optional with `url`: the file is then pinned at its first download.
        size: its size in bytes, if it has a `url` and the size is known.
        format: how to read the file.
        dataset: the images that it was made from.
        licence: its licence.
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
        label_dim: number of classes; 0 means unconditional.
        labels: default labels of samples: none, or uniform, one class per seed.
        sigma_min, sigma_max: noise range that it supports, in units of the images.
        parameters: number of trained parameters. Optional with `url`.
    """

    kind: Literal["denoiser"] = "denoiser"
    format: Text = FORMAT
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
        if self.file is not None and self.format != FORMAT:
            raise ValueError(f"a file that comes along has format {FORMAT}, and this is {self.format}")
        return self


class FeaturesCard(_Card):
    """Our classifier of digits, whose hidden layer gives the features of FD-digits.

    Args:
        width: features per image.
        test_accuracy: share of held-out images that it classifies correctly.
        parameters: number of trained parameters.
    """

    kind: Literal["features"] = "features"
    format: Literal["harness-digit-features-1"] = "harness-digit-features-1"
    sha256: Digest
    width: Count
    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    parameters: Count


class ExtractorCard(_Card):
    """A third party's feature extractor: a TorchScript program, or weights for our own Inception-v3.

    TorchScript is code, so only the file with this hash is run.

    Args:
        width: features per image.
    """

    kind: Literal["extractor"] = "extractor"
    format: Literal["torchscript", "inception-weights"] = "torchscript"
    sha256: Digest
    width: Count


class ReferenceCard(_Card):
    """Mean and covariance of a data set's features: an .npz with `mu` [width] and `sigma` [width, width].

    Args:
        width: features per image.
        extractor: name of the card of the network that computed the features.
    """

    kind: Literal["reference"] = "reference"
    format: Literal["npz"] = "npz"
    width: Count
    extractor: Text


AnyCard = DenoiserCard | FeaturesCard | ExtractorCard | ReferenceCard
Card = Annotated[AnyCard, one_of(DenoiserCard, FeaturesCard, ExtractorCard, ReferenceCard)]


class Cards(Config):
    """The content of `cards.yaml`: cards by name."""

    cards: dict[Text, Card] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _different_files(self) -> "Cards":
        names: dict[str, str] = {}
        for name, card in self.cards.items():
            if card.url is None:
                continue
            for file in (file_name(card.url), _used_name(card)):  # some systems take no notice of case
                if names.setdefault(file.lower(), name) != name:
                    other = names[file.lower()]
                    raise ValueError(f"'{other}' and '{name}' would both be {file} in the cache; rename one's file")
        return self


def is_imported(card: AnyCard) -> bool:
    """Whether the file is another program's checkpoint, from which ours is written when it is fetched."""
    return isinstance(card, DenoiserCard) and card.format != FORMAT


def _used_name(card: AnyCard) -> str:
    name = file_name(card.url or "")
    return f"{name.rpartition('.')[0] or name}.safetensors" if is_imported(card) else name


def cards_file() -> Path:
    """The file of the cards."""
    return data_dir("pretrained") / "cards.yaml"


def load_cards(path: Path | None = None) -> dict[str, AnyCard]:
    """All cards by name; empty if there is no file.

    Raises:
        InputError: a card is wrong; with its line in the file.
    """
    path = cards_file() if path is None else path
    if not path.exists():
        return {}
    at = path.stat()
    return dict(_read(path, (at.st_mtime_ns, at.st_size, at.st_ino)))


@lru_cache(maxsize=4)
def _read(path: Path, state: tuple[int, ...]) -> dict[str, AnyCard]:
    """The file in one state; cached, since it is read for every identity of a feature network and takes 0.1 s."""
    return yaml.build(Cards, yaml.load(path)).cards


def denoiser_cards(path: Path | None = None) -> dict[str, DenoiserCard]:
    """The cards of denoisers by name."""
    return {name: card for name, card in load_cards(path).items() if isinstance(card, DenoiserCard)}


def features_card(name: str, path: Path | None = None) -> FeaturesCard:
    """The card of a feature network.

    Raises:
        InputError: there is no such card; with the known names.
    """
    known = {key: card for key, card in load_cards(path).items() if isinstance(card, FeaturesCard)}
    if name not in known:
        raise InputError(f"unknown feature network '{name}'; known: {', '.join(known) or 'none'}")
    return known[name]


def file_path(card: AnyCard) -> Path:
    """The path of a card's file, which need not be fetched yet."""
    return data_dir("pretrained") / card.file if card.file else files_dir() / file_name(card.url or "")


def used_path(card: AnyCard) -> Path:
    """The path of the file that is loaded: for a snapshot its imported checkpoint, else the file itself."""
    return file_path(card).with_name(_used_name(card)) if card.url else file_path(card)


def pin_name(card: AnyCard) -> str:
    """The key of the loaded file's hash among the pins."""
    return f"{card.url}#imported" if is_imported(card) else card.url or ""


def how_to_get(name: str, card: AnyCard) -> str:
    """The command that fetches a missing file, in words."""
    size = f" ({card.size:,} bytes)" if card.size else ""
    return f"`harness fetch {name}` gets it{size}"


def is_here(card: AnyCard) -> bool:
    """Whether the file that is loaded for a card is here, whatever is in it."""
    return used_path(card).is_file()


def known_sha256(card: AnyCard) -> str | None:
    """The expected hash of the loaded file: the card's, else the pinned one; None before the first download.

    Raises:
        InputError: the pins cannot be read.
    """
    if card.sha256 and not is_imported(card):
        return card.sha256
    pin = read_pins().get(pin_name(card))
    return pin.sha256 if pin else None


def checked_path(name: str, card: AnyCard) -> Path:
    """The file that is loaded for a card, after comparing its hash with the card's or with the pinned one.

    Raises:
        InputError: the file is missing, or has another hash.
    """
    path = used_path(card)
    if card.url is not None:
        return _checked_fetched(name, card, path)
    sha256 = sha256_of(path)
    if sha256 != card.sha256:
        raise InputError(
            f"{path}: SHA-256 is {sha256}, and the card of '{name}' says {card.sha256}; restore the file, or, if it "
            f"was trained anew on purpose, run `python -m harness.hub.cards {path}`"
        )
    return path


def _checked_fetched(name: str, card: AnyCard, path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"'{name}' is not here; {how_to_get(name, card)}")
    known = known_sha256(card)
    if known is None:
        raise InputError(f"{path}: nobody knows its hash, since it was not fetched; {how_to_get(name, card)} anew")
    sha256 = sha256_of(path)
    if sha256 != known:
        said = "the card says" if card.sha256 == known else "when it was fetched it was"
        raise InputError(f"{path}: SHA-256 is {sha256}, and {said} {known}; {how_to_get(name, card)} anew")
    return path


def card_for(path: Path | str, **changes: Any) -> DenoiserCard | FeaturesCard:
    """Make the card of a file from its header.

    Args:
        path: checkpoint of a denoiser or of a digit classifier.
        changes: fields that replace those of the header, such as `licence`.

    Raises:
        InputError: the file has no header of ours, or a field is not allowed.
    """
    path = Path(path)
    contents = read_contents(path)
    features = contents.metadata.get("format") == FEATURES_FORMAT
    try:
        fields = _features_fields(contents) if features else _denoiser_fields(path)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: what its header says of the training is not what training writes") from None
    fields = {"file": path.name, "sha256": sha256_of(path), "licence": "Apache-2.0", **fields, **changes}
    try:
        return FeaturesCard(**fields) if features else DenoiserCard(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: card: {'.'.join(map(str, first['loc']))}: {yaml.explain(first)}") from None


def _denoiser_fields(path: Path) -> dict[str, Any]:
    config, provenance, _ = read_header(path)
    return {
        **_origin(provenance),
        "parameters": config.parameters,
        "preconditioning": config.preconditioning,
        "shape": config.shape,
        "label_dim": config.label_dim,
        "labels": "uniform" if config.label_dim else "none",
        "sigma_min": config.sigma_min,
        "sigma_max": config.sigma_max,
    }


def _features_fields(contents: Contents) -> dict[str, Any]:
    config = json.loads(contents.metadata.get("config", "{}"))
    facts = json.loads(contents.metadata.get("facts", "{}"))
    return {
        **_origin(facts.get("origin", {})),
        "parameters": sum(math.prod(layout.shape) for layout in contents.tensors.values()),
        "width": config.get("width"),
        "test_accuracy": facts.get("test_accuracy"),
    }


def _origin(provenance: dict[str, Any]) -> dict[str, str]:
    """Data set and recipe in words, from the provenance that training wrote into the file."""
    recipe = provenance.get("recipe")
    if isinstance(recipe, dict):
        steps, images = provenance.get("steps"), provenance.get("images")
        recipe = f"recipe {recipe.get('name', 'without a name')}, {steps:,} steps, {images:,} images"
        recipe += f", seed {provenance['recipe'].get('seed', 0)}, fingerprint {provenance.get('recipe_fingerprint')}"
    return {"dataset": str(provenance.get("data", "unknown")), "recipe": str(recipe or "unknown")}


def write_card(name: str, card: AnyCard, path: Path | None = None) -> None:
    """Add or replace one card in the file, atomically; the cards are sorted by name."""
    path = cards_file() if path is None else path
    cards = {**load_cards(path), name: card}
    entries = {key: _plain(cards[key]) for key in sorted(cards)}
    text = "# What is here, and what `harness fetch` gets. `python -m harness.hub.cards FILE...` adds to it.\n"
    text += yaml.dump({"cards": entries})
    write_bytes(path, text.encode("utf-8"))


def _plain(card: AnyCard) -> dict[str, Any]:
    fields = card.model_dump(mode="json", exclude_none=True)
    return {"kind": fields.pop("kind"), **fields}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the cards of the files on the command line; a card's name is the stem of its file."""
    parser = argparse.ArgumentParser(description="Write the cards of trained networks into pretrained/cards.yaml.")
    parser.add_argument("files", nargs="+", type=Path, help="checkpoints in the folder pretrained")
    for path in parser.parse_args(arguments).files:
        card = card_for(path)
        write_card(path.stem, card)
        print(yaml.dump({path.stem: _plain(card)}), end="")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
