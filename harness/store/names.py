"""What the grids and searches of a store are called.

A grid is its file: run again it replaces itself, also when it was edited, or moved and not edited. Its name is the
file's without the suffix. Where two files have one name, the second is kept under a longer one, `folder/name`. A grid
is found by its name or by any end of its path that no other grid shares.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from harness.core.errors import InputError
from harness.experiments.grid_files import PACKAGE, SUFFIXES, grid_name, place_of
from harness.store import tables
from harness.store.database import Store
from harness.store.studies import Studies

LONGEST = 180
"""Letters of a name as it is; a longer one ends in a hash."""


class GridEntry(NamedTuple):
    """A grid of a store.

    Args:
        name: its key in the store.
        title: what it says of itself.
        place: of its file: below the package, relative to the store's folder, or absolute; "" in older stores.
        source: the file's text.
        updated_at: when it was worked on last.
    """

    name: str
    title: str
    place: str
    source: str
    updated_at: str

    def answers(self, wanted: str) -> bool:
        """Whether something wanted is its name, or the end of its path with or without the suffix."""
        bare = _without_suffix(wanted)
        if not self.place:
            return self.name in (wanted, shortened(wanted), PurePosixPath(bare).name)
        parts = tuple(part for part in PurePosixPath(wanted).parts if part not in ("/", "..", "."))
        ends = (PurePosixPath(path).parts[-len(parts) :] for path in (self.place, _without_suffix(self.place)))
        return self.name == wanted or (bool(parts) and parts in ends)


class Named(NamedTuple):
    """A grid or a search, by its key in the store."""

    kind: Literal["grid", "search"]
    name: str


def grid_entries(store: Store) -> list[GridEntry]:
    """The grids of a store, the latest first."""
    plan = tables.grids.c.plan
    texts = [plan[key].as_string().label(key) for key in ("title", "place", "source")]
    table = tables.grids.c
    query = sa.select(table.name, *texts, table.updated_at).order_by(table.updated_at.desc(), table.name)
    return [GridEntry(*(row[key] or "" for key in GridEntry._fields)) for row in store.rows(query)]


def keep_grid(store: Store, record: Mapping[str, Any], updated_at: str | None = None) -> tuple[str, str]:
    """Keep a plan's record for the report, in place of an earlier one of the same file.

    Args:
        store: where to.
        record: see `execution/plan_record`.
        updated_at: when it was worked on; None for now.

    Returns:
        The name that it has in the store, and what is to be said of it; "" for nothing.
    """
    place = _place(store, str(record.get("place") or ""))
    name, note = _name(grid_entries(store), record, place)
    store.put_grid(name, {**record, "name": name, "place": place}, updated_at)
    return name, note


def _name(every: Sequence[GridEntry], record: Mapping[str, Any], place: str) -> tuple[str, str]:
    """The key of a grid: its own from before, a free one, or that of one which nobody knows the file of."""
    stem, path, source = shortened(record["name"]), str(record.get("place") or ""), record["source"]
    same = [each for each in every if place and each.place == place]
    same += [each for each in every if each.source == source and PurePosixPath(each.name).name == stem]
    if same:
        return same[0].name, ""
    taken = {each.name: each for each in every}
    other = taken.get(stem)
    if other is None:
        return stem, ""
    if not place or not other.place:
        return stem, f"another grid '{stem}' ('{other.title}') was in the store, and is replaced"
    parts = PurePosixPath(_without_suffix(path)).parts[1:]
    longer = ["/".join(parts[-count:]) for count in range(2, len(parts) + 1)] + [path]
    free = next(shortened(each) for each in longer if shortened(each) not in taken)
    return free, f"another grid '{stem}' ('{other.title}', {other.place}) is in the store; this one is kept as '{free}'"


def find_in_store(store: Store, wanted: str) -> str:
    """The key of a grid by its name, an end of its path, or its file.

    Raises:
        InputError: there is none, or there are several; with the names that tell them apart.
    """
    every = grid_entries(store)
    found = _matching(store, every, wanted)
    if not found:
        known = ", ".join(_handle(each, every) for each in every) or "none yet"
        raise InputError(f"{store.name}: no grid '{wanted}' was run into this store; it has: {known}")
    if len(found) > 1:
        told = ", ".join(f"{_handle(each, every)} ('{each.title}')" for each in found)
        raise InputError(f"{store.name}: '{wanted}' is the name of {len(found)} grids: {told}; give one of these")
    return found[0].name


def find_named(store: Store, wanted: str, is_search: bool = False) -> Named:
    """A grid or a search by its name.

    Args:
        store: where they are.
        wanted: a name.
        is_search: take a search, whatever grids there are.

    Raises:
        InputError: there is none, or there are several.
    """
    every, studies = grid_entries(store), Studies(store).names()
    found = [] if is_search else _matching(store, every, wanted)
    if found and wanted in studies:
        raise InputError(
            f"{store.name}: '{wanted}' is a grid and a search; give {found[0].name}.yaml for the grid, or --search"
        )
    if found:
        return Named("grid", find_in_store(store, wanted))
    if wanted in studies:
        return Named("search", wanted)
    lists = [("", [] if is_search else [_handle(each, every) for each in every]), ("searches: ", studies)]
    known = "; ".join(kind + ", ".join(names) for kind, names in lists if names) or "none yet"
    what = "search" if is_search else "grid or search"
    raise InputError(f"{store.name}: no {what} '{wanted}' was run into this store; it has: {known}")


def fingerprints_of(store: Store, named: Named) -> list[str]:
    """The trials of a grid or a search, each once, those on fresh seeds among them."""
    if named.kind == "grid":
        names = [item["fingerprint"] for item in (store.grid(named.name) or {}).get("items", ())]
    else:
        studies = Studies(store)
        finals = (studies.find(named.name) or {}).get("finals") or ()
        names = [one["fingerprint"] for one in (*studies.slots(named.name), *finals) if one["fingerprint"]]
    return list(dict.fromkeys(names))


def latest(store: Store) -> Named | None:
    """The grid or the search that was worked on last; None in an empty store."""
    queries = {"grid": tables.grids, "search": tables.studies}
    rows = [
        (row["updated_at"], Named(kind, row["name"]))  # type: ignore[arg-type]
        for kind, table in queries.items()
        for row in store.rows(sa.select(table.c.name, table.c.updated_at))
    ]
    return max(rows)[1] if rows else None


def shortened(name: str) -> str:
    """A name that every database and every file system takes: a long one loses its end and gets a hash instead."""
    if len(name.encode()) <= LONGEST:
        return name
    start = name.encode()[: LONGEST - 9].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _matching(store: Store, every: Sequence[GridEntry], wanted: str) -> list[GridEntry]:
    path = Path(wanted)
    if path.suffix in SUFFIXES and path.is_file():  # a file that is here is itself, and no other of its name
        place, text = _place(store, place_of(path)), path.read_text(encoding="utf-8", errors="replace")
        own = [each for each in every if each.place == place]
        alike = [each for each in every if each.source == text or not each.place]
        return own or _answering(alike, path.name)
    return _answering(every, wanted)


def _answering(every: Sequence[GridEntry], wanted: str) -> list[GridEntry]:
    """The grids of a name. A whole place, and a name with a folder in it that a run gave, are one grid's alone."""
    exact = [each for each in every if each.place and wanted in (each.place, _without_suffix(each.place))]
    exact += [each for each in every if "/" in wanted and wanted == each.name and each not in exact]
    return exact or [each for each in every if each.answers(wanted)]


def _handle(entry: GridEntry, every: Sequence[GridEntry]) -> str:
    """The shortest name that only this grid answers to."""
    parts = PurePosixPath(_without_suffix(entry.place)).parts
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
    unique = (end for end in [*ends, entry.name, entry.place] if _answering(every, end) == [entry])
    return entry.name if not entry.place else next(unique, entry.name)


def _place(store: Store, place: str) -> str:
    """A place relative to the folder of the store's file, so that both can move together."""
    if store.path is None or not place or place.startswith(PACKAGE) or not Path(place).is_absolute():
        return place
    return Path(os.path.relpath(place, store.path.resolve().parent)).as_posix()


def absolute_place(store: Store, place: str) -> str:
    """A place as it is from anywhere: what `_place` made, undone."""
    if store.path is None or not place or place.startswith(PACKAGE) or Path(place).is_absolute():
        return place
    return os.path.normpath(store.path.resolve().parent / place)


def _without_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_name(grid_name(Path(path)))) if PurePosixPath(path).name else path
