"""Optuna's own record of a study, in its own tables of the store's database, for its dashboard and its tools.

Our tables are what a search goes by; these are written from them, one trial as each is settled, in order. Parameters
are the coordinates of the search, values and intermediate values those that were measured, by number of samples; what a
trial was is in its user attributes. A pruned trial is pruned there, with the last value that was measured.

Optuna cannot take a trial back, so one process copies at a time, and looks first at what is there: a copy that a killed
process made without noting it is not made again.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import RunError
from harness.search.optuna_bridge import directions, distributions
from harness.search.plan import SearchPlan
from harness.store.database import Store, is_full
from harness.store.studies import DONE, PRUNED, RUNNING, Studies

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}

TRIES, WAIT_SECONDS = 20, 0.1
"""Processes that begin together make Optuna's tables at the same time, and all but one fail at it."""


class OptunaMirror:
    """Copies settled trials to Optuna's tables.

    Args:
        search: the study.
        store: whose database.

    Raises:
        RunError: the tables cannot be made.
    """

    def __init__(self, search: SearchPlan, store: Store) -> None:
        self.search, self.store, self.studies = search, store, Studies(store)
        self.copied = 0
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with _errors():
            for attempt in range(TRIES):
                try:
                    self.storage, self.study = self._open()
                    return
                except (SQLAlchemyError, StorageInternalError):
                    if attempt == TRIES - 1:
                        raise
                    time.sleep(WAIT_SECONDS)

    def copy(self, rows: Mapping[int, Mapping[str, Any]]) -> bool:
        """Copy what is settled, in order.

        Returns:
            Whether all of it is copied; not while another process copies.

        Raises:
            RunError: the tables cannot be written.
        """
        ready = self.copied
        while ready in rows and rows[ready]["status"] != RUNNING:
            ready += 1
        if ready == self.copied:
            return True
        with _errors():
            if not self.studies.take_mirror(self.search.name):
                return False
            try:
                there = {trial.user_attrs.get("number") for trial in self.study.get_trials(deepcopy=False)}
                for number in range(self.copied, ready):
                    if number not in there:
                        self.study.add_trial(self._frozen(rows[number]))
                self.copied = ready
            finally:
                self.studies.give_mirror(self.search.name)
        return True

    def complete(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Copy what is still missing at the end, once no other process copies."""
        while not self.copy(rows):
            time.sleep(WAIT_SECONDS)

    def close(self) -> None:
        """Give back the connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _open(self) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
        arguments = {"connect_args": {"timeout": 60}} if self.store.engine.dialect.name == "sqlite" else {}
        url = self.store.url.render_as_string(hide_password=False)
        url = url.replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
            study = optuna.create_study(
                study_name=self.search.name,
                storage=storage,
                directions=directions(self.search),
                load_if_exists=True,
            )
        return storage, study

    def _frozen(self, row: Mapping[str, Any]) -> FrozenTrial:
        state = STATES.get(row["status"], TrialState.FAIL)
        rungs = row["rungs"] or []
        values = [row["value"]] + [float(row["nfe"] or 0)] * self.search.is_pareto
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = create_trial(
                state=state,
                values=values if state == TrialState.COMPLETE else None,
                params=dict(row["params"] or {}),
                distributions=distributions(self.search, row["params"]) if row["params"] else {},
                intermediate_values={} if self.search.is_pareto else {rung["n"]: rung["value"] for rung in rungs},
                user_attrs={
                    key: row[key]
                    for key in ("number", "origin", "settings", "fingerprint", "nfe", "twin", "evaluations", "reason")
                },
            )
        started = row["started_at"]
        found.datetime_start, found.datetime_complete = _time(started), _time(row["finished_at"] or started)
        return found


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What goes wrong in the database, as a run's error."""
    try:
        yield
    except RuntimeError as error:  # tables of another version of Optuna
        raise RunError(f"Optuna's tables cannot be used: {error}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        what = "the disk is full" if is_full(cause) else f"Optuna's tables cannot be written ({type(cause).__name__})"
        raise RunError(f"{what}; mend that and give the same command to go on") from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)
