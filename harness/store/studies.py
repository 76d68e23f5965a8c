"""Searches in the store: one row a study, one row a slot, that is, a trial of the budget.

A slot is written once, by whichever process gets there first, and settled once. What it holds follows from the study's
spec and from earlier slots, so processes that work on one study write the same and need no leases here; the chunks of
seeds, where the time goes, are claimed as in any run.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from harness.core.errors import InputError
from harness.store import tables
from harness.store.database import Store, moment, now
from harness.store.leases import LEASE_SECONDS

RUNNING, DONE, PRUNED, FAILED = "running", "done", "pruned", "failed"

SUGGESTED = "suggested"
"""Origin of a slot that the search method suggested; others have the name under which the target enqueues them."""


class Studies:
    """The searches of a store.

    Args:
        store: an open one.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.engine = store.engine

    # Studies ----------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All studies, the latest first."""
        table = tables.studies
        rows = self.store.rows(sa.select(table.c.name).order_by(table.c.updated_at.desc(), table.c.name))
        return [row["name"] for row in rows]

    def find(self, name: str) -> dict[str, Any] | None:
        """A study's row; None if there is none of that name."""
        table = tables.studies
        rows = self.store.rows(sa.select(table).where(table.c.name == name))
        return rows[0] if rows else None

    def open(self, name: str, spec: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a study, or go on with it.

        Raises:
            InputError: a study of this name searches something else; with what differs.
        """
        spec = _plain(spec)
        first = {"name": name, "spec": spec, "record": dict(record)}
        with contextlib.suppress(IntegrityError):
            self.store.write(sa.insert(tables.studies).values(**first, created_at=now(), updated_at=moment()))
        study = self.find(name)
        assert study is not None
        differ = [
            f"{key} is {_short(study['spec'].get(key))} there and {_short(spec.get(key))} here"
            for key in [*spec, *(key for key in study["spec"] if key not in spec)]
            if _unnamed(study["spec"].get(key)) != _unnamed(spec.get(key))
        ]
        if differ:
            raise InputError(
                f"study '{name}' is another search: {'; '.join(differ)}; give the same, or a new name with --study"
            )
        return study

    def update(self, name: str, **values: Any) -> None:
        """Change columns of a study's row."""
        table = tables.studies
        self.store.write(sa.update(table).where(table.c.name == name).values(**values, updated_at=moment()))

    def take_mirror(self, name: str) -> bool:
        """Take it on to copy slots to Optuna's tables; False while another process does.

        A lease like that of a chunk: it lapses when it is seen unchanged for a minute, or its process is gone.
        """
        table, study = tables.studies, self.find(name)
        if study is None:
            return False
        owner, expires = study["mirror_owner"], study["mirror_expires"]
        if owner is not None and not self.store.lapsed({"key": f"study {name}", "owner": owner, "expires": expires}):
            return False
        before = table.c.mirror_owner.is_(None)
        if owner is not None:
            before = (table.c.mirror_owner == owner) & (table.c.mirror_expires == expires)
        mine = {"mirror_owner": str(self.store.owner), "mirror_expires": time.time() + LEASE_SECONDS}
        with self.engine.begin() as connection:
            changed = connection.execute(sa.update(table).where((table.c.name == name) & before).values(mine))
            return changed.rowcount == 1

    def give_mirror(self, name: str) -> None:
        """Let another process copy."""
        table = tables.studies
        mine = (table.c.name == name) & (table.c.mirror_owner == str(self.store.owner))
        self.store.write(sa.update(table).where(mine).values(mirror_owner=None, mirror_expires=None))

    def retry(self, name: str) -> list[int]:
        """Let failed slots run again, those that made a sampler; returns which.

        What was measured before the failure stays, and so do suggestions that knew of it.
        """
        table = tables.slots
        failed = (table.c.study == name) & (table.c.status == FAILED) & table.c.fingerprint.is_not(None)
        numbers = [row["number"] for row in self.store.rows(sa.select(table.c.number).where(failed))]
        for number in numbers:
            again = {"status": RUNNING, "reason": None, "step": None, "finished_at": None}
            self.store.write(sa.update(table).where(failed & (table.c.number == number)).values(again))
        return sorted(numbers)

    def forget(self, name: str) -> None:
        """Drop a study with its slots; chunks and results stay."""
        self.store.write(sa.delete(tables.slots).where(tables.slots.c.study == name))
        self.store.write(sa.delete(tables.studies).where(tables.studies.c.name == name))

    # Slots ------------------------------------------------------------------------------------------------------------

    def slots(self, name: str) -> list[dict[str, Any]]:
        """A study's slots, in order."""
        table = tables.slots
        return self.store.rows(sa.select(table).where(table.c.study == name).order_by(table.c.number))

    def slot(self, name: str, number: int) -> dict[str, Any] | None:
        """One of them; None if it was not begun."""
        table = tables.slots
        rows = self.store.rows(sa.select(table).where((table.c.study == name) & (table.c.number == number)))
        return rows[0] if rows else None

    def begin(self, name: str, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write a slot, unless another process has; returns the row that is there."""
        row = {"study": name, "number": number, "started_at": now(), "held": 0, "evaluations": 0, **values}
        if row["status"] != RUNNING:  # a setting that makes no sampler is over as soon as it is begun
            row["finished_at"] = row["started_at"]
        with contextlib.suppress(IntegrityError):
            self.store.write(sa.insert(tables.slots).values(row))
        slot = self.slot(name, number)
        assert slot is not None
        return slot

    def settle(self, name: str, number: int, values: Mapping[str, Any]) -> bool:
        """Change a slot that is still running; False where another process has settled it."""
        table = tables.slots
        same = (table.c.study == name) & (table.c.number == number) & (table.c.status == RUNNING)
        ended = {} if values.get("status", RUNNING) == RUNNING else {"finished_at": now()}
        with self.engine.begin() as connection:
            return connection.execute(sa.update(table).where(same).values({**values, **ended})).rowcount == 1


def _plain(value: Any) -> Any:
    """With infinity as a word, as in trials: not every database takes JSON with numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _unnamed(value: Any) -> Any:
    """A part of a spec without the names of its settings, which decide nothing."""
    if isinstance(value, list):
        return [_unnamed(each) for each in value]
    return {key: inner for key, inner in value.items() if key != "name"} if isinstance(value, dict) else value


def _short(value: Any, most: int = 120) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."
