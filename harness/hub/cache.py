"""The user's cache: where fetched files are kept, and the hashes of those whose hash nobody published.

Such a file is pinned: SHA-256 and size at the first download are written to `pins.json`, and what comes from that
address later must be the same. So a file that is changed at its source, or on the way, is noticed from the second
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
from harness.hub.locks import locked

VARIABLE = "HARNESS_CACHE"
NAME = "diffusion-harness"
WAIT = 10.0
"""Seconds to wait for another process that writes a pin."""


def cache_dir() -> Path:
    """The cache folder: $HARNESS_CACHE, else the platform's own place for caches. It need not be there yet."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / NAME
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / NAME


def files_dir() -> Path:
    """Where fetched files are."""
    return cache_dir() / "files"


class Pin(NamedTuple):
    """What a file was when it was first fetched."""

    sha256: str
    size: int


def pins_file() -> Path:
    """Where the pins are."""
    return cache_dir() / "pins.json"


def read_pins() -> dict[str, Pin]:
    """All pins by address; none where there is no file.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    path = pins_file()
    try:
        return {url: _read(entry) for url, entry in json.loads(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check its rights") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: damaged; it should be JSON with `sha256` and `size` of each fetched address. Restore it, or "
            "delete it and fetch again, which pins what comes then"
        ) from None


def _read(entry: dict[str, Any]) -> Pin:
    """Raises ValueError, KeyError or TypeError where an entry is none."""
    pin = Pin(entry["sha256"], entry["size"])
    if not re.fullmatch("[0-9a-f]{64}", pin.sha256) or type(pin.size) is not int:
        raise ValueError("not a pin")
    return pin


def check_pin(url: str, found: Pin, anew: bool = False) -> bool:
    """Compare with the address's pin; pin it if it has none.

    Args:
        url: the address.
        found: what came from it.
        anew: pin it in any case.

    Returns:
        Whether it was pinned now.

    Raises:
        InputError: it is not what it was when it was first fetched, or the pins are damaged.
        RunError: the pins cannot be written now.
    """
    with _pins() as pins:
        if url not in pins or anew:
            pins[url] = found
            return True
        known = pins[url]
    if known != found:
        raise InputError(
            f"{shown(url)}: SHA-256 is {found.sha256} ({found.size:,} bytes), and when it was first fetched it was "
            f"{known.sha256} ({known.size:,} bytes); it was replaced at its source, or changed on the way. To "
            f"trust the new one, delete the entry of this address in {pins_file()} and fetch again"
        )
    return False


def forget_pin(url: str) -> None:
    """Forget what came from an address, if anything did.

    Raises:
        InputError, RunError: as `check_pin`.
    """
    with _pins() as pins:
        pins.pop(url, None)


@contextlib.contextmanager
def _pins() -> Iterator[dict[str, Pin]]:
    """All pins, for one process at a time; what was changed is written at the end."""
    path = pins_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        busy = f"{path}: another process has been writing it for {WAIT:g} s; try again when it has ended"
        with locked(path.with_name(path.name + ".lock"), busy, WAIT):
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
