"""Optuna: its samplers suggest a study's trials, and its own tables keep a copy of the study for its dashboard.

Optuna is used through its public interface alone: ask and tell, `add_trial`, `create_trial`, `FixedTrial` and storages.
"""

import contextlib
import hashlib
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from harness.core.errors import RunError
from harness.core.files import is_full
from harness.search.plan import SearchPlan
from harness.search.progress import Rows
from harness.search.space import SpacePoint
from harness.store.database import Store
from harness.store.studies import DONE, PRUNED, RUNNING, SUGGESTED, Studies

STATEFUL = ("grid", "qmc", "cmaes", "nsga2")
"""Methods that keep notes on the trials that they suggest; a resumed study asks them for those trials again."""

POINT = "point"
"""The one coordinate of method `grid`: the number of a point."""

STATES = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED}
"""Optuna's states of finished trials; all others are failed."""

TRIES, WAIT_SECONDS = 20, 0.1
"""Processes that begin together create Optuna's tables at the same time, and all but one fail at it."""


class Suggester:
    """Suggests the trials of a study, in order.

    Trial n is suggested from the outcomes of trials 0 to n - `ahead`, whichever of the others are finished, and with a
    random seed of its own. The suggestions therefore follow from the study alone: they do not depend on the number of
    workers, on their speed, or on how often the study was stopped. The trials in between count as running; TPE keeps
    away from them.

    A pruned trial was measured on fewer samples. The sampler is told the estimate of `value_of`, so methods that know
    nothing of pruning learn from it too.

    Args:
        search: the study's plan.
    """

    def __init__(self, search: SearchPlan) -> None:
        self.search, self.method = search, search.spec["method"]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(directions=directions(search), sampler=optuna.samplers.RandomSampler(seed=0))
        self.numbers: list[int] = []  # Optuna's number of each trial
        self.told = 0

    def ask(self, rows: Rows, number: int) -> SpacePoint:
        """The point of trial `number`; `rows` holds the earlier trials."""
        self._catch_up(rows, number)
        self._tell(rows, number)
        return self._suggest(number)

    def enqueue(self, rows: Rows, number: int) -> None:
        """Note that trial `number` is an enqueued one; `rows` holds it and the earlier trials."""
        self._catch_up(rows, number + 1)

    def _catch_up(self, rows: Rows, end: int) -> None:
        """Replay the trials below `end` that were enqueued, or suggested by an earlier or another process.

        Raises:
            RunError: a stateful method suggests another point now.
        """
        for number in range(len(self.numbers), end):
            self._tell(rows, number)
            params = rows[number]["params"]
            if self.method not in STATEFUL or rows[number]["origin"] != SUGGESTED:
                self._add(params)
            elif self._suggest(number).coordinates != params:
                raise RunError(
                    f"trial {number} of this study would be suggested otherwise now; if another version of Optuna made "
                    "it, go on with that one, or begin a new study with --study"
                )

    def _add(self, coordinates: Mapping[str, Any] | None) -> None:
        """Add a running trial; one outside of the space is added without parameters, as failed."""
        self.numbers.append(len(self.study.get_trials(deepcopy=False)))
        if coordinates is None:
            self.study.add_trial(create_trial(state=TrialState.FAIL))
            return
        params, ranges = dict(coordinates), distributions(self.search, coordinates)
        self.study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=ranges))

    def _suggest(self, number: int) -> SpacePoint:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.study.sampler = self._sampler(number)
            trial = self.study.ask()
            if self.method == "grid":
                points = self.search.points or []
                at = trial.suggest_int(POINT, 0, len(points) - 1)
                point = points[at]._replace(coordinates={POINT: at})
            else:
                point = self.search.space.draw(trial)
        if self.method in STATEFUL:
            self.numbers.append(trial.number)
        else:
            # TPE notes on a trial all that it drew, parameters of choices not taken among them, and keeps away from
            # those too while the trial runs. A resumed study has no such notes, so the trial is closed here as well
            # (no sampler looks at failed trials) and replaced by one that has its parameters alone.
            self.study.tell(trial, state=TrialState.FAIL)
            self._add(point.coordinates)
        return point

    def _tell(self, rows: Rows, number: int) -> None:
        """Tell the sampler the outcomes that trial `number` may know."""
        while self.told <= number - self.search.spec["ahead"]:
            row, trial = rows[self.told], self.numbers[self.told]
            if row["params"] is not None:
                value = value_of(row, rows)
                if value is None:
                    self.study.tell(trial, state=TrialState.FAIL if self.search.is_pareto else TrialState.PRUNED)
                else:
                    self.study.tell(trial, [value, float(row["nfe"])] if self.search.is_pareto else value)
            self.told += 1

    def _sampler(self, number: int) -> BaseSampler:
        study_seed = self.search.spec["seed"]
        digest = hashlib.sha256(f"{study_seed}\n{number}".encode()).digest()
        seed = int.from_bytes(digest[:4])
        match self.method:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "qmc":
                return optuna.samplers.QMCSampler(
                    seed=study_seed,
                    scramble=True,
                    independent_sampler=optuna.samplers.RandomSampler(seed=seed),
                    warn_independent_sampling=False,
                    warn_asynchronous_seeding=False,
                )
            case "grid":
                numbers = list(range(len(self.search.points or ())))
                return optuna.samplers.GridSampler({POINT: numbers}, seed=study_seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def value_of(row: Mapping[str, Any], rows: Rows) -> float | None:
    """The value of a trial at N seeds; None if there is none.

    For a pruned trial it is an estimate: the incumbent's value plus the paired difference on the seeds that both have.
    """
    if row["status"] == DONE:
        return float(row["value"])
    if row["status"] != PRUNED or row["rival"] is None or not row["rungs"] or not row["rungs"][-1]["difference"]:
        return None
    return float(rows[row["rival"]]["value"] + row["rungs"][-1]["difference"]["estimate"])


def directions(search: SearchPlan) -> list[StudyDirection]:
    """The direction in which each objective is better."""
    first = StudyDirection.MINIMIZE if search.objective.better == "lower" else StudyDirection.MAXIMIZE
    return [first, StudyDirection.MINIMIZE] if search.is_pareto else [first]


def distributions(search: SearchPlan, coordinates: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each coordinate of a point."""
    trial = FixedTrial(dict(coordinates))
    if search.spec["method"] == "grid":
        trial.suggest_int(POINT, 0, len(search.points or ()) - 1)
    else:
        search.space.draw(trial)
    return trial.distributions


class OptunaMirror:
    """Copies finished trials to Optuna's own tables in the store's database, for its dashboard and its tools.

    A search goes by our tables alone. Optuna's are written from them, a trial at a time and in order: parameters are
    coordinates, values and intermediate values are as measured, by number of samples, and user attributes say what the
    trial was. A pruned trial is pruned there, with its last measured value.

    Optuna cannot take a trial back. So one process copies at a time, and looks first at what is there: a copy that a
    killed process made is not made again.

    Args:
        search: the study's plan.
        store: the store whose database is used.

    Raises:
        RunError: the tables cannot be created.
    """

    def __init__(self, search: SearchPlan, store: Store) -> None:
        self.search, self.store, self.studies = search, store, Studies(store)
        self.copied = 0
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with _database_errors():
            for attempt in range(TRIES):
                try:
                    self.storage, self.study = self._open()
                    return
                except (SQLAlchemyError, StorageInternalError):
                    if attempt == TRIES - 1:
                        raise
                    time.sleep(WAIT_SECONDS)

    def copy(self, rows: Rows) -> bool:
        """Copy the finished trials, in order, up to the first that still runs.

        Returns:
            Whether all of them are copied; False while another process copies.

        Raises:
            RunError: the tables cannot be written.
        """
        end = self.copied
        while end in rows and rows[end]["status"] != RUNNING:
            end += 1
        if end == self.copied:
            return True
        with _database_errors():
            if not self.studies.take_mirror(self.search.name):
                return False
            try:
                present = {trial.user_attrs.get("number") for trial in self.study.get_trials(deepcopy=False)}
                for number in range(self.copied, end):
                    if number not in present:
                        self.study.add_trial(self._frozen(rows[number]))
                self.copied = end
            finally:
                self.studies.give_mirror(self.search.name)
        return True

    def complete(self, rows: Rows) -> None:
        """Copy what is still missing at the end, once no other process copies."""
        while not self.copy(rows):
            time.sleep(WAIT_SECONDS)

    def close(self) -> None:
        """Close the connections to the database."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _open(self) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = _storage(self.store)
            study = optuna.create_study(
                study_name=self.search.name,
                storage=storage,
                directions=directions(self.search),
                load_if_exists=True,
            )
        return storage, study

    def _frozen(self, row: Mapping[str, Any]) -> FrozenTrial:
        state = STATES.get(row["status"], TrialState.FAIL)
        values = [row["value"]] + [float(row["nfe"] or 0)] * self.search.is_pareto
        # Optuna has no intermediate values of several objectives
        rungs = [] if self.search.is_pareto else row["rungs"] or []
        attributes = ("number", "origin", "settings", "fingerprint", "nfe", "twin", "evaluations", "reason")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = create_trial(
                state=state,
                values=values if state == TrialState.COMPLETE else None,
                params=dict(row["params"] or {}),
                distributions=distributions(self.search, row["params"]) if row["params"] else {},
                intermediate_values={rung["n"]: rung["value"] for rung in rungs},
                user_attrs={key: row[key] for key in attributes},
            )
        started, finished = row["started_at"], row["finished_at"] or row["started_at"]
        trial.datetime_start, trial.datetime_complete = (
            datetime.fromisoformat(text).replace(tzinfo=None) for text in (started, finished)
        )
        return trial


def drop_copy(store: Store, name: str) -> None:
    """Drop a study from Optuna's own tables in a store's database, if it is there.

    Raises:
        RunError: the tables cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _database_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = _storage(store)
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=name, storage=storage)
        storage.remove_session()
        storage.engine.dispose()


def _storage(store: Store) -> optuna.storages.RDBStorage:
    """Optuna's tables in a store's database; they are made if they are not there."""
    arguments = {"connect_args": {"timeout": 60}} if store.engine.dialect.name == "sqlite" else {}
    url = store.url.render_as_string(hide_password=False)
    url = url.replace("{", "{{").replace("}", "}}")  # Optuna formats the URL as a template
    return optuna.storages.RDBStorage(url, engine_kwargs=arguments)


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    """Raise what goes wrong in the database as a RunError."""
    try:
        yield
    except RuntimeError as error:  # tables of another version of Optuna
        raise RunError(f"Optuna's tables cannot be used: {error}") from error
    except (SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        what = "the disk is full" if is_full(cause) else f"Optuna's tables cannot be written ({type(cause).__name__})"
        raise RunError(f"{what}; mend that and give the same command to go on") from error
