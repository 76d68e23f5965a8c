"""From the names of cards to files in the cache: downloaded if need be, imported if they are snapshots, and checked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.core.embedded import sha256_of
from harness.core.errors import InputError, RunError
from harness.hub.cache import Pin, check_pin, forget_pin, read_pins
from harness.hub.cards import AnyCard, DenoiserCard, in_use, known_sha256, load_cards, pin_name, place
from harness.hub.download import Downloaded, Listener, download
from harness.hub.locks import locked


class Fetched(NamedTuple):
    """A card's file.

    Attributes:
        name: of the card.
        path: of the file that is used; of a snapshot, what it was imported to.
        sha256: what that hashes to.
        new: whether it was downloaded now.
        pinned: whether the hash of what was downloaded was learnt now.
    """

    name: str
    path: Path
    sha256: str
    new: bool
    pinned: bool


class Entry(NamedTuple):
    """A line of the list of what can be fetched; `size` is None where it is not known."""

    name: str
    kind: str
    size: int | None
    here: bool
    about: str


def entries() -> list[Entry]:
    """What can be fetched, and whether it is here; the files are not read."""
    pins, found = read_pins(), []
    for name, card in load_cards().items():
        if card.url is not None:
            pin = pins.get(card.url)
            size, about = card.size or (pin.size if pin else None), f"{card.dataset}; {card.licence}"
            found.append(Entry(name, card.kind, size, in_use(card).is_file(), about))
    return found


def fetch(
    names: Sequence[str],
    force: bool = False,
    listener: Listener | None = None,
    timeout: float = 30.0,
    tries: int = 4,
    pause: float = 1.0,
) -> Iterator[Fetched]:
    """Fetch the files of cards, one after the other, each when it is asked for.

    Args:
        names: of cards; all are looked up before the first download.
        force: download again what is here and intact.
        listener, timeout, tries, pause: see `download`.

    Raises:
        InputError: an unknown name or one that comes with the package, damaged pins, a snapshot that is none or is of
            another network than its card says, and whatever keeps a download from ending well.
    """
    cards, wanted = load_cards(), list(dict.fromkeys(names))
    for name in wanted:
        if name not in cards or cards[name].url is None:
            why = "comes with the package" if name in cards else "is not the name of a card"
            raise InputError(f"'{name}' {why}; `harness fetch --list` shows what can be fetched")
    return (_fetch(name, cards[name], force, listener, timeout, tries, pause) for name in wanted)


def _fetch(
    name: str, card: AnyCard, force: bool, listener: Listener | None, timeout: float, tries: int, pause: float
) -> Fetched:
    """As `fetch`, of one card."""
    known = known_sha256(card)
    if not force and known is not None and in_use(card).is_file() and sha256_of(in_use(card)) == known:
        return Fetched(name, in_use(card), known, new=False, pinned=False)
    lock = place(card).with_name(f"{place(card).name}.fetch.lock")
    busy = f"'{name}': another process is fetching it now; run the same command when it has ended"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with locked(lock, busy):
            digest, learnt = _download(card, listener, timeout, tries, pause)
            if isinstance(card, DenoiserCard) and card.format == "edm-snapshot":
                digest = _import(name, card, learnt)
    except RunError as error:
        raise InputError(str(error)) from None  # here it is the one thing that the user asked for
    except OSError as error:
        raise InputError(
            f"{in_use(card)}: cannot be written ({error.strerror or error}); make space or check the folder's rights. "
            "What was downloaded is kept"
        ) from None
    return Fetched(name, in_use(card), digest, new=True, pinned=learnt)


def _download(card: AnyCard, listener: Listener | None, timeout: float, tries: int, pause: float) -> tuple[str, bool]:
    """The file of a card, downloaded unless a snapshot was left whole by a try that ended before it was imported.

    Returns:
        Its hash, and whether that was learnt now.
    """
    url, path = card.url or "", place(card)
    pin = read_pins().get(url)
    wanted = card.sha256 or (pin.sha256 if pin else None)
    if card.format == "edm-snapshot" and wanted and path.is_file() and sha256_of(path) == wanted:
        return wanted, False
    learnt = False

    def accept(found: Downloaded) -> None:
        nonlocal learnt
        learnt = card.sha256 is None and check_pin(url, Pin(found.sha256, found.size))

    found = download(url, path, card.sha256, card.size, listener, timeout, tries, pause, accept=accept)
    return found.sha256, learnt


def _import(name: str, card: DenoiserCard, learnt: bool) -> str:
    """Write our checkpoint of a snapshot, and let the snapshot go; returns its hash.

    Raises:
        InputError: it is no snapshot, or of another network than the card says; it is deleted then, and its hash is not
            remembered if it was learnt now: a file that cannot be used must not stand in the way of one that can.
        OSError: no space, say. The snapshot is kept.
    """
    from harness.denoisers.checkpoints.convert import write_import

    raw, path = place(card), in_use(card)
    new = path.with_name(f".{path.stem}.importing.safetensors")
    try:
        digest = write_import(raw, new).sha256
        _compare(name, card, new)
    except InputError:
        raw.unlink(missing_ok=True)
        new.unlink(missing_ok=True)
        if learnt:
            forget_pin(card.url or "")
        raise
    check_pin(pin_name(card), Pin(digest, new.stat().st_size), anew=True)
    new.replace(path)
    raw.unlink()
    return digest


def _compare(name: str, card: DenoiserCard, path: Path) -> None:
    """Refuse another network than the card describes."""
    from harness.hub.header import read_header

    config = read_header(path).config
    for what, found, said in (
        ("preconditioning", config.preconditioning, card.preconditioning),
        ("shape", config.shape, card.shape),
        ("classes", config.label_dim, card.label_dim),
    ):
        if found != said:
            raise InputError(
                f"'{name}': {what} of the fetched network is {found}, and the card says {said}; its card is wrong, or "
                "the file is another one"
            )
