"""What another store holds, taken into this one: finished work by what it is of, with what does not agree named.

A number is the same in two stores where it was computed of the same trial, seeds and extractor. What both have stays as
it is here. Where they differ by more than rounding, that is a conflict: it is named, and what is here is kept. Failures
and claims are left where they are.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from harness.core.errors import InputError
from harness.store import tables
from harness.store.database import Store
from harness.store.names import absolute_place, grid_entries, keep_grid
from harness.store.studies import RUNNING, Studies

ROUNDING = 1e-9
"""Of a number's size: what another machine may change."""

RESULT_KEY = ("fingerprint", "extractor", "reference", "first_seed", "n")


class Merged(NamedTuple):
    """What was taken, or would be.

    Args:
        chunks, results, grids, searches: how many of each.
        others: facts and pictures.
        conflicts: what differs and what cannot be read, in words; none of it was taken.
        notes: what else is to be said.
    """

    chunks: int
    results: int
    grids: int
    searches: int
    others: int
    conflicts: list[str]
    notes: list[str]


def merge_stores(store: Store, other: Store, dry_run: bool = False) -> Merged:
    """Take everything from another store that this one lacks.

    Args:
        store: is added to.
        other: is only read.
        dry_run: change nothing; say what would be done.

    Raises:
        InputError: both are one store, or the folder of files of one of them is away.
    """
    if store.name == other.name or (store.path and other.path and store.path.samefile(other.path)):
        raise InputError(f"{other.name}: is the store itself; give another one")
    store.check_files()
    other.check_files()
    merge = _Merge(store, other, dry_run)
    counts = (merge.chunks(), merge.results(), merge.grids(), merge.searches(), merge.others())
    return Merged(*counts, merge.conflicts, merge.notes)


class _Merge:
    """One store on its way into another."""

    def __init__(self, store: Store, other: Store, dry_run: bool) -> None:
        self.store, self.other, self.dry_run = store, other, dry_run
        self.conflicts: list[str] = []
        self.notes: list[str] = []
        self.apart: dict[str, set[str]] = {}
        """Extractors under which the chunks of a trial differ: results go with the chunks that they are of."""

    def chunks(self) -> int:
        """Finished chunks with their files."""
        have: dict[str, dict[str, Any]] = {}
        whole: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for row in self.store.all_chunks():
            have[row["key"]] = row
            if row["status"] == "done":
                whole.setdefault(_trial(row), []).append((row["first_seed"], row["last_seed"]))
        taken = 0
        for row in self.other.all_chunks():
            mine = have.get(row["key"])
            if row["status"] != "done" or (mine and mine["status"] == "claimed" and not self.store.lapsed(mine)):
                continue
            if mine and mine["status"] == "done":
                if mine["sha256"] != row["sha256"] and not self._same_arrays(mine, row):
                    self._conflict(row, row["last_seed"], "the arrays differ")
                    self.apart.setdefault(row["fingerprint"], set()).add(row["extractor"])
                continue
            first, last = row["first_seed"], row["last_seed"]
            is_here = any(one[0] <= first and one[1] >= last for one in whole.get(_trial(row), ()))
            if not is_here and self._copy_file(row["key"], row["sha256"]):
                taken += self._put(tables.chunks, row, ("key",))
        return taken

    def results(self) -> int:
        """Results of trials whose chunks do not differ."""
        have, taken = {_key(row): row for row in self.store.results()}, 0
        for row in self.other.results():
            mine, apart = have.get(_key(row)), self.apart.get(row["fingerprint"], ())
            if row["status"] != "done":
                continue
            if mine and mine["status"] == "done":
                if not all(_alike(mine[name], row[name]) for name in ("value", "low", "high")):
                    what = f"{row['metric']} is {mine['value']:.6g} here and {row['value']:.6g} there"
                    self._conflict(row, row["first_seed"] + row["n"] - 1, what)
            elif not any(f"{name}+".startswith(f"{row['extractor']}+") for name in apart):
                taken += self._put(tables.results, row, RESULT_KEY)
        return taken

    def grids(self) -> int:
        """Plans; one of the same file, or of no known file and the same name, has to have the same trials."""
        mine, taken = grid_entries(self.store), 0
        for theirs in reversed(grid_entries(self.other)):  # of two with one name the first has it, as there
            plan, place = self.other.grid(theirs.name) or {}, absolute_place(self.other, theirs.place)
            name = theirs.name.rpartition("/")[2]
            same = [each for each in mine if each.source == theirs.source and each.name.rpartition("/")[2] == name]
            same += [each for each in mine if place and absolute_place(self.store, each.place) == place]
            same += [each for each in mine if each.name == name and not (place and each.place)]
            if same:
                if _trials(self.store.grid(same[0].name) or {}) != _trials(plan):
                    self.conflicts.append(f"grid '{theirs.name}' has other trials there; what is here stays")
                continue
            taken += 1
            if not self.dry_run:
                _, note = keep_grid(self.store, {**plan, "name": name, "place": place}, theirs.updated_at)
                self.notes += [note] if note else []
        return taken

    def searches(self) -> int:
        """Studies; one that both have is gone on with where the trials of both agree."""
        mine, theirs, taken = Studies(self.store), Studies(self.other), 0
        for name in theirs.names():
            row, here = theirs.find(name) or {}, mine.find(name)
            have = {slot["number"]: slot for slot in mine.slots(name)}
            there = theirs.slots(name)
            slots = [slot for slot in there if have.get(slot["number"], {"status": RUNNING})["status"] == RUNNING]
            slots = [slot for slot in slots if slot["number"] not in have or slot["status"] != RUNNING]
            both = [(have[slot["number"]], slot) for slot in there if slot["number"] in have]
            if here and (here["spec"] != row["spec"] or not all(_same_slot(*pair) for pair in both)):
                self.conflicts.append(f"search '{name}' differs there; what is here stays")
                continue
            if here and not slots:
                continue
            taken += 1
            for slot in slots:
                self._put(tables.slots, slot, ("study", "number"))
            self._put(tables.studies, row | {"mirror_owner": None, "mirror_expires": None}, ("name",))
        return taken

    def others(self) -> int:
        """Facts, with their files, and pictures."""
        taken = 0
        for row in self.other.rows(sa.select(tables.facts)):
            key, value, mine = row["key"], row["value"], self.store.fact(row["key"])
            is_file = isinstance(value, dict) and "sha256" in value
            if mine is not None:
                if not (_alike(mine["id"], value["id"]) if is_file else _alike(mine, value)):
                    self.conflicts.append(f"fact '{key}' differs there; what is here stays")
            elif not is_file or self._copy_file(value["key"], value["sha256"]):
                taken += self._put(tables.facts, row, ("key",))
        table = tables.images
        names = (table.c.fingerprint, table.c.first_seed)
        have = {tuple(row.values()) for row in self.store.rows(sa.select(*names))}
        for row in self.other.rows(sa.select(*names)):
            if tuple(row.values()) not in have:
                same = sa.and_(*(column == row[column.name] for column in names))
                (picture,) = self.other.rows(sa.select(table).where(same))
                taken += self._put(table, picture, ("fingerprint", "first_seed"))
        return taken

    def _put(self, table: sa.Table, row: Mapping[str, Any], key: tuple[str, ...]) -> int:
        if not self.dry_run:
            values = {name: value for name, value in row.items() if name != "id"}
            self.store.replace(table, {name: row[name] for name in key}, values)
        return 1

    def _copy_file(self, key: str, sha256: str) -> bool:
        """Bring a file over; whether it is there and as it was written."""
        try:
            if self.dry_run:
                self.other.files.content(key, sha256)
            else:
                self.store.files.copy(self.other.files, key, sha256)
        except InputError as error:
            self.conflicts.append(str(error))
            return False
        return True

    def _same_arrays(self, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
        import numpy as np

        try:
            one, other = self.store.moments(mine), self.other.moments(theirs)
        except InputError:
            return False
        return one.keys() == other.keys() and all(
            value.shape == other[name].shape and np.allclose(value, other[name], rtol=ROUNDING, equal_nan=True)
            for name, value in one.items()
        )

    def _conflict(self, row: Mapping[str, Any], last: int, what: str) -> None:
        seeds = f"seeds {row['first_seed']} to {last}"
        self.conflicts.append(f"trial {row['fingerprint'][:12]}, {seeds}: {what}; what is here stays")


def _trial(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["fingerprint"], row["extractor"]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in RESULT_KEY)


def _trials(plan: Mapping[str, Any]) -> set[str]:
    return {item["fingerprint"] for item in plan.get("items", ())}


def _same_slot(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether a trial of a study is the same in two stores, as far as both have come with it."""
    are_settled = RUNNING not in (mine["status"], theirs["status"])
    names = ("fingerprint", "params", *(("status", "value") if are_settled else ()))
    return all(_alike(mine[name], theirs[name]) for name in names)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
