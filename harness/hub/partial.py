"""An unfinished download: NAME.part beside the destination, and NAME.part.json with what is needed to resume it.

    url         the address
    validator   ETag or Last-Modified: the server's mark of this version of the file
    total       bytes of the whole file, or null if unknown

A part without these facts cannot be resumed, because the file at the address may have changed.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.files import write_bytes

BLOCK = 1 << 18
"""Bytes read at a time."""


class Origin(NamedTuple):
    """Where a part comes from; see above."""

    url: str
    validator: str
    total: int | None


class PartialFile:
    """The unfinished download of one file.

    Args:
        destination: the place of the whole file.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = destination.with_name(destination.name + ".part")
        self.facts = destination.with_name(destination.name + ".part.json")

    @property
    def length(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self, url: str) -> Origin | None:
        """The origin, if the part can be resumed from this address; else None."""
        try:
            origin = _origin(json.loads(self.facts.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        fits = origin.total is None or self.length <= origin.total
        return origin if origin.url == url and self.path.exists() and fits else None

    def begin(self, url: str, validator: str | None, total: int | None) -> None:
        """Start an empty part. It can be resumed later only with a validator."""
        self.discard()
        self.path.touch()
        if validator:
            write_bytes(self.facts, json.dumps(Origin(url, validator, total)._asdict()).encode())

    def digest(self) -> "hashlib._Hash":
        """SHA-256 of the bytes received so far, to be updated with further ones."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest

    def discard(self) -> None:
        """Delete the part, its facts first, so that they never describe another part."""
        for path in (self.facts, self.path):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Flush the file to disk and rename it to its destination."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.destination)
        with contextlib.suppress(OSError):
            self.facts.unlink()


def _origin(facts: dict[str, Any]) -> Origin:
    """Raises ValueError, KeyError or TypeError if the facts are not of this form."""
    origin = Origin(facts["url"], facts["validator"], facts["total"])
    total = isinstance(origin.total, int) or origin.total is None
    if not (isinstance(origin.url, str) and isinstance(origin.validator, str) and total):
        raise ValueError("not the facts of a part")
    return origin
