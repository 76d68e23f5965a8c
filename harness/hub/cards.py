"""Cards: what the harness knows of each file by name, without loading it.

`pretrained/cards.yaml` maps names to cards; see `card_kinds` for what they say. Plans take a network's identity (its
file's SHA-256), image shape, classes and noise range from there; reading it needs no torch. Files of the cards with a
`url` are in the cache once `harness fetch` got them. `python -m harness.hub.cards FILE...` writes the entries of
newly trained files.
"""

import argparse
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from harness.core import yaml
from harness.core.config import Config
from harness.core.embedded import data_dir, sha256_of
from harness.core.errors import InputError
from harness.core.files import write_bytes
from harness.hub.addresses import file_name
from harness.hub.cache import files_dir, read_pins
from harness.hub.card_kinds import AnyCard, Card, DenoiserCard, FeaturesCard, Text
from harness.hub.header import FORMAT, Contents, read_contents, read_header

FEATURES_FORMAT = "harness-digit-features-1"


class Cards(Config):
    """The file: cards by name."""

    cards: dict[Text, Card] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _own_places(self) -> "Cards":
        names: dict[str, str] = {}
        for name, card in self.cards.items():
            if card.url is None:
                continue
            for file in (file_name(card.url), _name_in_use(card)):  # some systems take no notice of case
                if names.setdefault(file.lower(), name) != name:
                    other = names[file.lower()]
                    raise ValueError(f"'{other}' and '{name}' would both be {file} in the cache; rename one's file")
        return self


def is_imported(card: AnyCard) -> bool:
    """Whether the card's file is a checkpoint of another program, from which ours is written when it is fetched."""
    return isinstance(card, DenoiserCard) and card.format != FORMAT


def _name_in_use(card: AnyCard) -> str:
    name = file_name(card.url or "")
    return f"{name.rpartition('.')[0] or name}.safetensors" if is_imported(card) else name


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
    at = path.stat()
    return dict(_read(path, (at.st_mtime_ns, at.st_size, at.st_ino)))


@lru_cache(maxsize=4)
def _read(path: Path, state: tuple[int, ...]) -> dict[str, AnyCard]:
    """The file as it is in one state: it is asked for with every identity of a feature network, and takes 0.1 s."""
    return yaml.build(Cards, yaml.load(path)).cards


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


def place(card: AnyCard) -> Path:
    """Where a card's file is, or is put when it is fetched."""
    return data_dir("pretrained") / card.file if card.file else files_dir() / file_name(card.url or "")


def in_use(card: AnyCard) -> Path:
    """The file that is used of a card: of a snapshot what was written when it was imported, else the file itself."""
    return place(card).with_name(_name_in_use(card)) if card.url else place(card)


def pin_name(card: AnyCard) -> str:
    """Under which address the hash of the file in use is pinned."""
    return f"{card.url}#imported" if is_imported(card) else card.url or ""


def how_to_get(name: str, card: AnyCard) -> str:
    """What to do for a file that is not here."""
    size = f" ({card.size:,} bytes)" if card.size else ""
    return f"`harness fetch {name}` gets it{size}"


def known_sha256(card: AnyCard) -> str | None:
    """What the file in use must hash to: as the card says, else as pinned; None before the first download.

    Raises:
        InputError: the pins cannot be read.
    """
    if card.sha256 and not is_imported(card):
        return card.sha256
    pin = read_pins().get(pin_name(card))
    return pin.sha256 if pin else None


def checked_path(name: str, card: AnyCard) -> Path:
    """The card's file in use, after comparing its hash with the card's, or with the one pinned when it was fetched.

    Raises:
        InputError: the file is missing, or not the one that the card describes.
    """
    path = in_use(card)
    if card.url is not None:
        return _checked_fetched(name, card, path)
    found = sha256_of(path)
    if found != card.sha256:
        raise InputError(
            f"{path}: SHA-256 is {found}, and the card of '{name}' says {card.sha256}; restore the file, or, if it was "
            f"trained anew on purpose, run `python -m harness.hub.cards {path}`"
        )
    return path


def _checked_fetched(name: str, card: AnyCard, path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"'{name}' is not here; {how_to_get(name, card)}")
    known = known_sha256(card)
    if known is None:
        raise InputError(f"{path}: nobody knows its hash, since it was not fetched; {how_to_get(name, card)} anew")
    found = sha256_of(path)
    if found != known:
        said = "the card says" if card.sha256 == known else "when it was fetched it was"
        raise InputError(f"{path}: SHA-256 is {found}, and {said} {known}; {how_to_get(name, card)} anew")
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
    text = "# What is here, and what `harness fetch` gets. `python -m harness.hub.cards FILE...` adds to it.\n"
    text += yaml.dump({"cards": entries})
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
        print(yaml.dump({path.stem: _plain(card)}), end="")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
