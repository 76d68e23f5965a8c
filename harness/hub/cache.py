"""The user's cache: the folder of fetched files, locks between processes, and pinned hashes.

A file whose hash is not published is pinned: `pins.json` keeps its SHA-256 and size from the first download, and every
later download from that address must match. A file that changes at its source or on the way is noticed from the second
download on.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError, RunError
from harness.core.files import write_bytes
from harness.hub.addresses import shown

VARIABLE = "HARNESS_CACHE"
NAME = "diffusion-harness"
WAIT = 10.0
"""Seconds to wait for another process that writes a pin."""


def cache_dir() -> Path:
    """The cache folder: $HARNESS_CACHE, else the platform's folder for caches. It need not exist yet."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":  # platformdirs follows $XDG_CACHE_HOME here too, and would miss caches made before
        return Path.home() / "Library" / "Caches" / NAME
    import platformdirs

    return platformdirs.user_cache_path(NAME, appauthor=False, opinion=False)


def files_dir() -> Path:
    """The folder of fetched files."""
    return cache_dir() / "files"


@contextlib.contextmanager
def locked(path: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file, exclusively among processes and threads.

    The lock is the hidden file `.NAME.lock` beside it. The system releases the lock of a process that dies. The lock
    file stays: removing it could let two processes hold locks on two files of one name.

    Args:
        path: the file to protect; it need not exist, its folder is made.
        busy: the error's text when another process keeps the lock.
        wait: seconds to wait for the lock.

    Raises:
        RunError: another process or thread holds the lock.
        OSError: the lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise RunError(busy) from None
    try:
        yield
    finally:
        lock.release()


class Pin(NamedTuple):
    """Hash and size of a file at its first download."""

    sha256: str
    size: int


def pins_file() -> Path:
    """The file of the pins."""
    return cache_dir() / "pins.json"


def read_pins() -> dict[str, Pin]:
    """All pins by address; empty if there is no file.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    path = pins_file()
    try:
        return {url: _pin(entry) for url, entry in json.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check its rights") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: damaged; it should be JSON with `sha256` and `size` of each fetched address. Restore it, or "
            "delete it and fetch again, which pins what comes then"
        ) from None


def _pin(entry: dict[str, Any]) -> Pin:
    """Raises ValueError, KeyError or TypeError if the entry is not a pin."""
    pin = Pin(entry["sha256"], entry["size"])
    if not re.fullmatch("[0-9a-f]{64}", pin.sha256) or type(pin.size) is not int:
        raise ValueError("not a pin")
    return pin


def check_pin(url: str, pin: Pin, replace: bool = False) -> bool:
    """Compare a file with the pin of its address; pin it if there is none.

    Args:
        url: the address.
        pin: hash and size of the file.
        replace: pin it without comparing.

    Returns:
        Whether it was pinned now.

    Raises:
        InputError: the file differs from the pin, or the pins are damaged.
        RunError: the pins cannot be written now.
    """
    with _editing_pins() as pins:
        if url not in pins or replace:
            pins[url] = pin
            return True
        known = pins[url]
    if known != pin:
        raise InputError(
            f"{shown(url)}: SHA-256 is {pin.sha256} ({pin.size:,} bytes), and when it was first fetched it was "
            f"{known.sha256} ({known.size:,} bytes); it was replaced at its source, or changed on the way. To "
            f"trust the new one, delete the entry of this address in {pins_file()} and fetch again"
        )
    return False


def forget_pin(url: str) -> None:
    """Delete the pin of an address, if there is one.

    Raises:
        InputError, RunError: as `check_pin`.
    """
    with _editing_pins() as pins:
        pins.pop(url, None)


@contextlib.contextmanager
def _editing_pins() -> Iterator[dict[str, Pin]]:
    """All pins, locked for this process; changes are written at the end of the block."""
    path = pins_file()
    try:
        busy = f"{path}: another process has been writing it for {WAIT:g} s; try again when it has ended"
        with locked(path, busy, WAIT):
            before = read_pins()
            pins = dict(before)
            yield pins
            if pins != before:
                entries = {key: pin._asdict() for key, pin in sorted(pins.items())}
                write_bytes(path, json.dumps(entries, indent=2).encode())
    except OSError as error:
        raise RunError(
            f"{path}: cannot write there ({error.strerror}); check its rights, or set {VARIABLE} to another folder"
        ) from None
