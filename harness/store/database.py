"""The store: every number the harness has measured, in SQLite or any database that SQLAlchemy speaks to.

Work is kept as chunks: the moments of one trial's features over a run of seeds. A chunk is claimed by a leased row
before it is computed, so that several processes can share a store, and no chunk is computed twice. Results (one row per
trial and number of seeds) are merges of chunks. Arrays are files beside the database, named by chunk key.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from harness.core.errors import InputError
from harness.store import tables
from harness.store.arrays import ArrayFiles
from harness.store.chunk import Chunk, covering, named
from harness.store.connection import open_database, parse_url, sqlite_file
from harness.store.leases import LEASE_SECONDS, OUTLIVING, LeaseWatch, Owner, is_stale, outliving
from harness.store.location import DEFAULT_STORE, is_url

if TYPE_CHECKING:
    import numpy as np

TRIES = 10
PORTION = 500
"""Rows of a transaction, and of a reader's memory, where there are many."""

RESULT_KEY = ("fingerprint", "extractor", "reference", "first_seed", "n")
"""Columns that tell results apart."""


class Store:
    """An open store.

    Args:
        url: path of an SQLite file, or an SQLAlchemy URL; None for `results/harness.sqlite`.
        files: folder of the arrays; None for `files` beside the SQLite file.
        create: make the store if there is none; otherwise a missing one is an error.
        read_only: change nothing, and take a store of an earlier schema as it is; a missing one is an error.

    Attributes:
        notes: what opening changed, in words: an earlier schema brought up.

    Raises:
        NoStoreError: there is none, and it is not to be made.
        InputError: the database cannot be opened, is another program's or of a later schema, or a URL came without
            `files`.
    """

    def __init__(
        self,
        url: str | None = None,
        files: Path | str | None = None,
        create: bool = True,
        read_only: bool = False,
    ) -> None:
        url = url or DEFAULT_STORE
        if is_url(url) and files is None and not url.startswith("sqlite:///"):
            raise InputError("a store that is not an SQLite file needs --files DIR, a folder that all processes share")
        self._url, self.read_only = parse_url(url), read_only
        beside = self.path.parent if self.path else Path()
        self.files = ArrayFiles(Path(files) if files else beside / "files")
        self.owner = Owner.this()
        self.is_alive: Callable[[str, str], bool] = lambda executor, handle: False
        self.watch = LeaseWatch()
        opened = open_database(self._url, self.name, create, read_only)
        self.engine, self.notes, self._lacking = opened

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for another database."""
        return sqlite_file(self._url)

    @property
    def url(self) -> sa.URL:
        """Where the store is, any password included; not for people."""
        return self._url

    @property
    def name(self) -> str:
        """Where the store is, without any password."""
        return self._url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Release the claims of this process and the connections."""
        if not self.read_only:
            self.release()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Chunks -----------------------------------------------------------------------------------------------------------

    def chunks(self, extractor: str | Sequence[str], fingerprints: list[str] | None = None) -> list[dict[str, Any]]:
        """Chunk rows under an extractor or any of several, by seed; of all trials or some."""
        table = tables.chunks
        rows: list[dict[str, Any]] = []
        names = [extractor] if isinstance(extractor, str) else list(extractor)
        for part in _portions(fingerprints):
            query = sa.select(table).where(table.c.extractor.in_(names))
            query = query if part is None else query.where(table.c.fingerprint.in_(part))
            rows += self.rows(query.order_by(table.c.fingerprint, table.c.first_seed))
        return rows

    def claim(self, chunk: Chunk, retry_failed: bool = False, within: tuple[int, int] | None = None) -> bool:
        """Take a chunk for this process: False if another has it, or it is done or failed.

        A claim whose process is gone, or that was seen unchanged for as long as a lease, is taken over.

        Args:
            chunk: which.
            retry_failed: take one that failed.
            within: first and last seed that are wanted: a chunk is not taken that became part of a larger one of these
                seeds. None for any.
        """
        table = tables.chunks
        claim: dict[str, Any] = {"status": "claimed", "reason": None, "step": None}
        claim |= {"owner": str(self.owner), "expires": time.time() + LEASE_SECONDS}
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(table).values(claim | named(chunk)))
                covered = connection.scalar(sa.select(table.c.id).where(covering(chunk, within)).limit(1)) is not None
                if covered:  # by chunks that were merged meanwhile
                    connection.execute(sa.delete(table).where(table.c.key == chunk.key))
            return not covered
        except IntegrityError:
            pass
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(table).where(table.c.key == chunk.key)).mappings().one_or_none()
            if row is None:
                return False
            free = row["status"] == "failed" and retry_failed
            free |= row["status"] == "claimed" and self.lapsed(dict(row))
            if not free:
                return False
            unchanged = sa.and_(*(table.c[name] == row[name] for name in ("status", "owner", "expires")))
            done = connection.execute(sa.update(table).where((table.c.key == chunk.key) & unchanged).values(claim))
            return done.rowcount == 1

    def lapsed(self, row: Mapping[str, Any]) -> bool:
        """Whether a claim may be taken over."""
        return self.watch.lapsed(row, self.is_alive)

    def hand_over(self, chunks: Iterable[Chunk], executor: str, handle: str) -> None:
        """Make claims of this process those of work that goes on without it.

        Args:
            chunks: which were claimed.
            executor: name of the executor that has the work.
            handle: by which the executor finds the work.
        """
        for chunk in chunks:
            mine = (tables.chunks.c.key == chunk.key) & (tables.chunks.c.owner == str(self.owner))
            self.write(sa.update(tables.chunks).where(mine).values(owner=outliving(executor, handle)))

    def renew(self) -> None:
        """Extend the leases of this process's claims."""
        self.write(sa.update(tables.chunks).where(self._mine()).values(expires=time.time() + LEASE_SECONDS))

    def release(self) -> None:
        """Give back the claims of this process that were not finished."""
        with contextlib.suppress(SQLAlchemyError):
            self.write(sa.delete(tables.chunks).where(self._mine()))

    def _mine(self, handed_over: bool = False) -> sa.ColumnElement[bool]:
        """The claims of this process, and if so asked those of work that goes on without its process."""
        table = tables.chunks
        ours = table.c.owner == str(self.owner)
        ours = ours | table.c.owner.startswith(OUTLIVING) if handed_over else ours
        return (table.c.status == "claimed") & ours

    def finish(self, chunk: Chunk, arrays: "Mapping[str, np.ndarray]", info: Mapping[str, Any]) -> None:
        """Store a chunk's moments: the file first, then the row that vouches for it.

        The claim may have lapsed and be gone. The work is kept then, unless a larger chunk has its seeds by now.
        """
        table, values = tables.chunks, {"status": "done", "expires": None, "info": dict(info)}
        values["sha256"] = self.files.write(chunk.key, arrays)
        with self.engine.begin() as connection:
            if connection.execute(sa.update(table).where(table.c.key == chunk.key).values(values)).rowcount:
                return
            if connection.scalar(sa.select(table.c.id).where(covering(chunk)).limit(1)) is None:
                connection.execute(sa.insert(table).values(named(chunk) | values))
                return
        self.files.remove(chunk.key)

    def merge(
        self, parts: Sequence[Mapping[str, Any]], arrays: "Mapping[str, np.ndarray]", info: Mapping[str, Any]
    ) -> bool:
        """Put one chunk in the place of finished ones that follow each other.

        Args:
            parts: their rows, at least two, by seed.
            arrays: of all of them together.
            info: of all of them together.

        Returns:
            Whether that was done; not, if another process was there first.
        """
        table, first, last = tables.chunks, parts[0], parts[-1]
        whole = Chunk(first["fingerprint"], first["first_seed"], last["last_seed"], first["extractor"])
        keys = [row["key"] for row in parts]
        parted = table.c.key.in_(keys) & (table.c.status == "done")
        try:
            with self.engine.begin() as connection:
                if connection.execute(sa.delete(table).where(parted)).rowcount != len(keys):
                    connection.rollback()
                    return False
                connection.execute(sa.insert(table).values({**named(whole), "status": "done", "info": dict(info)}))
                # The file comes last, when no other process can be writing it, nor have a row that vouches for it.
                sha256 = self.files.write(whole.key, arrays)
                connection.execute(sa.update(table).where(table.c.key == whole.key).values(sha256=sha256))
        except IntegrityError:
            return False
        for key in keys:
            self.files.remove(key)
        return True

    def fail(self, chunk: Chunk, reason: str, step: int | None, info: Mapping[str, Any]) -> bool:
        """Record that a chunk could not be computed, and why; False if its claim is another's by now."""
        values = {"status": "failed", "reason": reason, "step": step, "info": dict(info), "expires": None}
        same = self._mine(handed_over=True) & (tables.chunks.c.key == chunk.key)
        with self.engine.begin() as connection:
            return connection.execute(sa.update(tables.chunks).where(same).values(values)).rowcount == 1

    def give_back(self, chunk: Chunk) -> None:
        """Let a claimed chunk be computed by whoever wants it next."""
        same = self._mine(handed_over=True) & (tables.chunks.c.key == chunk.key)
        self.write(sa.delete(tables.chunks).where(same))

    def forget(
        self,
        extractor: str,
        fingerprints: list[str],
        pictures: Iterable[str] = (),
        sources: Sequence[str] | None = None,
    ) -> None:
        """Drop the chunks, results and pictures of some trials, so that they are computed again (`--force`)."""
        for row in self.chunks(extractor if sources is None else sources, fingerprints):
            self.write(sa.delete(tables.chunks).where(tables.chunks.c.key == row["key"]))
            self.files.remove(row["key"])
        results, images = tables.results, tables.images
        for part in _portions(fingerprints):
            mine = results.c.fingerprint.in_(part or []) & (results.c.extractor == extractor)
            self.write(sa.delete(results).where(mine))
        for part in _portions(list(pictures)):
            self.write(sa.delete(images).where(images.c.fingerprint.in_(part or [])))

    def drop_lost(self, extractor: str | Sequence[str], fingerprints: list[str]) -> int:
        """Drop finished chunks whose file is gone, so that they are computed again; returns how many there were."""
        table, lost = tables.chunks, 0
        for row in self.chunks(extractor, fingerprints):
            if row["status"] == "done" and not self.files.has(row["key"]):
                with self.engine.begin() as connection:  # another process may have merged it meanwhile
                    lost += connection.execute(sa.delete(table).where(table.c.key == row["key"])).rowcount
        return lost

    def lost_files(self, count: int) -> str:
        """What is said of chunks that `drop_lost` dropped."""
        return f"{count:,} chunks have no file in {self.files.folder}, and are computed again"

    def check_files(self) -> None:
        """Stop where the folder of arrays is away: none of the finished chunks has its file.

        Raises:
            InputError: with the folder.
        """
        table, count = tables.chunks, 0
        for row in self.stream(sa.select(table.c.key).where(table.c.status == "done")):
            if self.files.has(row["key"]):
                return
            count += 1
        if count:
            raise InputError(
                f"{self.files.folder}: none of the files of the {count:,} finished chunks of this store is there; "
                "is the folder mounted? Give --files DIR for another one; `harness run --force` computes a grid again"
            )

    def all_chunks(self) -> list[dict[str, Any]]:
        """Every chunk row."""
        return self.rows(sa.select(tables.chunks))

    def drop_chunk(self, key: str) -> None:
        """Drop a chunk and its file."""
        self.write(sa.delete(tables.chunks).where(tables.chunks.c.key == key))
        self.files.remove(key)

    def drop_claims(self, dry_run: bool = False) -> int:
        """Drop claims whose process is gone, and those of a day ago; returns how many there were."""
        claims = [row for row in self.all_chunks() if row["status"] == "claimed"]
        old = [row["key"] for row in claims if is_stale(row, self.is_alive)]
        for part in [] if dry_run else _portions(old):
            self.write(sa.delete(tables.chunks).where(tables.chunks.c.key.in_(part or [])))
        return len(old)

    def keys_in_facts(self) -> set[str]:
        """Keys of array files that facts refer to."""
        rows = self.rows(sa.select(tables.facts.c.value))
        return {str(row["value"]["key"]) for row in rows if isinstance(row["value"], dict) and "key" in row["value"]}

    def moments(self, row: Mapping[str, Any]) -> "dict[str, np.ndarray]":
        """The arrays of a finished chunk row."""
        return self.files.read(row["key"], row["sha256"])

    # Results, grids, facts, images ------------------------------------------------------------------------------------

    def put_result(self, row: Mapping[str, Any]) -> None:
        """Write one trial's result at its number of seeds, in place of an earlier one."""
        key = {name: row[name] for name in RESULT_KEY}
        self.replace(tables.results, key, {**row, "finished_at": now()})

    def results(self, fingerprints: list[str] | None = None) -> list[dict[str, Any]]:
        """Result rows, in the order in which they were made; of all trials or some."""
        table = tables.results
        rows: list[dict[str, Any]] = []
        for part in _portions(fingerprints):
            query = self.select(table)
            rows += self.rows(query if part is None else query.where(table.c.fingerprint.in_(part)))
        return sorted(rows, key=lambda row: row["id"])

    def results_of_network(self, weights: str, count: int) -> list[dict[str, Any]]:
        """The latest finished results of a network, at most so many, the newest first.

        Args:
            weights: the network's identity, as trials have it.
            count: how many at most.
        """
        table = tables.results
        mine = (table.c.trial["weights"].as_string() == weights) & (table.c.status == "done")
        return self.rows(self.select(table).where(mine).order_by(table.c.id.desc()).limit(count))

    def put_grid(self, name: str, plan: Mapping[str, Any], updated_at: str | None = None) -> None:
        """Remember what a grid consists of, for the report; it was worked on just now, or at a time that is given."""
        self.replace(tables.grids, {"name": name}, {"plan": dict(plan), "updated_at": updated_at or moment()})

    def grid(self, name: str) -> dict[str, Any] | None:
        """The plan stored for a grid."""
        rows = self.rows(sa.select(tables.grids.c.plan).where(tables.grids.c.name == name))
        return rows[0]["plan"] if rows else None

    def grid_names(self) -> list[str]:
        """All grids that were run, the latest first."""
        rows = self.rows(sa.select(tables.grids.c.name).order_by(tables.grids.c.updated_at.desc()))
        return [row["name"] for row in rows]

    def put_fact(self, key: str, value: Any) -> None:
        """Keep something that is computed once a store: floors, facts of references, levels found."""
        self.replace(tables.facts, {"key": key}, {"value": value})

    def fact(self, key: str) -> Any:
        """A stored fact, or None."""
        rows = self.rows(sa.select(tables.facts.c.value).where(tables.facts.c.key == key))
        return rows[0]["value"] if rows else None

    def put_image(self, fingerprint: str, first_seed: int, count: int, png: bytes) -> None:
        """Keep a PNG: a mosaic of a trial's first images under its fingerprint, or a measure's under its own."""
        self.replace(
            tables.images, {"fingerprint": fingerprint, "first_seed": first_seed}, {"count": count, "png": png}
        )

    def images(self, fingerprints: list[str], first_seed: int) -> dict[str, bytes]:
        """PNG mosaics by fingerprint."""
        table, pictures = tables.images, {}
        for part in _portions(fingerprints):
            query = sa.select(table).where(table.c.fingerprint.in_(part or []) & (table.c.first_seed == first_seed))
            pictures.update({row["fingerprint"]: row["png"] for row in self.rows(query)})
        return pictures

    def replace(self, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Write a row in place of the one under its key; of processes that do so at the same time, the last stays."""
        same = sa.and_(*(table.c[name] == value for name, value in key.items()))
        for attempt in range(TRIES):
            try:
                with self.engine.begin() as connection:
                    connection.execute(sa.delete(table).where(same))
                    connection.execute(sa.insert(table).values({**key, **values}))
                return
            except IntegrityError:  # another process wrote it between the two
                if attempt == TRIES - 1:
                    raise

    def write(self, statement: Any) -> None:
        """Execute a statement in a transaction of its own."""
        with self.engine.begin() as connection:
            connection.execute(statement)

    def select(self, table: sa.Table, names: Iterable[str] | None = None) -> sa.Select[Any]:
        """A query for all columns of a table, or those of these names; what an earlier schema lacks is null."""
        asked = table.columns if names is None else [table.c[name] for name in names]
        columns = (sa.null().label(one.name) if str(one) in self._lacking else one for one in asked)
        return sa.select(*columns).select_from(table)

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """The rows of a query; none of a table that an earlier schema lacks."""
        return list(self.stream(query))

    def stream(self, query: sa.Select[Any]) -> Iterator[dict[str, Any]]:
        """The same, a portion in memory at a time."""
        if not self._lacking.isdisjoint(str(table) for table in query.get_final_froms()):
            return
        with self.engine.connect().execution_options(yield_per=PORTION) as connection:
            for row in connection.execute(query).mappings():
                yield dict(row)


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment() -> str:
    """The time in UTC, to the microsecond, ISO 8601: what was worked on last is told by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _portions(fingerprints: list[str] | None, size: int = PORTION) -> Iterator[list[str] | None]:
    """None as it is, or lists short enough for one IN clause."""
    if fingerprints is None:
        yield None
        return
    for start in range(0, len(fingerprints), size):
        yield fingerprints[start : start + size]
