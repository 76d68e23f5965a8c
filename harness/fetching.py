"""From a card's name to its file in the cache: downloaded, checked, and, if it is a snapshot, imported."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.cache import Pin, files_dir, pins_file, read_pins, write_pin
from harness.data_files import sha256_of
from harness.denoisers.cards import AnyCard, DenoiserCard, load_cards, usable
from harness.download import Expected, Listener, download
from harness.errors import InputError


class Fetched(NamedTuple):
    """A card's file.

    Attributes:
        name: of the card.
        path: the file that is used.
        sha256: of what was downloaded.
        new: whether it came now.
        pinned: whether its hash was not known before.
    """

    name: str
    path: Path
    sha256: str
    new: bool
    pinned: bool


def fetchable(path: Path | None = None) -> dict[str, AnyCard]:
    """The cards whose files have to be fetched, by name."""
    return {name: card for name, card in load_cards(path).items() if card.url is not None}


def is_here(name: str, card: AnyCard) -> bool:
    """Whether a card's file was fetched."""
    return usable(name, card)[0].is_file()


def fetch(
    names: Sequence[str],
    force: bool = False,
    listener: Callable[[str], Listener | None] = lambda name: None,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> list[Fetched]:
    """Fetch files by their cards' names, one after the other.

    Args:
        names: of cards.
        force: fetch again what is here.
        listener: gives, for a name, who is told of its progress.
        pause, timeout: see `download`.

    Raises:
        InputError: an unknown name, one that comes with the package, or what `download` and the import refuse.
    """
    cards = load_cards()
    known = fetchable()
    for name in names:
        if name not in known:
            reason = "comes with the package" if name in cards else "is no card's name"
            raise InputError(f"'{name}' {reason}; `harness fetch --list` shows what can be fetched")
    return [_fetch_one(name, known[name], force, listener(name), pause, timeout) for name in names]


def _fetch_one(
    name: str, card: AnyCard, force: bool, listener: Listener | None, pause: float, timeout: float
) -> Fetched:
    assert card.url is not None
    path, address = usable(name, card)
    pins = read_pins()
    pin = pins.get(card.url)
    if not force and path.is_file() and (intact := _intact(path, address, card, pins)):
        return Fetched(name, path, pin.sha256 if pin else intact, new=False, pinned=False)
    raw = files_dir() / card.url.rpartition("/")[2]
    expected = Expected(card.sha256 or (pin.sha256 if pin else None), card.size or (pin.size if pin else None))
    try:
        came = download(card.url, raw, expected, listener, timeout, pause)
    except InputError as error:
        if pin and card.sha256 is None:
            raise InputError(
                f"{error}\n(its hash was pinned at the first download; if its owner replaced it on purpose, delete its "
                f"entry in {pins_file()})"
            ) from None
        raise
    if isinstance(card, DenoiserCard) and card.format == "edm-snapshot":
        try:
            _import(name, card, raw, path, address)
        finally:
            raw.unlink()
    new_pin = card.sha256 is None and pin is None
    if new_pin:  # only now: a file that cannot be used must not stand in the way of one that can
        write_pin(card.url, Pin(came.sha256, came.size))
    return Fetched(name, path, came.sha256, new=True, pinned=new_pin)


def _intact(path: Path, address: str, card: AnyCard, pins: dict[str, Pin]) -> str | None:
    """The hash of a file that is here, if it is what it was."""
    pin = pins.get(address)
    wanted = card.sha256 if address == card.url and card.sha256 else pin.sha256 if pin else None
    found = sha256_of(path)
    return found if found == wanted else None


def _import(name: str, card: DenoiserCard, raw: Path, path: Path, address: str) -> None:
    """Write our checkpoint of a snapshot, and compare it with the card."""
    from harness.denoisers.checkpoints.convert import import_file
    from harness.denoisers.checkpoints.header import read_header

    written = import_file(raw, path)
    config = read_header(path).config
    for what, found, said in (
        ("preconditioning", config.preconditioning, card.preconditioning),
        ("shape", tuple(config.shape), tuple(card.shape)),
        ("classes", config.label_dim, card.label_dim),
    ):
        if found != said:
            path.unlink()
            raise InputError(
                f"'{name}': {what} of the fetched network is {found}, and the card says {said}; its card is wrong, or "
                "the file is another one"
            )
    write_pin(address, Pin(written.sha256, path.stat().st_size))
