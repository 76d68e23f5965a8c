"""The user's cache: where fetched files are kept, and the hashes of those that came without one.

A file whose hash nobody published is pinned: its SHA-256 and size at the first download are written to `pins.json`, and
whatever comes from that address later must be the same.
"""

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from harness.atomic import write_bytes
from harness.errors import InputError

VARIABLE = "HARNESS_CACHE"
NAME = "diffusion-harness"


def cache_dir() -> Path:
    """The cache folder: $HARNESS_CACHE, else the platform's own place for caches. It may not be there yet."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / NAME
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / NAME
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
        InputError: the file cannot be read, or was damaged.
    """
    path = pins_file()
    try:
        found = json.loads(path.read_text("utf-8"))
        return {str(url): Pin(str(entry["sha256"]), int(entry["size"])) for url, entry in found.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check its rights") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path}: damaged; it holds the hashes of fetched files. Delete it to pin them anew at the next fetch"
        ) from None


def write_pin(url: str, pin: Pin) -> None:
    """Remember what came from an address."""
    pins = read_pins() | {url: pin}
    write_bytes(pins_file(), (json.dumps({key: one._asdict() for key, one in sorted(pins.items())}, indent=1)).encode())
