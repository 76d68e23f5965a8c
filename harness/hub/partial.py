"""A file that is not all there yet: NAME.part beside its place, and NAME.part.json, which says what it is a part of.

    url         where it is from
    validator   ETag or Last-Modified: what the server calls this version of the file
    total       bytes of the whole file, if known

A part without these facts cannot be gone on with, since the file may be another one by now.
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
    """What a part is a part of."""

    url: str
    validator: str
    total: int | None


class Partial:
    """The part of one file.

    Args:
        destination: where the whole file shall be.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = destination.with_name(destination.name + ".part")
        self.facts = destination.with_name(destination.name + ".part.json")

    @property
    def length(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self, url: str) -> Origin | None:
        """What can be gone on with from this address; None if nothing can."""
        try:
            origin = _read(json.loads(self.facts.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        within = origin.total is None or self.length <= origin.total
        return origin if origin.url == url and self.path.exists() and within else None

    def begin(self, url: str, validator: str | None, total: int | None) -> None:
        """Start from the first byte. Without a validator the part cannot be gone on with later."""
        self.discard()
        self.path.touch()
        if validator:
            write_bytes(self.facts, json.dumps(Origin(url, validator, total)._asdict()).encode())

    def digest(self) -> "hashlib._Hash":
        """SHA-256 of what is there, to be continued."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        return digest

    def discard(self) -> None:
        """Delete it; the facts first, so that they never speak of another part."""
        for path in (self.facts, self.path):
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give it its name, once it is on the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.destination)
        with contextlib.suppress(OSError):
            self.facts.unlink()


def _read(facts: dict[str, Any]) -> Origin:
    """Raises ValueError, KeyError or TypeError where the facts are not such."""
    origin = Origin(facts["url"], facts["validator"], facts["total"])
    total = isinstance(origin.total, int) or origin.total is None
    if not (isinstance(origin.url, str) and isinstance(origin.validator, str) and total):
        raise ValueError("not the facts of a part")
    return origin
