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
from harness.choice import Choice, Real
from harness.data_files import data_dir, sha256_of
from harness.denoisers.analytic_specs import Shape
from harness.denoisers.checkpoints.header import Contents, read_contents, read_header
from harness.errors import InputError

FEATURES_FORMAT = "harness-digit-features-1"

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Card(Choice):
    """What all cards say.

    Args:
        file: the file's name in the folder `pretrained`, or
        url: where it can be had.
        sha256: of the file, in hex.
        format: how to read the file.
        dataset: the images it was trained on.
        licence: of the weights.
        recipe: how it was made.
        parameters: trained numbers.
    """

    file: Text | None = None
    url: Text | None = None
    sha256: Digest
    dataset: Text
    licence: Text
    recipe: Text
    parameters: Count

    @model_validator(mode="after")
    def _one_place(self) -> "_Card":
        if (self.file is None) == (self.url is None):
            raise ValueError("a card needs either `file` or `url`")
        return self


class DenoiserCard(_Card):
    """A pretrained denoiser.

    Args:
        preconditioning: vp, ve, iddpm or edm.
        shape: [C, H, W] of its images.
        label_dim: classes; 0 means unconditional.
        labels: what a sample's label is unless told otherwise: none, or uniform, one class per seed.
        sigma_min, sigma_max: noise range that it supports, in units of the images.
    """

    kind: Literal["denoiser"] = "denoiser"
    format: Literal["harness-denoiser"] = "harness-denoiser"
    preconditioning: Literal["vp", "ve", "iddpm", "edm"]
    shape: Shape
    label_dim: Annotated[int, Field(ge=0)]
    labels: Literal["none", "uniform"]
    sigma_min: Annotated[Real, Field(ge=0)]
    sigma_max: Annotated[Real, Field(gt=0)]


class FeaturesCard(_Card):
    """A network whose hidden layer gives the features for a Frechet distance.

    Args:
        width: numbers per image.
        test_accuracy: share of held-out images that it classifies right.
    """

    kind: Literal["features"] = "features"
    format: Literal["harness-digit-features-1"] = "harness-digit-features-1"
    width: Count
    test_accuracy: Annotated[float, Field(ge=0, le=1)]


Card = Annotated[DenoiserCard | FeaturesCard, Field(discriminator="kind")]


class Cards(Choice):
    """The file: cards by name."""

    cards: dict[Text, Card] = Field(default_factory=dict)


def cards_file() -> Path:
    """Where the cards are kept."""
    return data_dir("pretrained") / "cards.yaml"


def load_cards(path: Path | None = None) -> dict[str, DenoiserCard | FeaturesCard]:
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


def checked_path(name: str, card: DenoiserCard | FeaturesCard) -> Path:
    """The card's file, after comparing its hash with the card's.

    Raises:
        InputError: the file is missing, elsewhere, or not the one that the card describes.
    """
    if card.file is None:
        raise InputError(
            f"'{name}' does not come with the package; download {card.url} and give the file's path instead"
        )
    path = data_dir("pretrained") / card.file
    found = sha256_of(path)
    if found != card.sha256:
        raise InputError(
            f"{path}: SHA-256 is {found}, and the card of '{name}' says {card.sha256}; restore the file, or, if it was "
            f"trained anew on purpose, run `python -m harness.denoisers.cards {path}`"
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


def write_card(name: str, card: DenoiserCard | FeaturesCard, path: Path | None = None) -> None:
    """Add or replace one card in the file, whole or not at all; the others stay as they are, sorted by name."""
    path = cards_file() if path is None else path
    cards = {**load_cards(path), name: card}
    entries = {key: _plain(cards[key]) for key in sorted(cards)}
    text = (
        "# What is in this folder. Written by `python -m harness.denoisers.cards FILE...`; see docs for the fields.\n"
    )
    text += yaml.safe_dump({"cards": entries}, sort_keys=False, allow_unicode=True, width=110)
    write_bytes(path, text.encode("utf-8"))


def _plain(card: DenoiserCard | FeaturesCard) -> dict[str, Any]:
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
