"""Taking a grid or a search out of a store, with or without the results that no other one needs."""

from typing import NamedTuple

import sqlalchemy as sa

from harness.store import tables
from harness.store.database import Store
from harness.store.names import Named, fingerprints_of
from harness.store.studies import Studies


class Forgotten(NamedTuple):
    """What was taken out.

    Args:
        own: trials that no other grid or search of the store has.
        results: their results that were dropped.
        chunks: their chunks that were dropped.
    """

    own: int
    results: int
    chunks: int


def forget(store: Store, named: Named, with_results: bool = False) -> Forgotten:
    """Take a grid or a search out of a store.

    Args:
        store: where it is.
        named: which.
        with_results: drop the results, chunks and pictures of trials that no other grid or search has, too.
    """
    grids, studies = store.grid_names(), Studies(store)
    everything = [Named("grid", name) for name in grids] + [Named("search", name) for name in studies.names()]
    others = {key for other in everything if other != named for key in fingerprints_of(store, other)}
    own = [key for key in fingerprints_of(store, named) if key not in others]
    dropped = _drop_results(store, named, own) if with_results else (0, 0)
    if named.kind == "grid":
        store.write(sa.delete(tables.grids).where(tables.grids.c.name == named.name))
    else:
        studies.forget(named.name)
    return Forgotten(len(own), *dropped)


def _drop_results(store: Store, named: Named, fingerprints: list[str]) -> tuple[int, int]:
    """Drop what is stored of trials; chunks that a process is at work on stay."""
    wanted, chunks = set(fingerprints), 0
    for row in store.all_chunks():
        if row["fingerprint"] in wanted and not (row["status"] == "claimed" and not store.lapsed(row)):
            store.drop_chunk(row["key"])
            chunks += 1
    results = len(store.results(fingerprints))
    plan = (store.grid(named.name) or {}) if named.kind == "grid" else {}
    pictures = {
        picture
        for metric in plan.get("metrics", ())
        for key, names in (metric.get("pictures") or {}).items()
        if key in wanted
        for picture in names.values()
    }
    for table, keys in ((tables.results, wanted), (tables.images, wanted | pictures)):
        for key in sorted(keys):
            store.write(sa.delete(table).where(table.c.fingerprint == key))
    return results, chunks
