"""A chunk: a run of seeds of one trial, and what finds its rows."""

import hashlib
from typing import Any, NamedTuple

import sqlalchemy as sa

from harness.store import tables


class Chunk(NamedTuple):
    """A run of seeds of one trial under one feature extractor: first to last seed, both included."""

    fingerprint: str
    first: int
    last: int
    extractor: str

    @property
    def key(self) -> str:
        """SHA-256 of the four fields."""
        text = "\n".join([self.fingerprint, str(self.first), str(self.last), self.extractor])
        return hashlib.sha256(text.encode()).hexdigest()


def named(chunk: Chunk) -> dict[str, Any]:
    """The columns that say which chunk a row is of."""
    return {
        "key": chunk.key,
        "fingerprint": chunk.fingerprint,
        "first_seed": chunk.first,
        "last_seed": chunk.last,
        "extractor": chunk.extractor,
    }


def covering(chunk: Chunk, within: tuple[int, int] | None = None) -> sa.ColumnElement[bool]:
    """Finished chunks that hold all seeds of this one and more, but none outside of `within`."""
    table = tables.chunks
    same = (table.c.fingerprint == chunk.fingerprint) & (table.c.extractor == chunk.extractor)
    around = (table.c.first_seed <= chunk.first) & (table.c.last_seed >= chunk.last) & (table.c.key != chunk.key)
    inside = sa.true() if within is None else (table.c.first_seed >= within[0]) & (table.c.last_seed <= within[1])
    return same & around & inside & (table.c.status == "done")
