"""The tables of a store: made where they are missing, and brought up from an earlier schema."""

import contextlib
import time

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from harness.store import tables

EARLIER = ("1",)
"""Schema versions that can be read as they are, and brought up."""


def make_tables(engine: sa.Engine, attempts: int = 10) -> None:
    """Make the tables that are not there and note the schema version; another process may be doing the same."""
    for attempt in range(attempts):
        try:
            tables.metadata.create_all(engine)
            break
        except (OperationalError, ProgrammingError, IntegrityError):  # the last is what PostgreSQL calls it
            if attempt == attempts - 1:
                raise
            time.sleep(0.1)
    schema = {"key": "schema", "value": str(tables.SCHEMA_VERSION)}
    with contextlib.suppress(IntegrityError), engine.begin() as connection:
        connection.execute(sa.insert(tables.meta).values(schema))


def schema_of(engine: sa.Engine) -> str | None:
    """The schema version that a database says it has."""
    with engine.connect() as connection:
        return connection.scalar(sa.select(tables.meta.c.value).where(tables.meta.c.key == "schema"))


def add_details(engine: sa.Engine) -> None:
    """Schema 1 lacks one column, which is empty for all that it holds; another process may be adding it too."""
    column = tables.results.c.details
    kind = column.type.compile(engine.dialect)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {tables.results.name} ADD COLUMN {column.name} {kind}"))
    except (OperationalError, ProgrammingError):
        if column.name not in {columns["name"] for columns in sa.inspect(engine).get_columns(tables.results.name)}:
            raise
    with engine.begin() as connection:
        same = tables.meta.c.key == "schema"
        connection.execute(sa.update(tables.meta).where(same).values(value=str(tables.SCHEMA_VERSION)))


def table_names(engine: sa.Engine) -> list[str]:
    """The tables of a database, whosever they are."""
    return sorted(sa.inspect(engine).get_table_names())


def lacking(engine: sa.Engine) -> frozenset[str]:
    """What a database of an earlier schema has not: names of tables, and of columns as `table.column`."""
    inspector, absent = sa.inspect(engine), set[str]()
    present = set(inspector.get_table_names())
    for table in tables.metadata.sorted_tables:
        if table.name not in present:
            absent.add(table.name)
            continue
        own = {column["name"] for column in inspector.get_columns(table.name)}
        absent |= {str(column) for column in table.columns if column.name not in own}
    return frozenset(absent)
