"""Optuna's own record of a study, in its own tables of the store's database, for its dashboard and its tools.

Our tables are what a search goes by; these are written from them, one trial as each is settled, in order. Parameters
are the coordinates of the search, values and intermediate values those that were measured, by number of samples; what a
trial was is in its user attributes. A pruned trial is pruned there, with the last value that was measured.
"""

import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.searching.plan import Search
from harness.searching.suggest import directions, distributions
from harness.store import Store
from harness.studies import DONE, PRUNED, RUNNING, Studies

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}


class Mirror:
    """Copies settled trials to Optuna's tables.

    Args:
        search: the study.
        store: whose database.
    """

    def __init__(self, search: Search, store: Store) -> None:
        self.search, self.studies = search, Studies(store)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        arguments = {"connect_args": {"timeout": 60}} if store.engine.dialect.name == "sqlite" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            url = store.url.render_as_string(hide_password=False)
            self.storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
            self.study = optuna.create_study(
                study_name=search.name, storage=self.storage, directions=directions(search), load_if_exists=True
            )
        found = self.studies.find(search.name)
        self.next = int(found["mirrored"]) if found else 0

    def copy(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Copy what is settled, in order, unless another process has."""
        while self.next in rows and rows[self.next]["status"] != RUNNING:
            if self.studies.take_mirror(self.search.name, self.next):
                self._add(rows[self.next])
            self.next += 1

    def complete(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Copy what is still missing at the end, as where a process was killed between noting a copy and making it."""
        self.copy(rows)
        there = {trial.user_attrs.get("number") for trial in self.study.get_trials(deepcopy=False)}
        for number, row in rows.items():
            if row["status"] != RUNNING and number not in there:
                self._add(row)

    def close(self) -> None:
        """Give back the connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _add(self, row: Mapping[str, Any]) -> None:
        self.study.add_trial(self._frozen(row))

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
        found.datetime_start, found.datetime_complete = (_time(row[key]) for key in ("started_at", "finished_at"))
        return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)
