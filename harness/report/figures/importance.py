"""How much of the value's variance each parameter explains: fANOVA, over the slots' values at the first rung.

Functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) fits a random forest to the slots and splits the variance of what it
predicts over the whole space among the parameters. All slots that ran are used, each by the same first images, so that
pruned ones count as well as the others.
"""

import math
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.glyphs import TICK
from harness.report.figures.style import INK, MUTED, RULE
from harness.report.parameters import Parameter, Point, parameters, points
from harness.report.study import Search, by_factors
from harness.report.text.numbers import plural, whole

FEWEST = 10
"""Slots below which no importance is computed."""

SEED = 0

TREES, DEPTH = 64, 7
"""Of the forest. Deeper trees fit the noise of single trials, and take minutes for a thousand of them."""

WIDTH, ROW = 6.0, 0.3  # inches


class Share(NamedTuple):
    """A parameter's share of the variance, among how many slots.

    Args:
        name: of the parameter.
        share: from 0 to 1.
        trials: slots that it was computed on.
        is_common: whether those are all slots; else those in which the parameter is active.
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
        about: on how many slots, at how many images, of what.
        svg: bars; "" where there are none.
    """

    shares: list[Share]
    refused: str
    about: str
    svg: str


def importance(search: Search, prefix: str = "importance") -> Importance:
    """Compute and draw it."""
    every, space = points(search), parameters(search)
    usable = [point for point in every if any(each.of(point.slot) is not None for each in space)]
    n, log = whole(search.spec["rungs"][0]), takes_logarithm(search, usable)
    if len(space) < 2:
        return Importance([], "There is one parameter, so all of the variance is its own.", "", "")
    if len(usable) < FEWEST:
        have = plural(len(usable), "trial has", "trials have")
        return Importance(
            [], f"Too few for importances: {have} a value at {n} images, and {FEWEST} are needed.", "", ""
        )
    common = [each for each in space if all(each.of(point.slot) is not None for point in usable)]
    shares = _shares(usable, common, log, is_common=True)
    for each in space:
        if each in common:
            continue
        active = [point for point in usable if each.of(point.slot) is not None]
        beside = [other for other in space if all(other.of(point.slot) is not None for point in active)]
        if len(active) >= FEWEST and len(beside) > 1:
            shares += [one for one in _shares(active, beside, log, is_common=False) if one.name == each.name]
    if not shares:
        return Importance([], "The trials do not vary enough in any two parameters to tell their shares.", "", "")
    what = f"the logarithm of {search.objective['title']}" if log else str(search.objective["title"])
    about = f"Shares of the variance of {what} over {plural(len(usable), 'trial')}, all measured on the same {n} images"
    return Importance(shares, "", f"{about}.", _bars(shares, about, prefix))


def takes_logarithm(search: Search, every: list[Point]) -> bool:
    """Whether the variance is that of the logarithm: for what compares by factors."""
    return by_factors(search.objective) and all(point.value.value > 0 for point in every)


def ranked(found: Importance, space: list[Parameter]) -> list[Parameter]:
    """Numeric parameters, the most important first, those without a share last, in the order of the space."""
    shares = {share.name: share.share for share in found.shares}
    numeric = [each for each in space if not each.is_choice and each.high > each.low]
    return sorted(numeric, key=lambda each: -shares.get(each.name, -1.0))


def _shares(every: list[Point], space: list[Parameter], log: bool, is_common: bool) -> list[Share]:
    """fANOVA on slots in which all of these parameters are active; parameters that do not vary are left aside."""
    varied = [each for each in space if len({each.of(point.slot) for point in every}) > 1]
    values = [math.log(point.value.value) if log else point.value.value for point in every]
    if len(varied) < 2 or max(values) == min(values):
        return []
    found = _fanova([[each.of(point.slot) for each in varied] for point in every], varied, values)
    made = [Share(each.name, found[each.name], len(every), is_common) for each in varied]
    return sorted(made, key=lambda share: (-share.share, share.name))


def _fanova(rows: list[list[Any]], space: list[Parameter], values: list[float]) -> dict[str, float]:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    columns = list(zip(*rows, strict=True))
    over: dict[str, BaseDistribution] = {}
    for each, column in zip(space, columns, strict=True):
        if each.is_choice:
            over[each.name] = CategoricalDistribution(each.choices)
        else:  # a setting that was enqueued may lie outside
            over[each.name] = FloatDistribution(min(each.low, *column), max(each.high, *column), log=each.log)
    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        for row, value in zip(rows, values, strict=True):
            params = dict(zip(over, row, strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=over, value=value))
        forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=SEED)
        # Not by `get_param_importances`: its shares add up to 1, as if combinations of parameters explained nothing.
        return forest.evaluate(study, params=list(over))
    finally:
        optuna.logging.set_verbosity(said)


def _bars(shares: list[Share], about: str, prefix: str) -> str:
    height = ROW * len(shares) + 0.1
    left = 0.2 + 0.075 * max(len(share.name[:24]) for share in shares)
    with marks.plain_style():
        figure = Figure(figsize=(WIDTH, height))
        box = (left / WIDTH, 0.05 / height, 1 - (left + 1.9) / WIDTH, 1 - 0.1 / height)
        axes = figure.add_axes(box, xlim=(0, max(share.share for share in shares) or 1), ylim=(len(shares) - 0.5, -0.5))
        axes.axis("off")
        axes.axvline(0, color=RULE.light, lw=0.8)
        for place, share in enumerate(shares):
            _bar(axes, place, share)
        words = ", ".join(f"{share.name} {100 * share.share:.0f} %" for share in shares)
        return draw.finish(figure, prefix, f"{about}: {words}.")


def _bar(axes: Any, place: int, share: Share) -> None:
    colour = draw.OURS.light if share.is_common else MUTED.light
    axes.barh(place, share.share, 0.62, color=colour, lw=0, alpha=0.9 if share.is_common else 0.55)
    kind: dict[str, Any] = {"textcoords": "offset points", "va": "center_baseline", "fontsize": TICK}
    axes.annotate(share.name[:24], (0, place), xytext=(-6, 0), ha="right", color=INK.light, **kind)
    words = f"{100 * share.share:.0f} %" + ("" if share.is_common else f" of {share.trials} that have it")
    axes.annotate(words, (share.share, place), xytext=(5, 0), color=MUTED.light, **kind)
