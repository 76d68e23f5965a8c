"""Grids: YAML experiments. A grid is denoisers x series x budgets; each combination becomes one Trial.

    title: Deterministic sampling
    samples: 640
    nfe: [5, 9, 17, 35]
    denoisers:
      digits-vp: {title: VP}
    series:
      - name: Original
        sampler: {solver: euler}
        per_denoiser:
          digits-vp: {discretization: vp, schedule: vp, scaling: vp}
      - name: Ours, by churn
        sampler: {stochasticity: {kind: churn, S_churn: [0, 5, 10]}}      # a list is an axis: one curve each

Everything is validated before any compute; an error names the file, the line, the rule and the remedy.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from harness import yamlfile
from harness.choice import Choice
from harness.data_files import data_dir
from harness.denoisers.load import Description, Window, describe, verify
from harness.denoisers.specs import DenoiserSpec
from harness.errors import InputError
from harness.planning.nfe import count_nfe, steps_for
from harness.sampling.sampler import MAX_STEPS, Sampler
from harness.trial import LabelPolicy, Trial
from harness.yamlfile import Document, Where

MAX_TRIALS = 100_000

Count = Annotated[int, Field(ge=1)]
Counts = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MAX_STEPS)], ...],
    Field(min_length=1),
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,)),
]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Panel(Choice):
    """One denoiser of a grid, and a panel of its figure.

    Args:
        source: a card's name, a checkpoint's path, or a spec; by default the key it stands under.
        title: heading in the report.
        paper: key of the published figures to show beside it, such as `cifar10_vp`.
        labels: label policy.
        dtype: type the network runs in.
    """

    source: str | DenoiserSpec | None = None
    title: str | None = None
    paper: str | None = None
    labels: LabelPolicy = "random"
    dtype: Literal["float32", "float64"] | None = None


class Series(Choice):
    """One curve of every panel: a sampler, with what differs by denoiser.

    Args:
        name: as in the legend; unique in the grid.
        note: what it is, in a sentence.
        role: `baseline` and `ours` mark the two curves whose speed-up is reported.
        paper: key of the same curve in the paper's Figure 2 or 4.
        sampler: the axes that are the same for all denoisers; a list as a value is an axis of its own.
        per_denoiser: axes by denoiser, which replace those of `sampler`.
        only: the denoisers it applies to; all, if left out.
        nfe, steps: budgets of this series in place of the grid's.
    """

    name: Name
    note: str | None = None
    role: Literal["baseline", "ours"] | None = None
    paper: str | None = None
    sampler: dict[str, Any] = Field(default_factory=dict)
    per_denoiser: dict[str, dict[str, Any]] = Field(default_factory=dict)
    only: Annotated[Texts, Field(min_length=1)] | None = None
    nfe: Counts | None = None
    steps: Counts | None = None


def _by_name(value: Any) -> Any:
    """A list of names stands for a mapping with nothing to add; so does an empty entry."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a denoiser is listed twice")
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {} if entry is None else entry for name, entry in value.items()}
    return value


class Grid(Choice):
    """A YAML experiment.

    Args:
        title, description: for the report.
        metric: what is measured; `fd-digits`, the Frechet distance in the features of the digit classifier.
        samples: N, images per trial; the same seeds for all trials.
        first_seed: the seeds are first_seed to first_seed + samples - 1.
        chunk: seeds per unit of work; a worker takes as many at a time as fill one network call.
        denoisers: name -> Panel; a list of names will do.
        series: the curves.
        nfe: budgets; each means the largest step count whose NFE is at most that.
        steps: step counts, in place of nfe.
        mosaics: budgets (of nfe or steps) whose first images are kept for the report.
    """

    title: Name
    description: str = ""
    metric: Literal["fd-digits"] = "fd-digits"
    samples: Annotated[int, Field(ge=2, le=10_000_000)] = 640
    first_seed: Annotated[int, Field(ge=0)] = 0
    chunk: Annotated[int, Field(ge=1, le=100_000)] = 64
    denoisers: Annotated[dict[Name, Panel], BeforeValidator(_by_name), Field(min_length=1)]
    series: Annotated[list[Series], Field(min_length=1)]
    nfe: Counts | None = None
    steps: Counts | None = None
    mosaics: Counts | None = None

    @model_validator(mode="after")
    def _unique_names(self) -> "Grid":
        seen: set[str] = set()
        for series in self.series:
            if series.name in seen:
                raise ValueError(f"series '{series.name}' is there twice; give each its own name")
            seen.add(series.name)
        return self


class Planned(NamedTuple):
    """One trial of a plan, with its place in the figure: panel, series, the NFE it was planned at, its images kept?"""

    trial: Trial
    panel: str
    series: str
    nfe: int
    mosaic: bool


class Plan(NamedTuple):
    """What a grid amounts to: its trials in order, and the text it came from."""

    name: str
    grid: Grid
    items: list[Planned]
    source: str
    series: list[dict[str, Any]]
    described: dict[str, Description]


class _Curve(NamedTuple):
    """A series after its axes are expanded: name, raw sampler, and where each of its keys stands in the file."""

    name: str
    series: Series
    sampler: dict[str, Any]
    base: Where
    moved: dict[str, Where]


def load_grid(path: Path | str) -> tuple[Grid, Document]:
    """Read and validate a grid's file, without planning it.

    Raises:
        InputError: with file, line and remedy.
    """
    document = yamlfile.load(path)
    if not isinstance(document.data, dict):
        raise document.error((), "a grid is a mapping with keys such as title, denoisers and series")
    return yamlfile.build(Grid, document), document


def find_grid(name: str) -> Path:
    """A grid's file: the path as given, or by name among the grids that come with the package.

    Raises:
        InputError: neither is there; with the names there are.
    """
    path = Path(name)
    shipped = data_dir("grids")
    for candidate in (path, shipped / path.name, shipped / f"{path.name}.yaml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(found.stem for found in shipped.glob("*.yaml")))
    raise InputError(f"{name}: no such file, nor a grid that comes with the package; those are: {known}")


def plan(path: Path | str, samples: int | None = None) -> Plan:
    """Turn a grid's file into trials.

    Args:
        path: the YAML file.
        samples: N in place of the grid's own.

    Raises:
        InputError: anything wrong with the file, or a sampler that does not fit its denoiser.
    """
    grid, document = load_grid(path)
    if samples is not None:
        if samples < 2:
            raise InputError(f"--samples must be at least 2; we got {samples}")
        grid = grid.model_copy(update={"samples": samples})
    described = {name: _describe(name, panel, document) for name, panel in grid.denoisers.items()}
    items: list[Planned] = []
    curves: dict[str, dict[str, Any]] = {}
    for index, series in enumerate(grid.series):
        _check_names(series, index, grid, document)
        for panel in series.only or grid.denoisers:
            for curve in _curves(series, index, panel, document):
                note = {"name": curve.name, "note": series.note, "role": series.role, "paper": series.paper}
                curves.setdefault(curve.name, note)
                items += _trials(curve, panel, grid, described[panel], document)
                if len(items) > MAX_TRIALS:
                    raise document.error(("series", index), f"more than {MAX_TRIALS:,} trials; use shorter lists")
    source = Path(path).read_text(encoding="utf-8")
    return Plan(Path(path).stem, grid, items, source, list(curves.values()), described)


def _describe(name: str, panel: Panel, document: Document) -> Description:
    where: Where = ("denoisers", name)
    try:
        source = panel.source if panel.source is not None else name
        found = describe(source)
        verify(source)
    except InputError as error:
        raise document.error(where, str(error)) from None
    if panel.dtype == "float32" and not found.identity.startswith("sha256:"):
        raise document.error((*where, "dtype"), "an analytic denoiser computes in float64; leave dtype out")
    labels = panel.labels
    if found.guided_by_class and labels == "unconditional":
        raise document.error((*where, "labels"), "classifier-free guidance leads towards a class; leave labels out")
    if isinstance(labels, int) and labels >= found.label_dim:
        have = f"classes 0 to {found.label_dim - 1}" if found.label_dim else "no classes"
        raise document.error((*where, "labels"), f"class {labels} was asked for and the denoiser has {have}")
    return found


def _check_names(series: Series, index: int, grid: Grid, document: Document) -> None:
    for key, names in (("per_denoiser", series.per_denoiser), ("only", series.only or ())):
        for name in names:
            if name not in grid.denoisers:
                known = ", ".join(grid.denoisers)
                raise document.error(("series", index, key, name), f"unknown denoiser '{name}'; this grid has: {known}")


def _curves(series: Series, index: int, panel: str, document: Document) -> Iterator[_Curve]:
    """One curve for every combination of the lists in a series' sampler."""
    base: Where = ("series", index, "sampler")
    own = series.per_denoiser.get(panel, {})
    moved: dict[str, Where] = {axis: ("series", index, "per_denoiser", panel, axis) for axis in own}
    raw = {**series.sampler, **own}
    axes = list(_lists(raw))
    for where, options in axes:
        if not options:
            place = (*moved[str(where[0])], *where[1:]) if where[0] in moved else (*base, *where)
            raise document.error(place, "an empty list leaves nothing to run; give it values, or remove the key")
    for values in itertools.product(*(options for _, options in axes)):
        sampler, named = raw, []
        for (where, _), value in zip(axes, values, strict=True):
            sampler = _with(sampler, where, value)
            named.append(f"{where[-1]} {value if not isinstance(value, dict) else value.get('kind', value)}")
        yield _Curve(", ".join([series.name, *named]), series, sampler, base, moved)


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


def _trials(curve: _Curve, panel: str, grid: Grid, found: Description, document: Document) -> Iterator[Planned]:
    """The trials of one curve on one denoiser, one for each budget."""
    sampler = yamlfile.build(Sampler, document, curve.base, curve.sampler, curve.moved)
    choice = grid.denoisers[panel]
    by_nfe, budgets = _budgets(curve, grid, document)
    for budget in budgets if budgets is not None else (sampler.steps,):
        try:
            if by_nfe:
                chosen = steps_for(budget, sampler, *_cost(found))
            else:
                chosen = sampler.model_copy(update={"steps": budget})
            nfe = count_nfe(chosen, *_cost(found))
        except InputError as error:
            where = curve.base if curve.base in document.lines else curve.base[:2]
            raise document.error(where, f"with denoiser '{panel}': {error}") from None
        source = choice.source if choice.source is not None else panel
        trial = Trial(denoiser=source, weights=found.identity, sampler=chosen, labels=choice.labels, dtype=choice.dtype)
        yield Planned(trial, panel, curve.name, nfe, budget in (grid.mosaics or ()))


def _cost(found: Description) -> tuple[float, float, int, Window | None]:
    """What counting evaluations needs to know of a denoiser."""
    return found.sigma_min, found.sigma_max, found.cost, found.window


def _budgets(curve: _Curve, grid: Grid, document: Document) -> tuple[bool, tuple[int, ...] | None]:
    """Whether budgets are NFE, and which they are; None where the sampler's own step count stands."""
    holder: Series | Grid = curve.series if curve.series.nfe or curve.series.steps else grid
    where: Where = curve.base[:2] if holder is curve.series else ()
    if holder.nfe and holder.steps:
        raise document.error((*where, "steps"), "give either `nfe` or `steps`, not both")
    if "steps" in curve.sampler and (holder.nfe or holder.steps):
        raise document.error((*curve.base, "steps"), "the budget is already given by `nfe` or `steps`; remove one")
    return bool(holder.nfe), holder.nfe or holder.steps
