"""Plans: a grid's denoisers x series x budgets as trials, each with its place in the figure."""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.core import yaml
from harness.core.collector import held_collector
from harness.core.config import repeated
from harness.core.errors import InputError
from harness.core.yaml import Document, Where
from harness.denoisers.config import Description, Window
from harness.denoisers.load import parse, rounding_of
from harness.experiments.checks import (
    Absent,
    absent_files,
    check_claims,
    check_features,
    check_levels,
    check_metric,
    check_metrics,
    check_mosaics,
    check_names,
    check_seeds,
    check_trained,
    describe_panel,
    fetching,
)
from harness.experiments.grid import Grid, Series, load_grid
from harness.experiments.grid_files import grid_name, place_of
from harness.experiments.nfe import check_route, count_nfe, steps_for
from harness.experiments.notes import Rounding, conditions_notes, joined_notes, sampler_notes
from harness.experiments.training_table import TrainingTable
from harness.experiments.trial import Trial, policy
from harness.metrics.base import Metric
from harness.sampling.sampler import Sampler

MAX_TRIALS = 100_000

NOT_AXES = ("sigmas", "levels", "intervals")
"""Fields that are lists themselves, whose values are therefore not an axis."""


class Planned(NamedTuple):
    """One trial of a plan, with its place in the figure.

    Args:
        trial: denoiser and sampler.
        panel: name of the denoiser in the grid.
        series: name of the curve.
        base: name of the series that the curve belongs to.
        nfe: evaluations that it was planned at; a guess for adaptive solvers.
        x: its place on the horizontal axis; None for NFE, or where the sampler has no such number.
        mosaic: whether its first images are kept.
        notes: settings of the sampler without effect, in sentences.
    """

    trial: Trial
    panel: str
    series: str
    base: str
    nfe: int
    x: float | None
    mosaic: bool
    notes: tuple[str, ...] = ()


class Plan(NamedTuple):
    """What a grid amounts to: its trials in order, its text, the files that are not here yet, and its file's place."""

    name: str
    grid: Grid
    items: list[Planned]
    source: str
    series: list[dict[str, Any]]
    described: dict[str, Description]
    absent: tuple[Absent, ...] = ()
    place: str = ""

    def asked_of(self, metric: Metric) -> list[Planned]:
        """The trials that a metric of the grid is asked of."""
        return [item for item in self.items if concerns(metric, item.base, item.panel)]

    @property
    def notes(self) -> list[str]:
        """Settings without effect, each with the trials that it is about."""
        return joined_notes(
            (note, f"{item.panel} · {item.series}", str(item.nfe)) for item in self.items for note in item.notes
        )


class _Curve(NamedTuple):
    """A series after its axes are expanded: name, raw samplers, and where each of their keys stands in the file.

    Several samplers are the points of one curve.
    """

    name: str
    series: Series
    samplers: list[dict[str, Any]]
    base: Where
    moved: dict[str, Where]


@held_collector()
def plan(
    path: Path | str | Mapping[str, Any],
    samples: int | None = None,
    absent_ok: bool = False,
    sources: Mapping[str, Any] | None = None,
) -> Plan:
    """Turn a grid's file into trials.

    Args:
        path: the YAML file; or its content as a mapping, which goes by the name `grid`.
        samples: N in place of the grid's own.
        absent_ok: files that have to be fetched first may be missing; such a plan can be looked at and not run.
        sources: how denoisers are loaded, by name, in place of what the grid says.

    Raises:
        InputError: anything wrong with the file, or a sampler that does not fit its denoiser.
    """
    grid, document = load_grid(path)
    grid = _with_sources(grid, sources or {})
    if samples is not None:
        if samples < 2:
            raise InputError(f"--samples must be at least 2; we got {samples}")
        grid = grid.model_copy(update={"samples": samples})
    try:
        absent = absent_files(grid)
    except InputError:
        absent = []  # a name that nothing has is told below, with its line
    if absent and not absent_ok:
        raise InputError(f"{document.path}: {len(absent)} of its files are not here; {fetching(absent)}")
    names = [file.name for file in absent]
    check_trained(grid, document)
    check_metrics(grid, document)
    check_seeds(grid, document)
    described = {name: describe_panel(name, panel, document, names) for name, panel in grid.denoisers.items()}
    grid = _for_ranges(grid, described, document)
    check_features(grid, document, names)
    roundings = {
        name: rounding_of(panel.source_of(name)) if described[name].rounds else None
        for name, panel in grid.denoisers.items()
    }
    _check_size(grid, document)
    items: list[Planned] = []
    curves: dict[str, dict[str, Any]] = {}
    drawn: dict[tuple[str, str], _Curve] = {}
    for index, series in enumerate(grid.series):
        check_names(series, index, grid, document)
        for panel in series.only or grid.denoisers:
            for curve in _curves(series, index, panel, grid, document):
                for item in _trials(curve, panel, grid, described[panel], roundings[panel], document):
                    is_other = drawn.setdefault((panel, item.series), curve) is not curve
                    if is_other or curves.get(item.series, {"base": item.base})["base"] != item.base:
                        raise document.error(
                            ("series", index),
                            f"two curves would be called '{item.series}'; rename a series, or remove a repeated value",
                        )
                    kept = {key: getattr(series, key) for key in ("note", "role", "paper")}
                    curves.setdefault(item.series, {"name": item.series, "base": item.base, **kept})
                    items.append(item)
    for index, metric in enumerate(grid.metrics):
        if not any(concerns(metric, item.base, item.panel) for item in items):
            raise document.error(
                ("metrics", index), f"no trial is asked of metric '{metric.name}'; mend series, denoisers"
            )
    check_mosaics(grid, document)
    check_claims(grid, curves, document)
    if grid.x != "nfe" and all(item.x is None for item in items):
        raise document.error(("x",), f"no sampler of this grid has a number at '{grid.x}'; mend the path")
    name, place = grid_name(document.path), "" if isinstance(path, Mapping) else place_of(document.path)
    source = yaml.dump(dict(path)) if isinstance(path, Mapping) else document.path.read_text(encoding="utf-8")
    return Plan(name, grid, items, source, list(curves.values()), described, tuple(absent), place)


def _with_sources(grid: Grid, sources: Mapping[str, Any]) -> Grid:
    """A grid whose denoisers are loaded from elsewhere."""
    if unknown := sorted(set(sources) - set(grid.denoisers)):
        raise InputError(f"denoiser '{unknown[0]}' was given, and this grid has {', '.join(grid.denoisers)}")
    given = {name: parse(source) if isinstance(source, Mapping) else source for name, source in sources.items()}
    panels = {
        name: panel.model_copy(update={"source": given[name]}) if name in given else panel
        for name, panel in grid.denoisers.items()
    }
    return grid.model_copy(update={"denoisers": panels})


def check_before_training(path: Path | str) -> TrainingTable | None:
    """A grid's table of trainings, after all checks that need none of its networks; None for a grid without one.

    Raises:
        InputError: anything wrong with the file, its recipes or its samplers.
    """
    grid, document = load_grid(path)
    if grid.training is None:
        return None
    list(grid.training.networks())
    check_metrics(grid, document)
    check_seeds(grid, document)
    check_features(grid, document)
    _check_size(grid, document)
    curves = set()
    for index, series in enumerate(grid.series):
        check_names(series, index, grid, document)
        for curve in _curves(series, index, next(iter(grid.denoisers)), grid, document):
            curves.add(curve.name)
            for raw in curve.samplers:
                check_levels(yaml.build(Sampler, document, curve.base, raw, curve.moved))
    check_mosaics(grid, document)
    check_claims(grid, curves, document)
    return grid.training


def _for_ranges(grid: Grid, described: Mapping[str, Description], document: Document) -> Grid:
    """The grid with metrics for the range of their denoisers' data: of bytes, or of floats.

    Raises:
        InputError: a metric sees bytes and data are floats, or it is asked of denoisers of both.
    """
    metrics: list[Metric] = []
    for index, metric in enumerate(grid.metrics):
        where: Where = ("metrics", index) if isinstance(document.data.get("metrics"), list) else ("metrics",)
        ready: dict[str, Metric] = {}
        for panel, description in described.items():
            drawn = (series for series in grid.series if series.only is None or panel in series.only)
            if not any(concerns(metric, series.name, panel) for series in drawn):
                continue
            try:
                ready[panel] = metric.for_range(description.data_range)
            except InputError as error:
                raise document.error(where, f"metric '{metric.name}' of denoiser '{panel}': {error}") from None
        first = next(iter(ready), "")
        for panel, one in ready.items():
            if one != ready[first]:
                raise document.error(
                    where,
                    f"metric '{metric.name}' sees the images of '{first}' and '{panel}' in two ways, bytes and floats, "
                    "whose numbers do not compare; name the `denoisers` that it is asked of",
                )
        metrics.append(ready.get(first, metric))
    return grid.model_copy(update={"metrics": tuple(metrics)})


def _check_size(grid: Grid, document: Document) -> None:
    """Refuse a grid of too many trials by the lengths of its lists, before any of them is made."""
    total = 0
    for index, series in enumerate(grid.series):
        holder = _holder(series, grid)
        for panel in series.only or grid.denoisers:
            lists = [options for where, options in _lists(_raw(series, panel)) if where[-1] not in NOT_AXES]
            total += math.prod(map(len, lists)) * len(holder.nfe or holder.steps or (0,))
        if total > MAX_TRIALS:
            told = f"{total:,} trials up to here are more than {MAX_TRIALS:,}; use shorter lists"
            raise document.error(("series", index), told)


def _raw(series: Series, panel: str) -> dict[str, Any]:
    """The sampler of a series on one denoiser, with its lists."""
    return {**series.sampler, **series.per_denoiser.get(panel, {})}


def _holder(series: Series, grid: Grid) -> Series | Grid:
    """What gives the budgets of a series: itself, or the grid."""
    return series if series.nfe or series.steps or series.along else grid


def _curves(series: Series, index: int, panel: str, grid: Grid, document: Document) -> Iterator[_Curve]:
    """One curve for every combination of the lists in a series' sampler, but for the list along the curve."""
    base: Where = ("series", index, "sampler")
    own = series.per_denoiser.get(panel, {})
    moved: dict[str, Where] = {axis: ("series", index, "per_denoiser", panel, axis) for axis in own}
    raw = _raw(series, panel)
    along = tuple((series.along or ("" if grid.x == "nfe" else grid.x)).split("."))
    axes = [(where, options) for where, options in _lists(raw) if where[-1] not in NOT_AXES]
    for where, options in axes:
        place = (*moved[str(where[0])], *where[1:]) if where[0] in moved else (*base, *where)
        if not options:
            raise document.error(place, "an empty list leaves nothing to run; give it values, or remove the key")
        twice = repeated(options)
        if twice is not None:
            raise document.error(place, f"{_in_words(twice)} is there twice; remove one")
    points = next((options for where, options in axes if where == along), None)
    if series.along and points is None:
        here = ".".join(along)
        rule = "a list there is one choice, not an axis" if along[-1] in NOT_AXES else "the sampler has no list there"
        raise document.error(("series", index, "along"), f"'{here}': {rule}; give a number a list, or remove along")
    others = [(where, options) for where, options in axes if where != along]
    for values in itertools.product(*(options for _, options in others)):
        sampler, named = raw, []
        for (where, _), value in zip(others, values, strict=True):
            sampler = _with(sampler, where, value)
            named.append(f"{where[-1]} {_in_words(value)}")
        samplers = [sampler] if points is None else [_with(sampler, along, point) for point in points]
        yield _Curve(", ".join([series.name, *named]), series, samplers, base, moved)


def _in_words(value: Any) -> str:
    """A choice among several, as part of a curve's name: a kind with its fields, or the value."""
    if not isinstance(value, dict):
        return str(value)
    fields = [f"{key} {_in_words(inner)}" for key, inner in value.items() if key != "kind"]
    return " ".join([str(value.get("kind", "")), *fields]).strip()


def _lists(value: Any, where: Where = ()) -> Iterator[tuple[Where, list[Any]]]:
    """The places of all lists in nested mappings."""
    if isinstance(value, list):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lists(inner, (*where, key))


def _with(value: dict[str, Any], where: Where, new: Any) -> dict[str, Any]:
    """A copy of nested mappings with one value replaced."""
    key = str(where[0])
    return {**value, key: new if len(where) == 1 else _with(value[key], where[1:], new)}


def _trials(
    curve: _Curve, panel: str, grid: Grid, described: Description, rounding: Rounding | None, document: Document
) -> Iterator[Planned]:
    """The trials of one curve on one denoiser: its points, at each budget."""
    choice = grid.denoisers[panel]
    source = choice.source_of(panel)
    seeds = max(metric.range_count * metric.default_samples(grid.samples) for metric in grid.metrics)
    labels, cycled = policy(choice.labels, choice.conditions), conditions_notes(choice.conditions, seeds)
    for raw in curve.samplers:
        sampler = yaml.build(Sampler, document, curve.base, raw, curve.moved)
        by_nfe, budgets = _budgets(curve, raw, sampler, grid, document)
        for budget in budgets if budgets is not None else (sampler.steps,):
            try:
                if by_nfe:
                    chosen = steps_for(budget, sampler, *_cost(described))
                else:
                    chosen = sampler.model_copy(update={"steps": budget})
                check_levels(chosen)
                layout = check_route(chosen, described)
                if choice.conditions is not None and chosen.discretization.is_open:
                    raise InputError("levels are found without conditions; give them, or use another discretization")
                nfe = count_nfe(chosen, *_cost(described))
                for metric in grid.metrics:
                    if concerns(metric, curve.series.name, panel):
                        check_metric(metric, chosen, described)
            except InputError as error:
                where = curve.base if curve.base in document.lines else curve.base[:2]
                raise document.error(where, f"with denoiser '{panel}': {error}") from None
            trial = Trial(
                denoiser=source,
                weights=described.identity,
                sampler=chosen,
                labels=labels,
                dtype=choice.dtype,
                conditions=choice.conditions,
            )
            x = None if grid.x == "nfe" else number_at(chosen, grid.x)
            is_one = grid.x == "nfe" or budgets is None or len(budgets) < 2
            name = curve.name if is_one else _at_budget(curve.name, by_nfe, budget)
            mosaic = budget in (grid.mosaics or ())
            notes = (*sampler_notes(chosen, described, rounding, layout), *cycled)
            yield Planned(trial, panel, name, curve.series.name, nfe, x, mosaic, notes)


def _at_budget(name: str, by_nfe: bool, budget: int) -> str:
    """Where the horizontal axis is not NFE, every budget has a curve of its own."""
    return f"{name}, {'NFE' if by_nfe else 'steps'} {budget}"


def concerns(metric: Metric, series: str, denoiser: str) -> bool:
    """Whether a metric is asked of a series on a denoiser."""
    return (metric.series is None or series in metric.series) and (
        metric.denoisers is None or denoiser in metric.denoisers
    )


def number_at(sampler: Sampler, path: str) -> float | None:
    """The number at a path such as `stochasticity.S_churn`; None where the sampler has none."""
    value: Any = sampler
    for name in path.split("."):
        value = getattr(value, name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cost(described: Description) -> tuple[float, float, int, Window | None]:
    """What counting evaluations needs to know of a denoiser."""
    return described.sigma_min, described.sigma_max, described.cost, described.window


def _budgets(
    curve: _Curve, raw: dict[str, Any], sampler: Sampler, grid: Grid, document: Document
) -> tuple[bool, tuple[int, ...] | None]:
    """Whether budgets are NFE, and which they are; None where the sampler's own step count stands.

    A curve along tolerances or the like has no budgets but its series' own.
    """
    series = curve.series
    if series.along and grid.x == "nfe" and not sampler.solver.adaptive:
        raise document.error(
            (*curve.base[:2], "along"),
            f"solver '{sampler.solver.kind}' has a fixed NFE, so its curve against NFE runs along budgets; remove "
            f"along, or give the grid x: {series.along}",
        )
    holder = _holder(series, grid)
    where: Where = curve.base[:2] if holder is series else ()
    if holder.nfe and holder.steps:
        raise document.error((*where, "steps"), "give either `nfe` or `steps`, not both")
    if "steps" in raw and (holder.nfe or holder.steps):
        raise document.error((*curve.base, "steps"), "the budget is already given by `nfe` or `steps`; remove one")
    return bool(holder.nfe), holder.nfe or holder.steps
