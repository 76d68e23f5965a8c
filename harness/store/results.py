"""Many result rows at once: written a portion a transaction, and read a portion in memory at a time."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from harness.store import tables
from harness.store.database import PORTION, RESULT_KEY, TRIES, Store, now


def put_results(store: Store, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write many results, as `Store.put_result` does one; returns how many there were."""
    table, written, waiting = tables.results, 0, iter(rows)
    same = sa.and_(*(table.c[name] == sa.bindparam(f"of_{name}") for name in RESULT_KEY))
    while portion := list(itertools.islice(waiting, PORTION)):
        keys = [{f"of_{name}": row[name] for name in RESULT_KEY} for row in portion]
        # One statement for all of a portion: rows name the same columns then, the absent ones empty.
        columns = dict.fromkeys(name for row in portion for name in row)
        filled = [{name: row.get(name) for name in columns} | {"finished_at": now()} for row in portion]
        _replace(store, sa.delete(table).where(same), keys, sa.insert(table), filled)
        written += len(portion)
    return written


def _replace(
    store: Store, delete: sa.Delete, keys: list[dict[str, Any]], insert: sa.Insert, rows: list[dict[str, Any]]
) -> None:
    """Write rows in place of those under their keys; see `Store.replace`."""
    for attempt in range(TRIES):
        try:
            with store.engine.begin() as connection:
                connection.execute(delete, keys)
                connection.execute(insert, rows)
            return
        except IntegrityError:  # another process wrote one of them between the two
            if attempt == TRIES - 1:
                raise


def result_count(store: Store) -> int:
    """How many result rows there are."""
    (row,) = store.rows(sa.select(sa.func.count().label("count")).select_from(tables.results))
    return int(row["count"])


def stream_results(store: Store, columns: Iterable[str], latest: int | None = None) -> Iterator[dict[str, Any]]:
    """Result rows in the order in which they were made, a portion in memory at a time.

    Args:
        store: where they are.
        columns: names of those that are read: replicates and provenance are most of a row, and few readers need them.
        latest: only so many, the last ones; None for all.
    """
    table = tables.results
    query = store.select(table, columns).order_by(table.c.id)
    if latest is not None:
        first = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1).offset(max(latest, 1) - 1)
        query = query.where(table.c.id >= sa.func.coalesce(first.scalar_subquery(), 0))
    yield from store.stream(query)
