"""Optuna's samplers, asked for one setting at a time, so that what they suggest follows from the study alone.

Trial n is suggested from the outcomes of trials 0 to n - `ahead`, no matter which of the others are finished already,
and with a random seed of its own. The same study therefore suggests the same settings however many workers it has, and
however often it was stopped. Trials in between are under way; TPE takes care not to come too close to them.

A pruned trial was measured on fewer samples. What the sampler is told of it is what it would have come to: the rival's
value plus the paired difference on the seeds that both have. So methods that know nothing of pruning learn from it too.
"""

import hashlib
import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from harness.core.errors import RunError
from harness.search.plan import SearchPlan
from harness.search.space import SpacePoint
from harness.store.studies import DONE, PRUNED, SUGGESTED

STATEFUL = ("grid", "qmc", "cmaes", "nsga2")
"""Methods whose suggestions depend on what they noted at earlier ones, so that those are made again on resuming."""

POINT = "point"
"""The one coordinate of method `grid`: the number of a point."""


class Suggester:
    """Suggests the settings of a study, in order.

    Args:
        search: what is searched.
    """

    def __init__(self, search: SearchPlan) -> None:
        self.search, self.method = search, search.spec["method"]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(directions=directions(search), sampler=optuna.samplers.RandomSampler(seed=0))
        self.told = self.asked = 0

    def ask(self, slots: Mapping[int, Mapping[str, Any]], number: int) -> SpacePoint:
        """The setting of trial `number`; earlier ones are those of `slots`."""
        for earlier in range(self.asked, number):
            self._again(slots, earlier)
        self._tell(slots, number)
        return self._ask(number)

    def enqueue(self, slots: Mapping[int, Mapping[str, Any]], number: int) -> None:
        """Take note that trial `number` is a given one, which `slots` has."""
        for earlier in range(self.asked, number + 1):
            self._again(slots, earlier)

    def _again(self, slots: Mapping[int, Mapping[str, Any]], number: int) -> None:
        """A trial that has been asked for already, by an earlier or another process, or that was given."""
        self._tell(slots, number)
        row = slots[number]
        if self.method not in STATEFUL or row["origin"] != SUGGESTED:
            self._add(row["params"])
            return
        point = self._ask(number)
        if point.coordinates != row["params"]:
            raise RunError(
                f"trial {number} of this study would be suggested otherwise now; if another version of Optuna made it, "
                "go on with that one, or begin a new study with --study"
            )

    def _add(self, coordinates: Mapping[str, Any] | None) -> None:
        """A trial under way; one that is outside of the space is none of the sampler's business."""
        if coordinates is None:
            known = create_trial(state=TrialState.FAIL)
        else:
            known = create_trial(
                state=TrialState.FAIL, params=dict(coordinates), distributions=distributions(self.search, coordinates)
            )
            known.state, known.datetime_start, known.datetime_complete = TrialState.RUNNING, datetime.now(), None
        self.study.add_trial(known)
        self.asked += 1

    def _ask(self, number: int) -> SpacePoint:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.study.sampler = self._sampler(number)
            trial = self.study.ask()
            if self.method == "grid":
                points = self.search.points or []
                at = trial.suggest_int(POINT, 0, len(points) - 1)
                point = points[at]._replace(coordinates={POINT: at})
            else:
                point = self.search.space.draw(_Asking(trial))
                self._forget_unused(trial)
        assert trial.number == number
        self.asked += 1
        return point

    def _forget_unused(self, trial: optuna.Trial) -> None:
        """Make a trial of TPE's look as it will after resuming.

        TPE notes all that it drew, numbers of choices that were not made among them, and keeps away from them while the
        trial is under way. A trial that is added from its parameters has no such note, so none keeps it.
        """
        storage = self.study._storage
        for key in storage.get_trial_system_attrs(trial._trial_id):
            if key.startswith("tpe:relative_params"):
                storage.set_trial_system_attr(trial._trial_id, key, "")

    def _tell(self, slots: Mapping[int, Mapping[str, Any]], number: int) -> None:
        """Tell the outcomes that trial `number` may know."""
        while self.told <= number - self.search.spec["ahead"]:
            row = slots[self.told]
            if row["params"] is not None:
                outcome = value_of(row, slots)
                if outcome is None:
                    state = TrialState.FAIL if self.search.is_pareto else TrialState.PRUNED
                    self.study.tell(self.told, state=state)
                else:
                    self.study.tell(self.told, [outcome, float(row["nfe"])] if self.search.is_pareto else outcome)
            self.told += 1

    def _sampler(self, number: int) -> BaseSampler:
        seed, own = self.search.spec["seed"], self._seed(number)
        match self.method:
            case "random":
                return optuna.samplers.RandomSampler(seed=own)
            case "qmc":
                return optuna.samplers.QMCSampler(
                    seed=seed,
                    scramble=True,
                    independent_sampler=optuna.samplers.RandomSampler(seed=own),
                    warn_independent_sampling=False,
                    warn_asynchronous_seeding=False,
                )
            case "grid":
                return optuna.samplers.GridSampler({POINT: list(range(len(self.search.points or ())))}, seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=own, deterministic_objective=True)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=own, population_size=20)
        return optuna.samplers.TPESampler(seed=own, multivariate=True, group=True, constant_liar=True)

    def _seed(self, number: int) -> int:
        text = f"{self.search.spec['seed']}\n{number}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def value_of(row: Mapping[str, Any], slots: Mapping[int, Mapping[str, Any]]) -> float | None:
    """A settled trial's value at N seeds, for a pruned one the estimate by its rival; None if there is none."""
    if row["status"] == DONE:
        return float(row["value"])
    if row["status"] != PRUNED or row["rival"] is None or not row["rungs"] or not row["rungs"][-1]["difference"]:
        return None
    rival = slots[row["rival"]]
    return float(rival["value"] + row["rungs"][-1]["difference"]["estimate"])


class _Asking:
    """A chooser that asks Optuna."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        return self.trial.suggest_float(name, low, high, log=log)

    def whole(self, name: str, low: int, high: int, log: bool) -> int:
        return self.trial.suggest_int(name, low, high, log=log)

    def one_of(self, name: str, labels: tuple[str, ...]) -> str:
        return str(self.trial.suggest_categorical(name, labels))


class _Given:
    """A chooser that gives coordinates back, and notes where each comes from."""

    def __init__(self, coordinates: Mapping[str, Any]) -> None:
        self.coordinates = coordinates
        self.distributions: dict[str, BaseDistribution] = {}

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        self.distributions[name] = FloatDistribution(low, high, log=log)
        return float(self.coordinates[name])

    def whole(self, name: str, low: int, high: int, log: bool) -> int:
        self.distributions[name] = IntDistribution(low, high, log=log)
        return int(self.coordinates[name])

    def one_of(self, name: str, labels: tuple[str, ...]) -> str:
        self.distributions[name] = CategoricalDistribution(labels)
        return str(self.coordinates[name])


def directions(search: SearchPlan) -> list[StudyDirection]:
    """Which way each objective is better."""
    first = StudyDirection.MINIMIZE if search.objective.better == "lower" else StudyDirection.MAXIMIZE
    return [first, StudyDirection.MINIMIZE] if search.is_pareto else [first]


def distributions(search: SearchPlan, coordinates: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Where each coordinate of a point comes from, in Optuna's terms."""
    recorder = _Given(coordinates)
    if search.spec["method"] == "grid":
        recorder.whole(POINT, 0, len(search.points or ()) - 1, False)
    else:
        search.space.draw(recorder)
    return recorder.distributions
