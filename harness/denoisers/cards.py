"""Cards: what the harness knows of each pretrained network by name, without loading it.

`pretrained/cards.yaml` maps names to cards. Plans take a network's identity (its file's SHA-256), image shape, classes
and noise range from there; reading it needs no torch. `python -m harness.denoisers.cards FILE...` writes the entries of
newly trained files.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from harness import yamlfile
from harness.atomic import write_bytes
from harness.cache import files_dir, read_pins
from harness.choice import Choice, Real
from harness.data_files import data_dir, sha256_of
from harness.denoisers.analytic_specs import Shape
from harness.denoisers.checkpoints.header import Contents, Kind, read_contents, read_header
from harness.errors import InputError

FEATURES_FORMAT = "harness-digit-features-1"

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Address = Annotated[str, Field(pattern=r"^(https://|http://(localhost|127\.0\.0\.1)[:/])")]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Card(Choice):
    """What all cards say.

    Args:
        file: the file's name in the folder `pretrained`, or
        url: where it can be had; `harness fetch` gets it.
        sha256: of the file, in hex. One that comes with the package always has it; one that nobody published a hash of
            is pinned when it is first fetched.
        size: of the file, in bytes, where it is known.
        dataset: the images it is about.
        licence: of the file.
        recipe: how it was made.
    """

    file: Text | None = None
    url: Address | None = None
    sha256: Digest | None = None
    size: Count | None = None
    dataset: Text
    licence: Text
    recipe: Text

    @model_validator(mode="after")
    def _one_place(self) -> "_Card":
        if (self.file is None) == (self.url is None):
            raise ValueError("a card needs either `file` or `url`")
        if self.file is not None and self.sha256 is None:
            raise ValueError("a file that comes with the package needs its `sha256`")
        return self


class DenoiserCard(_Card):
    """A pretrained denoiser.

    Args:
        format: how to read the file: ours, or a snapshot that is imported when it is fetched.
        preconditioning: kind of the preconditioning.
        shape: [C, H, W] of its images.
        label_dim: classes; 0 means unconditional.
        labels: what a sample's label is unless told otherwise: none, or uniform, one class per seed.
        sigma_min, sigma_max: noise range that it supports, in units of the images.
        parameters: trained numbers, where they are known.
    """

    kind: Literal["denoiser"] = "denoiser"
    format: Literal["harness-denoiser", "edm-snapshot"] = "harness-denoiser"
    preconditioning: Kind
    shape: Shape
    label_dim: Annotated[int, Field(ge=0)]
    labels: Literal["none", "uniform"]
    sigma_min: Annotated[Real, Field(ge=0)]
    sigma_max: Annotated[Real, Field(gt=0)]
    parameters: Count | None = None


class FeaturesCard(_Card):
    """A network whose hidden layer gives the features for a Frechet distance.

    Args:
        width: numbers per image.
        test_accuracy: share of held-out images that it classifies right.
        parameters: trained numbers.
    """

    kind: Literal["features"] = "features"
    format: Literal["harness-digit-features-1"] = "harness-digit-features-1"
    width: Count
    test_accuracy: Annotated[float, Field(ge=0, le=1)]
    parameters: Count


class ExtractorCard(_Card):
    """A network of somebody else's for features, as TorchScript: code, so that only the file of this hash is ever used.

    Args:
        width: numbers per image.
    """

    kind: Literal["extractor"] = "extractor"
    format: Literal["torchscript"] = "torchscript"
    width: Count


class ReferenceCard(_Card):
    """Statistics of a data set's features, `mu` [width] and `sigma` [width, width] in an .npz.

    Args:
        width: numbers per image.
        extractor: name of the card of the network that the features are from.
    """

    kind: Literal["reference"] = "reference"
    format: Literal["npz"] = "npz"
    width: Count
    extractor: Text


AnyCard = DenoiserCard | FeaturesCard | ExtractorCard | ReferenceCard
Card = Annotated[AnyCard, Field(discriminator="kind")]


class Cards(Choice):
    """The file: cards by name."""

    cards: dict[Text, Card] = Field(default_factory=dict)


def cards_file() -> Path:
    """Where the cards are kept."""
    return data_dir("pretrained") / "cards.yaml"


def load_cards(path: Path | None = None) -> dict[str, AnyCard]:
    """All cards by name; none where there is no file.

    Raises:
        InputError: the file is not as it should be; with its line.
    """
    path = cards_file() if path is None else path
    if not path.exists():
        return {}
    return dict(yamlfile.build(Cards, yamlfile.load(path)).cards)


def denoiser_cards(path: Path | None = None) -> dict[str, DenoiserCard]:
    """The cards of denoisers by name."""
    return {name: card for name, card in load_cards(path).items() if isinstance(card, DenoiserCard)}


def features_card(name: str, path: Path | None = None) -> FeaturesCard:
    """The card of a feature network.

    Raises:
        InputError: there is no such card; with the names there are.
    """
    known = {key: card for key, card in load_cards(path).items() if isinstance(card, FeaturesCard)}
    if name not in known:
        raise InputError(f"unknown feature network '{name}'; known: {', '.join(known) or 'none'}")
    return known[name]


def checked_path(name: str, card: AnyCard) -> Path:
    """The card's file, after comparing its hash with the card's, or with what was first fetched.

    Raises:
        InputError: the file is missing, or not the one that the card describes.
    """
    if card.file is None:
        return fetched_path(name, card)
    path = data_dir("pretrained") / card.file
    found = sha256_of(path)
    if found != card.sha256:
        raise InputError(
            f"{path}: SHA-256 is {found}, and the card of '{name}' says {card.sha256}; restore the file, or, if it was "
            f"trained anew on purpose, run `python -m harness.denoisers.cards {path}`"
        )
    return path


def usable(name: str, card: AnyCard) -> tuple[Path, str]:
    """Where the file that is used of a fetched card is, and under which address its hash is pinned.

    A snapshot is imported when it is fetched; what is used of it is the checkpoint that was written then.
    """
    assert card.url is not None
    if card.format == "edm-snapshot":
        return files_dir() / f"{name}.safetensors", f"{card.url}#imported"
    return files_dir() / card.url.rpartition("/")[2], card.url


def fetched_path(name: str, card: AnyCard) -> Path:
    """A fetched file, after comparing its hash.

    Raises:
        InputError: it was not fetched, or was changed since.
    """
    path, address = usable(name, card)
    if not path.is_file():
        size = f" ({card.size:,} bytes)" if card.size else ""
        raise InputError(f"'{name}' is not here yet; `harness fetch {name}` gets it{size}")
    pin = read_pins().get(address)
    wanted = card.sha256 if address == card.url and card.sha256 else pin.sha256 if pin else None
    found = sha256_of(path)
    if found != wanted:
        raise InputError(
            f"{path}: SHA-256 is {found}, and it was {wanted or 'not noted'} when it was fetched; "
            f"`harness fetch {name} --force` gets it anew"
        )
    return path


def card_for(path: Path | str, **changes: Any) -> DenoiserCard | FeaturesCard:
    """The card of a file, from what its header says.

    Args:
        path: a denoiser's checkpoint, or a digit classifier's.
        changes: fields that replace those read, such as `licence`.

    Raises:
        InputError: the file has no header of ours, or a field cannot be.
    """
    path = Path(path)
    contents = read_contents(path)
    features = contents.metadata.get("format") == FEATURES_FORMAT
    fields = _features_fields(contents) if features else _denoiser_fields(path)
    fields = {"file": path.name, "sha256": sha256_of(path), "licence": "Apache-2.0", **fields, **changes}
    try:
        return FeaturesCard(**fields) if features else DenoiserCard(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{path}: card: {'.'.join(map(str, first['loc']))}: {yamlfile.explain(first)}") from None


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
    """Data set and recipe, in words, from what the training wrote into the file."""
    recipe = provenance.get("recipe")
    if isinstance(recipe, dict):
        steps, images = provenance.get("steps"), provenance.get("images")
        recipe = f"recipe {recipe.get('name', 'without a name')}, {steps:,} steps, {images:,} images"
        recipe += f", seed {provenance['recipe'].get('seed', 0)}, fingerprint {provenance.get('recipe_fingerprint')}"
    return {"dataset": str(provenance.get("data", "unknown")), "recipe": str(recipe or "unknown")}


def write_card(name: str, card: AnyCard, path: Path | None = None) -> None:
    """Add or replace one card in the file, whole or not at all; the others stay as they are, sorted by name."""
    path = cards_file() if path is None else path
    cards = {**load_cards(path), name: card}
    entries = {key: _plain(cards[key]) for key in sorted(cards)}
    text = "# What is in this folder, and what can be fetched. `python -m harness.denoisers.cards FILE...` writes it.\n"
    text += yaml.safe_dump({"cards": entries}, sort_keys=False, allow_unicode=True, width=110)
    write_bytes(path, text.encode("utf-8"))


def _plain(card: AnyCard) -> dict[str, Any]:
    fields = card.model_dump(mode="json", exclude_none=True)
    return {"kind": fields.pop("kind"), **fields}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the cards of the files named on the command line; each goes by its file's stem."""
    parser = argparse.ArgumentParser(description="Write the cards of trained networks into pretrained/cards.yaml.")
    parser.add_argument("files", nargs="+", type=Path, help="checkpoints in the folder pretrained")
    for path in parser.parse_args(arguments).files:
        card = card_for(path)
        write_card(path.stem, card)
        print(yaml.safe_dump({path.stem: _plain(card)}, sort_keys=False, allow_unicode=True, width=110), end="")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
