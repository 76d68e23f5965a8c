"""What a search is asked for, checked before anything is run, and its identity: the spec that a study keeps."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from harness.core.errors import InputError
from harness.core.yaml import first_mistake
from harness.denoisers.load import verify
from harness.denoisers.specs import Spec, parse
from harness.experiments.checks import misfit
from harness.experiments.metric import USUAL, Metric, samples_of
from harness.experiments.trial import LabelPolicy
from harness.metrics.choices import FeatureMetric
from harness.metrics.diagnostics import Measure
from harness.metrics.features.choices import DigitsFeatures
from harness.metrics.references import find_reference
from harness.search import free_levels
from harness.search.candidates import Candidate, TrialBuilder, denoiser_name
from harness.search.enqueued import EnqueuedTrial, enqueued_trials
from harness.search.pruner import FEWEST_BLOCKS
from harness.search.space import SearchSpace, SpacePoint
from harness.search.targets import Target, load_target
from harness.search.template import Choices, NumberRange, SpaceError, is_searched
from harness.search.validate import check_guidance, check_space, probe

Method = Literal["tpe", "grid", "random", "qmc", "gp", "cmaes", "nsga2"]
METHODS: tuple[str, ...] = get_args(Method)
PRUNERS = ("paired", "halving", "none")

SAMPLES = 512
"""N of a trial where neither the command nor the metric says, and the metric's own number is not larger."""

BUDGET = 200
"""Trials of a study whose command names no budget."""

RUNGS = (0.25, 0.5, 1.0)
"""Parts of N after which a trial is looked at."""

BLOCKS, WIDE_BLOCKS = 16, 8
"""Blocks of seeds that comparisons are made over; fewer where the moments of each are large."""

FRESH = 1_000_000
"""How far the fresh seeds of the end are from those of the search."""

LEAST_NFE = 5
"""Smallest number of evaluations of a search with two objectives."""

MOST_POINTS = 20_000
"""Points of a declared grid that can be searched in full."""

Rows = Mapping[int, Mapping[str, Any]]
"""The trials of a study by number, as they are stored."""

_METRIC: TypeAdapter[Any] = TypeAdapter(Metric)


class SearchRequest(NamedTuple):
    """A search as a command asks for it; None for what follows from the rest.

    Args:
        target: name of a target, or path of its YAML file.
        denoiser: a card's name, a checkpoint's path, or a spec; the target's own by default.
        metric: what is to be good: a kind, or a mapping.
        proxy: a cheaper metric to search by; the metric itself is then measured at the end only.
        nfe: evaluations a sample.
        pareto: search for the best at every budget up to `nfe`.
        method: search method.
        on_grid: search declared values only.
        samples: N.
        rungs: numbers of samples after which a trial is looked at; the last is N.
        pruner: how it is judged there.
        seed: of the search method.
        ahead: trials under way at a time.
        top: settings that are measured on fresh seeds.
        study: its name.
        labels, dtype: as in a grid.
    """

    target: str = "stochastic"
    denoiser: str | Mapping[str, Any] | Spec | None = None
    metric: str | Mapping[str, Any] = "fd-digits"
    proxy: str | Mapping[str, Any] | None = None
    nfe: int | None = None
    pareto: bool = False
    method: str = "tpe"
    on_grid: bool = False
    samples: int | None = None
    rungs: tuple[int, ...] | None = None
    pruner: str = "paired"
    seed: int = 0
    ahead: int = 4
    top: int = 5
    study: str | None = None
    labels: LabelPolicy = "random"
    dtype: Literal["float32", "float64"] | None = None


class SearchPlan(NamedTuple):
    """A search that can be run.

    Args:
        name: of the study.
        spec: all that decides what is suggested and measured, as JSON.
        target: the search space with what belongs to it.
        space: with everything filled in that the denoiser and the budget decide.
        builder: makes trials of points.
        metric: what is to be good.
        objective: what the search compares by.
        samples: N.
        block: seeds in one block, over which the jackknife runs.
        rungs: numbers of samples after which a trial is looked at.
        enqueued: settings that the target names; they are tried first.
        points: of the declared grid, for method `grid`.
        notes: what people should know before it runs, such as a known setting that is left out.
    """

    name: str
    spec: dict[str, Any]
    target: Target
    space: SearchSpace
    builder: TrialBuilder
    metric: FeatureMetric | Measure
    objective: FeatureMetric | Measure
    samples: int
    block: int
    rungs: tuple[int, ...]
    enqueued: list[EnqueuedTrial]
    points: list[SpacePoint] | None
    notes: tuple[str, ...] = ()

    @property
    def is_pareto(self) -> bool:
        """Whether NFE is an objective beside the metric."""
        return bool(self.spec["pareto"])

    @property
    def nfe(self) -> int:
        """Evaluations a sample, at most."""
        return int(self.spec["nfe"])

    @property
    def has_proxy(self) -> bool:
        """Whether the search goes by something cheaper than the metric."""
        return self.objective != self.metric

    def candidate(self, point: SpacePoint) -> Candidate:
        """The trial of a point.

        Raises:
            InputError: it makes no sampler.
        """
        return self.builder.build(point.filled, int(point.filled.get("nfe", self.nfe)))


def plan_search(asked: SearchRequest) -> SearchPlan:
    """Check a search and settle what follows from the rest.

    Raises:
        InputError: an unknown name, a space that no sampler fits, a budget of evaluations that none can meet, a method
            that cannot search this space, or numbers that do not go together.
    """
    _check_words(asked)
    name, target, document = load_target(asked.target)
    asked_for = target.source if asked.denoiser is None else asked.denoiser
    source = parse(asked_for) if isinstance(asked_for, Mapping) else asked_for
    verify(source)
    metric = _metric(asked.metric, "--metric")
    objective = metric if asked.proxy is None else _metric(asked.proxy, "--proxy")
    nfe = asked.nfe or target.nfe
    builder = TrialBuilder(source, tuple(dict.fromkeys((objective, metric))), asked.labels, asked.dtype)
    try:
        check_space(target.template)
        space = SearchSpace(_template(target, builder, nfe, asked.pareto), asked.on_grid or asked.method == "grid")
    except SpaceError as error:
        raise document.error(error.where, str(error)) from None
    _check_denoiser(asked, target, builder, source)
    samples = _samples(objective, asked.samples)
    if max(samples, _samples(metric, asked.samples)) > FRESH:
        raise InputError(f"--samples is at most {FRESH}, where the fresh seeds of the end begin; we got more")
    block = _block(objective, samples)
    rungs = _rungs(asked, samples, block)
    spec = {
        "target": name,
        "space": {"sampler": target.sampler, "denoiser": target.denoiser},
        "enqueue": [known.model_dump(mode="json", exclude_none=True) for known in target.enqueue],
        "denoiser": source if isinstance(source, str) else source.model_dump(mode="json"),
        "weights": builder.description.identity,
        "labels": asked.labels,
        "dtype": asked.dtype,
        "metric": metric.model_dump(mode="json", exclude_none=True),
        "objective": objective.model_dump(mode="json", exclude_none=True),
        "nfe": nfe,
        "pareto": asked.pareto,
        "method": asked.method,
        "on_grid": space.on_grid,
        "seed": asked.seed,
        "samples": samples,
        "first_seed": 0,
        "rungs": list(rungs),
        "chunk": block,
        "pruner": asked.pruner,
        "ahead": asked.ahead,
        "fresh_seed": FRESH,
        "fresh_samples": _samples(metric, asked.samples),
        "top": asked.top,
    }
    _check_method(asked, space)
    try:
        enqueued, left_out = enqueued_trials(target, space, builder, nfe, asked.pareto)
        notes = (*left_out, *probe(space, builder, nfe))
    except SpaceError as error:
        raise document.error(error.where, str(error)) from None
    study = asked.study or _study_name(name, source, nfe, asked)
    found = SearchPlan(
        study, spec, target, space, builder, metric, objective, samples, block, rungs, enqueued, None, notes
    )
    return found._replace(points=_different(found)) if asked.method == "grid" else found


def _check_denoiser(asked: SearchRequest, target: Target, builder: TrialBuilder, source: str | Spec) -> None:
    """Labels, type and guidance go with the denoiser."""
    found, guided = builder.description, getattr(source, "kind", None) in ("cfg", "autoguidance")
    check_guidance(target.template, found, guided)
    if target.denoiser and not guided:
        found = found._replace(guided_by_class=True)
    wrong = misfit(found, asked.labels, asked.dtype)
    if wrong is not None:
        raise InputError(f"{'--label' if wrong[0] == 'labels' else wrong[0]}: {wrong[1]}")


def _check_words(asked: SearchRequest) -> None:
    for value, known, option in ((asked.method, METHODS, "--method"), (asked.pruner, PRUNERS, "--pruner")):
        if value not in known:
            raise InputError(f"{option} {value}: unknown; known: {', '.join(known)}")
    for number, least, option in (
        (asked.nfe, 1, "--nfe"),
        (asked.samples, 2, "--samples"),
        (asked.ahead, 1, "--ahead"),
        (asked.top, 1, "--top"),
    ):
        if number is not None and number < least:
            raise InputError(f"{option} must be at least {least}; we got {number}")
    if asked.study is not None and not re.fullmatch(r"[\w.+-][\w.+ -]{0,99}", asked.study):
        raise InputError("--study takes letters, digits, dots, dashes and underscores, 100 at most")


def _metric(asked: str | Mapping[str, Any], option: str) -> FeatureMetric | Measure:
    """A metric that can be measured here."""
    try:
        metric = _METRIC.validate_python(asked)
    except ValidationError as error:
        kind = asked if isinstance(asked, str) else asked.get("kind", "")
        raise InputError(f"{' '.join([option, str(kind)]).strip()}: {first_mistake(error)}") from None
    if isinstance(metric, FeatureMetric):
        metric = metric.model_copy(update={"ranges": 1})
        try:
            metric.features.check()
            if metric.source is not None:
                find_reference(metric.source, metric.features)
        except InputError as error:
            raise InputError(f"{option} {metric.name}: {error}") from None
    return metric


def _template(target: Target, builder: TrialBuilder, nfe: int, pareto: bool) -> dict[str, Any]:
    """The target's space, with free levels laid out and the number of evaluations where that is searched."""
    template = {key: part for key, part in target.template.items() if part}
    template.setdefault("sampler", {})
    discretization = template["sampler"].get("discretization")
    if free_levels.is_free(discretization):
        if pareto:
            raise InputError("free levels are as many as the budget has steps, so --pareto cannot search them")
        plain = template["sampler"] | {"discretization": "edm"}
        if is_searched(plain):
            raise SpaceError(
                ("sampler",), "free levels are as many as the sampler has steps, so nothing beside them is searched"
            )
        steps = builder.steps(plain, nfe)
        try:
            template["sampler"] = plain | {"discretization": free_levels.expand_gaps(discretization, steps)}
        except InputError as error:
            raise SpaceError(("sampler", "discretization"), str(error)) from None
    if pareto:
        if nfe <= LEAST_NFE:
            raise InputError(f"--pareto searches budgets from {LEAST_NFE} evaluations up; raise --nfe {nfe}")
        template["nfe"] = NumberRange(low=LEAST_NFE, high=nfe, log=True, whole=True, values=_budgets(nfe))
    return template


def _budgets(nfe: int) -> tuple[float, ...]:
    """Budgets down from the largest, each 0.7 of the one before, in rising order."""
    found = [nfe]
    while found[-1] * 0.7071 >= LEAST_NFE:
        found.append(round(found[-1] * 0.7071))
    return tuple(map(float, reversed(found)))


def _samples(metric: FeatureMetric | Measure, asked: int | None) -> int:
    usual = samples_of(metric, asked)
    return SAMPLES if asked is None and metric.samples is None and usual == USUAL else usual


def _block(metric: FeatureMetric | Measure, samples: int) -> int:
    narrow = not isinstance(metric, FeatureMetric) or isinstance(metric.features, DigitsFeatures)
    return max(1, samples // (BLOCKS if narrow else WIDE_BLOCKS))


def _rungs(asked: SearchRequest, samples: int, block: int) -> tuple[int, ...]:
    """Where a trial is looked at: whole blocks, rising, the last of them N."""
    if asked.pruner == "none":
        if asked.rungs is not None:
            raise InputError("--pruner none looks at a trial at its end only; leave --rungs out, or use another rule")
        return (samples,)
    fewest = FEWEST_BLOCKS if asked.pruner == "paired" else 1
    if samples < FEWEST_BLOCKS * block:
        raise InputError(
            f"trials are compared over {FEWEST_BLOCKS} blocks of seeds at least, and N is {samples}; raise --samples, "
            "or use --pruner none"
        )
    if asked.rungs is None:
        found = [max(fewest, 2, round(part * samples / block)) * block for part in RUNGS[:-1]]
        return (*sorted({rung for rung in found if rung < samples}), samples)
    rungs = asked.rungs
    if list(rungs) != sorted(set(rungs)) or rungs[-1] != samples or rungs[0] < 2:
        raise InputError(f"--rungs rise to N = {samples}, each once; we got {', '.join(map(str, rungs))}")
    for rung in rungs[:-1]:
        if rung % block:
            raise InputError(f"--rungs are whole blocks of {block} seeds; we got {rung}")
    if rungs[0] < fewest * block:
        raise InputError(
            f"--pruner paired decides nothing below {fewest} blocks, that is {fewest * block} seeds; we got a rung at "
            f"{rungs[0]}; raise it"
        )
    return rungs


def _check_method(asked: SearchRequest, space: SearchSpace) -> None:
    numbers = [one for one in space.parameters if isinstance(one.node, NumberRange)]
    choices = [one.name for one in space.parameters if isinstance(one.node, Choices)]
    if asked.method == "cmaes":
        if asked.pareto:
            raise InputError("method cmaes has one objective; use nsga2 or tpe with --pareto")
        if choices:
            raise InputError(
                f"method cmaes searches numbers, and this space has choices at {', '.join(choices)}; use tpe"
            )
        if len(numbers) < 2:
            raise InputError("method cmaes needs at least two numbers to search; use tpe")
        try:
            import cmaes  # noqa: F401
        except ImportError:
            raise InputError("method cmaes needs its package: pip install 'diffusion-harness[cmaes]'") from None


def _study_name(target: str, source: str | Spec, nfe: int, asked: SearchRequest) -> str:
    parts = [target, denoiser_name(source), f"nfe{nfe}"]
    parts += ["pareto"] * asked.pareto + [asked.method] * (asked.method != "tpe")
    return re.sub(r"[^\w.-]+", "-", "_".join(parts))[:100]


def _different(search: SearchPlan) -> list[SpacePoint]:
    """The points of the declared grid that make samplers, each sampler once, without those that are tried first.

    Raises:
        InputError: there are too many.
    """
    count = sum(1 for _ in itertools.islice(search.space.grid(), MOST_POINTS + 1))
    if count > MOST_POINTS:
        raise InputError(
            f"the declared grid has more than {MOST_POINTS:,} points; declare fewer `values`, or draw from them with "
            "--method random --on-grid"
        )
    seen = {start.candidate.identity for start in search.enqueued}
    found = []
    for point in search.space.grid():
        try:
            identity = search.candidate(point).identity
        except InputError:
            continue
        if identity not in seen:
            seen.add(identity)
            found.append(point)
    return found
