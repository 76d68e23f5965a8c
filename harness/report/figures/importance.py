"""How much of the value's variance each parameter explains: fANOVA, over the trials' values at the first rung.

Functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) fits a random forest to the trials and splits the variance of what
it predicts over the whole space among the parameters. All trials that ran are used, each by the same first images, so
that pruned ones count as well as the others.
"""

import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures.style import INK, MUTED, OURS, RULE, TICK, plain_style
from harness.report.study import ParameterAxis, SearchData, SearchTrial, parameters
from harness.report.text.numbers import plural

FEWEST = 10
"""Trials below which no importance is computed."""

SEED = 0

TREES, DEPTH = 64, 7
"""Of the forest. Deeper trees fit the noise of single trials, and take minutes for a thousand of them."""

WIDTH, ROW = 6.0, 0.3  # inches


class VarianceShare(NamedTuple):
    """A parameter's share of the variance, among how many trials.

    Args:
        name: of the parameter.
        share: from 0 to 1.
        trials: that it was computed on.
        is_common: whether those are all trials; else those in which the parameter is active.
    """

    name: str
    share: float
    trials: int
    is_common: bool


class Importance(NamedTuple):
    """The shares, the greatest first and those of conditional parameters last, or why there are none.

    Args:
        shares: of the parameters.
        refused: in words; "" where there are shares.
        about: on how many trials, at how many images, of what.
    """

    shares: list[VarianceShare]
    refused: str = ""
    about: str = ""


def importance(search: SearchData) -> Importance:
    """Compute the shares, of the logarithm of what compares by factors."""
    every, axes = search.measured, parameters(search)
    trials = {trial: value for trial, value in every.items() if any(axis.of(trial) is not None for axis in axes)}
    if len(axes) < 2:
        return Importance([], "There is one parameter, so all of the variance is its own.")
    if len(trials) < FEWEST:
        have = f"{plural(len(trials), 'trial has', 'trials have')} a value at {search.first_images} images"
        return Importance([], f"Too few for importances: {have}, and {FEWEST} are needed.")
    title = str(search.objective["title"])
    if search.by_factors and min(trials.values()) > 0:
        trials, title = {trial: math.log(value) for trial, value in trials.items()}, f"the logarithm of {title}"
    common = [axis for axis in axes if all(axis.of(trial) is not None for trial in trials)]
    shares = _shares(trials, common, is_common=True)
    for axis in axes:
        active = {trial: value for trial, value in trials.items() if axis.of(trial) is not None}
        present = [other for other in axes if all(other.of(trial) is not None for trial in active)]
        if axis not in common and len(active) >= FEWEST and len(present) > 1:
            shares += [share for share in _shares(active, present, is_common=False) if share.name == axis.name]
    if not shares:
        return Importance([], "The trials do not vary enough in any two parameters to tell their shares.")
    what = f"{plural(len(trials), 'trial')}, all measured on the same {search.first_images} images"
    return Importance(shares, about=f"Shares of the variance of {title} over {what}.")


def by_importance(importance: Importance, axes: list[ParameterAxis]) -> list[ParameterAxis]:
    """Numeric parameters, the most important first, those without a share last, in the order of the space."""
    shares = {share.name: share.share for share in importance.shares}
    numeric = [axis for axis in axes if not axis.is_choice and axis.high > axis.low]
    return sorted(numeric, key=lambda axis: -shares.get(axis.name, -1.0))


def _shares(trials: dict[SearchTrial, float], axes: list[ParameterAxis], is_common: bool) -> list[VarianceShare]:
    """fANOVA on trials in which all of these parameters are active; parameters that do not vary are left aside."""
    columns = {axis: [axis.of(trial) for trial in trials] for axis in axes}
    varied = {axis: column for axis, column in columns.items() if len(set(column)) > 1}
    values = list(trials.values())
    if len(varied) < 2 or max(values) == min(values):
        return []
    shares = _fanova(varied, values)
    made = [VarianceShare(axis.name, shares[axis.name], len(trials), is_common) for axis in varied]
    return sorted(made, key=lambda share: (-share.share, share.name))


def _fanova(columns: dict[ParameterAxis, list[Any]], values: list[float]) -> dict[str, float]:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    space: dict[str, BaseDistribution] = {}
    for axis, column in columns.items():
        if axis.is_choice:
            space[axis.name] = CategoricalDistribution(axis.choices)
        else:  # a setting that was enqueued may lie outside
            space[axis.name] = FloatDistribution(min(axis.low, *column), max(axis.high, *column), log=axis.log)
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        for *row, value in zip(*columns.values(), values, strict=True):
            params = dict(zip(space, row, strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
        forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=SEED)
        # Not by `get_param_importances`: its shares add up to 1, as if combinations of parameters explained nothing.
        return forest.evaluate(study, params=list(space))
    finally:
        optuna.logging.set_verbosity(said)


@plain_style()
def plot(importance: Importance) -> Axes:
    """Bars, a row a parameter."""
    shares = importance.shares
    height = ROW * len(shares) + 0.1
    left = 0.2 + 0.075 * max(len(share.name[:24]) for share in shares)
    words = ", ".join(f"{share.name} {100 * share.share:.0f} %" for share in shares)
    figure = Figure(figsize=(WIDTH, height), label=f"{importance.about.removesuffix('.')}: {words}.")
    box = (left / WIDTH, 0.05 / height, 1 - (left + 1.9) / WIDTH, 1 - 0.1 / height)
    axes = figure.add_axes(box, xlim=(0, max(share.share for share in shares) or 1), ylim=(len(shares) - 0.5, -0.5))
    axes.axis("off")
    axes.axvline(0, color=RULE.light, lw=0.8)
    text: Any = {"textcoords": "offset points", "va": "center_baseline", "fontsize": TICK}
    for place, share in enumerate(shares):
        colour, alpha = (OURS.light, 0.9) if share.is_common else (MUTED.light, 0.55)
        axes.barh(place, share.share, 0.62, color=colour, lw=0, alpha=alpha)
        axes.annotate(share.name[:24], (0, place), xytext=(-6, 0), ha="right", color=INK.light, **text)
        words = f"{100 * share.share:.0f} %" + ("" if share.is_common else f" of {share.trials} that have it")
        axes.annotate(words, (share.share, place), xytext=(5, 0), color=MUTED.light, **text)
    return axes
