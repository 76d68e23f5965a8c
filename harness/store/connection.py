"""How a database is opened: to be written, or to be read, when nothing in it or beside it is made or changed.

SQLite keeps a write-ahead log and an index of it beside the database. A connection that may write removes both when it
ends, and one that may not leaves them behind. So a database is read by a connection that could write and is told not
to (`query_only`). Where the file or its folder cannot be written, it is read as it is (`immutable`), unless a log is
there, whose rows readers need.
"""

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from harness.core.errors import InputError
from harness.store import tables
from harness.store.location import NoStoreError, check_is_there, is_url
from harness.store.migrations import EARLIER, add_details, lacking, make_tables, schema_of, table_names

BUSY_MILLISECONDS = 30_000

REMEDIES = {
    "SQLITE_NOTADB": "give --store an SQLite file that `harness run` made",
    "SQLITE_CORRUPT": "take the file from a backup, or save what can be read with "
    "`sqlite3 FILE .recover | sqlite3 NEW.sqlite`, and give --store NEW.sqlite",
    "SQLITE_READONLY": "this command writes to the store; make the file and its folder writable, or give another "
    "--store",
    "SQLITE_CANTOPEN": "check the path and its permissions; if a file FILE-wal lies beside it, copy both to a folder "
    "that can be written",
    "SQLITE_BUSY": "another process is writing to it; try again",
}
"""By SQLite's name of an error."""

DAMAGE = ("SQLITE_NOTADB", "SQLITE_CORRUPT")


class OpenDatabase(NamedTuple):
    """A database with a store in it.

    Args:
        engine: its connections.
        notes: what opening changed, in words.
        lacking: tables, and columns as `table.column`, that its earlier schema has not.
    """

    engine: sa.Engine
    notes: list[str]
    lacking: frozenset[str]


def open_database(url: sa.URL, name: str, create: bool = True, read_only: bool = False) -> OpenDatabase:
    """Open a store's database; make its tables, and bring an earlier schema up, unless it is only read.

    Args:
        url: of the database.
        name: what messages call it.
        create: make the store where there is none.
        read_only: change nothing.

    Raises:
        NoStoreError: there is none, and it is not to be made.
        InputError: the database cannot be opened, or is of a later schema.
    """
    if read_only or not create:
        _check_is_there(url, name)
    else:
        _make_folder(url)
    engine, notes = connect(url, name, read_only), list[str]()
    try:
        if not read_only:
            make_tables(engine)
        schema = schema_of(engine)
        if schema in EARLIER and not read_only:
            add_details(engine)
            notes.append(
                f"{name}: the store of schema {schema} was brought to schema {tables.SCHEMA_VERSION}; earlier versions "
                "of the program do not read it"
            )
            schema = schema_of(engine)
        current = str(tables.SCHEMA_VERSION)
        # A store that another process is making says no version yet.
        if schema not in (current, *((*EARLIER, None) if read_only else ())):
            raise InputError(
                f"{name}: the store has schema version {schema} and this program reads {current}; use the version that "
                "made it, or another --store"
            )
        return OpenDatabase(engine, notes, frozenset() if schema == current else lacking(engine))
    except SQLAlchemyError as error:
        raise cannot_open(name, error) from None


def _make_folder(url: sa.URL) -> None:
    path = sqlite_file(url)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path.parent}: cannot make the store's folder ({error.strerror}); give another --store"
        ) from None


def _check_is_there(url: sa.URL, name: str) -> None:
    """Look into a database that is not to become a store."""
    path = sqlite_file(url)
    if path is not None:
        check_is_there(path)
    engine = connect(url, name, read_only=True)
    names = table_names(engine)
    engine.dispose()
    if tables.meta.name in names:
        return
    if names and path is not None:
        told = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise NoStoreError(
            f"{path}: is no store; its tables are another program's ({told}); give --store a file that `harness run` "
            "made",
            can_be_made=False,
        )
    raise NoStoreError(
        f"{name}: an empty database, and no store yet; `harness run GRID` makes one there, or give another --store"
    )


def parse_url(url: str) -> sa.URL:
    """The URL of a store's database: an SQLAlchemy URL as it is, anything else the path of an SQLite file.

    Raises:
        InputError: it looks like a URL and is none.
    """
    if not is_url(url):
        return sa.URL.create("sqlite", database=url)
    try:
        return sa.make_url(url)
    except SQLAlchemyError:
        raise InputError(
            "--store is neither a path nor an SQLAlchemy URL such as postgresql+psycopg://HOST/DB"
        ) from None


def sqlite_file(url: sa.URL) -> Path | None:
    """The file of an SQLite database, also of one that is named by SQLite's own `file:` URI; None for another one."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    is_uri = url.database.startswith("file:") and "uri" in url.query
    return Path(unquote(urlsplit(url.database).path) if is_uri else url.database)


def connect(url: sa.URL, name: str, read_only: bool = False) -> sa.Engine:
    """An engine whose database answers.

    Args:
        url: of the database.
        name: what messages call it.
        read_only: whether nothing is to be changed.

    Raises:
        InputError: the database cannot be opened, with its own words and a remedy. Later errors of a database that is
            read, or that is damaged, are InputErrors too.
    """
    path = sqlite_file(url)
    attempts = _readings(url, path) if read_only and path is not None else [url]
    for attempt in attempts:
        try:
            engine = sa.create_engine(attempt, execution_options={"postgresql_readonly": True} if read_only else {})
            if path is not None:
                sa.event.listen(engine, "connect", _read_sqlite if read_only else _write_sqlite)
            with engine.connect() as connection:
                if path is not None:
                    connection.execute(sa.text("SELECT name FROM sqlite_master LIMIT 1")).all()
            break
        except SQLAlchemyError as error:
            if attempt is attempts[-1]:
                raise cannot_open(name, error, path) from None
        except ImportError as error:
            raise InputError(f"{name}: the database's driver is not installed ({error.name})") from None

    def explain(context: sa.ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if isinstance(error, DBAPIError) and (read_only or _sqlite_name(error) in DAMAGE):
            raise InputError(f"{name}: the store cannot be read: {words(error)}{_remedy(error, path)}")

    sa.event.listen(engine, "handle_error", explain)
    return engine


def cannot_open(name: str, error: SQLAlchemyError, path: Path | None = None) -> InputError:
    """What is said of a database that cannot be opened."""
    if path is not None and path.is_dir():
        return InputError(f"{path}: is a folder; --store takes the SQLite file, such as {path / 'harness.sqlite'}")
    return InputError(f"{name}: cannot open the store: {words(error)}{_remedy(error, path)}")


def words(error: SQLAlchemyError) -> str:
    """The database's own words, without the statement and its parameters."""
    return str(error.orig).strip() if isinstance(error, DBAPIError) and error.orig else type(error).__name__


def _remedy(error: SQLAlchemyError, path: Path | None) -> str:
    told = REMEDIES.get(_sqlite_name(error), "")
    return f"; {told.replace('FILE', str(path))}" if told else ""


def _sqlite_name(error: SQLAlchemyError) -> str:
    """SQLite's name of an error, such as SQLITE_CORRUPT, without what it is about; "" for another database."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", None) or ""
    return "_".join(name.split("_")[:2])


def _readings(url: sa.URL, path: Path) -> list[sa.URL]:
    """The ways to open a file for reading, the first that works to be taken."""
    own = {key: value for key, value in url.query.items() if key not in ("mode", "immutable", "uri")}
    logs = [Path(f"{path}-wal"), Path(f"{path}-shm")]
    is_quiet = not any(log.exists() and log.stat().st_size for log in logs)
    can_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    modes = [{"mode": "rw"}] if can_write and url.query.get("immutable") != "1" else []
    modes += [{"mode": "ro", "immutable": "1"}] if is_quiet else [{"mode": "ro"}]
    database = path.absolute().as_uri()
    return [sa.URL.create("sqlite", database=database, query={**own, **mode, "uri": "true"}) for mode in modes]


def _read_sqlite(connection: Any, _: Any) -> None:
    _execute(connection, f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}", "PRAGMA query_only = ON")


def _write_sqlite(connection: Any, _: Any) -> None:
    """Wait for other writers instead of failing at once; a write-ahead log lets readers go on meanwhile."""
    _execute(connection, f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    with contextlib.suppress(Exception):
        _execute(connection, "PRAGMA journal_mode = WAL")


def _execute(connection: Any, *statements: str) -> None:
    cursor = connection.cursor()
    try:
        for statement in statements:
            cursor.execute(statement)
    finally:
        cursor.close()
