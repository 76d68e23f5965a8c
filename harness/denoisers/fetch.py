"""Fetches the files of cards into the cache: download, check, import.

downloaded -> pinned or compared with the card's hash -> imported, if it is another program's checkpoint
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.core.embedded import sha256_of
from harness.core.errors import InputError, RunError
from harness.denoisers.checkpoints.formats import format_of
from harness.hub.cache import Pin, check_pin, forget_pin, locked, read_pins
from harness.hub.cards import (
    AnyCard,
    DenoiserCard,
    file_path,
    is_imported,
    known_sha256,
    load_cards,
    pin_name,
    used_path,
)
from harness.hub.download import Downloaded, DownloadListener, download


class Fetched(NamedTuple):
    """A card's file in the cache.

    Attributes:
        name: of the card.
        path: the file that is loaded: the download, or the checkpoint that was imported from it.
        sha256: its hash.
        new: whether it was downloaded now.
        pinned: whether the hash of the download was pinned now.
    """

    name: str
    path: Path
    sha256: str
    new: bool
    pinned: bool


class Fetchable(NamedTuple):
    """A file that can be fetched; `size` in bytes is None if unknown, `here` tells whether it is in the cache."""

    name: str
    kind: str
    size: int | None
    here: bool
    about: str


def fetchable_files() -> list[Fetchable]:
    """All files that can be fetched. The files themselves are not read."""
    pins, files = read_pins(), []
    for name, card in load_cards().items():
        if card.url is not None:
            pin = pins.get(card.url)
            size, about = card.size or (pin.size if pin else None), f"{card.dataset}; {card.licence}"
            files.append(Fetchable(name, card.kind, size, used_path(card).is_file(), about))
    return files


class _Connection(NamedTuple):
    """How to download; see `download`."""

    listener: DownloadListener | None
    timeout: float
    tries: int
    pause: float


def fetch(
    names: Sequence[str],
    force: bool = False,
    listener: DownloadListener | None = None,
    timeout: float = 30.0,
    tries: int = 4,
    pause: float = 1.0,
) -> Iterator[Fetched]:
    """Fetch the files of cards, each when the iterator reaches it.

    Args:
        names: of cards; all are looked up before the first download.
        force: download again even if the file is here and intact.
        listener, timeout, tries, pause: see `download`.

    Raises:
        InputError: an unknown name or checkpoint format, a file that comes with the package, damaged pins, a
            checkpoint of another format or network than its card describes, or a failed download.
    """
    cards, wanted = load_cards(), list(dict.fromkeys(names))
    for name in wanted:
        if name not in cards or cards[name].url is None:
            why = "comes with the package" if name in cards else "is not the name of a card"
            raise InputError(f"'{name}' {why}; `harness fetch --list` shows what can be fetched")
        if is_imported(cards[name]):
            format_of(cards[name].format)  # an unknown one is an error before anything is downloaded
    connection = _Connection(listener, timeout, tries, pause)
    return (_fetch(name, cards[name], force, connection) for name in wanted)


def _fetch(name: str, card: AnyCard, force: bool, connection: _Connection) -> Fetched:
    known = known_sha256(card)
    if not force and known is not None and used_path(card).is_file() and sha256_of(used_path(card)) == known:
        return Fetched(name, used_path(card), known, new=False, pinned=False)
    busy = f"'{name}': another process is fetching it now; run the same command when it has ended"
    try:
        with locked(file_path(card).with_name(f"{file_path(card).name}.fetch"), busy):
            digest, pinned = _download(card, connection)
            if isinstance(card, DenoiserCard) and is_imported(card):
                digest = _import(name, card, pinned)
    except RunError as error:
        raise InputError(str(error)) from None  # the command does nothing else, so it exits with 2
    except OSError as error:
        raise InputError(
            f"{used_path(card)}: cannot be written ({error.strerror or error}); make space or check the folder's "
            "rights. What was downloaded is kept"
        ) from None
    return Fetched(name, used_path(card), digest, new=True, pinned=pinned)


def _download(card: AnyCard, connection: _Connection) -> tuple[str, bool]:
    """Download a card's file, unless an interrupted import left it behind.

    Returns:
        Its hash, and whether it was pinned now.
    """
    url, path = card.url or "", file_path(card)
    pin = read_pins().get(url)
    expected = card.sha256 or (pin.sha256 if pin else None)
    if is_imported(card) and expected and path.is_file() and sha256_of(path) == expected:
        return expected, False
    pinned = False

    def accept(downloaded: Downloaded) -> None:
        nonlocal pinned
        pinned = card.sha256 is None and check_pin(url, Pin(downloaded.sha256, downloaded.size))

    downloaded = download(url, path, card.sha256, card.size, *connection, accept=accept)
    return downloaded.sha256, pinned


def _import(name: str, card: DenoiserCard, pinned: bool) -> str:
    """Write another program's checkpoint as one of ours and delete it; returns the hash of ours.

    Raises:
        InputError: of another format or network than the card describes. The download is deleted, and its pin too if it
            is new, so that a later correct file is not compared with an unusable one.
        OSError: our checkpoint cannot be written. The download is kept.
    """
    from harness.denoisers.checkpoints.convert import write_import

    downloaded, path = file_path(card), used_path(card)
    new = path.with_name(f".{path.stem}.importing.safetensors")
    try:
        digest = write_import(downloaded, new, kind=card.format).sha256
        _compare(name, card, new)
    except InputError:
        downloaded.unlink(missing_ok=True)
        new.unlink(missing_ok=True)
        if pinned:
            forget_pin(card.url or "")
        raise
    check_pin(pin_name(card), Pin(digest, new.stat().st_size), replace=True)
    new.replace(path)
    downloaded.unlink()
    return digest


def _compare(name: str, card: DenoiserCard, path: Path) -> None:
    """Raises InputError if a checkpoint is of another network than the card describes."""
    from harness.hub.header import read_header

    config = read_header(path).config
    for what, actual, stated in (
        ("preconditioning", config.preconditioning, card.preconditioning),
        ("shape", config.shape, card.shape),
        ("classes", config.label_dim, card.label_dim),
    ):
        if actual != stated:
            raise InputError(
                f"'{name}': {what} of the fetched network is {actual}, and the card says {stated}; its card is wrong, "
                "or the file is another one"
            )
