"""Plans of searches: a request is checked before anything runs, and becomes a plan with the spec that a study keeps."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from harness.core.data_range import DataRange
from harness.core.errors import InputError
from harness.core.yaml import first_mistake
from harness.denoisers.config import DenoiserConfig
from harness.denoisers.load import describe, parse, verify
from harness.experiments.checks import misfit
from harness.experiments.notes import conditions_notes
from harness.experiments.trial import LabelPolicy
from harness.metrics import METRICS
from harness.metrics.base import DEFAULT_SAMPLES, Metric
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
"""Default N of a trial, unless the metric has a number of its own or a larger default."""

BUDGET = 200
"""Default number of trials of a study."""

RUNGS = (0.25, 0.5, 1.0)
"""Parts of N after which a trial is measured and may be pruned."""

BLOCKS, WIDE_BLOCKS = 16, 8
"""Blocks of seeds that comparisons are made over; fewer where the moments of a block are large."""

FRESH_SEED = 1_000_000
"""First of the fresh seeds, on which the best settings are measured at the end."""

LEAST_NFE = 5
"""Smallest NFE that a search with two objectives tries."""

MOST_POINTS = 20_000
"""Most points of a declared grid that method `grid` takes."""


class SearchRequest(NamedTuple):
    """A search as a command asks for it. None means a default that follows from the rest.

    Args:
        target: name of a target, or path of its YAML file.
        denoiser: a card's name, a checkpoint's path, or a spec; by default the target's own.
        metric: the metric to optimize: a kind, or a mapping.
        proxy: a cheaper metric to search by; the metric itself is then measured at the end only.
        nfe: evaluations a sample.
        pareto: search every budget up to `nfe`, with NFE as a second objective.
        method: search method.
        on_grid: search declared values only.
        samples: N, the seeds of a trial that is not pruned.
        rungs: numbers of samples after which a trial is measured, rising; the last is N.
        pruner: rule that ends trials at a rung.
        seed: seed of the search method.
        ahead: how many trials may run at a time.
        top: number of settings that are measured on fresh seeds.
        study: name of the study.
        labels, dtype, conditions: as in a grid.
    """

    target: str = "stochastic"
    denoiser: str | Mapping[str, Any] | DenoiserConfig | None = None
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
    conditions: str | None = None


class SearchPlan(NamedTuple):
    """A search that is ready to run.

    Args:
        name: name of the study.
        spec: all that decides what is suggested and measured, as JSON.
        target: the target.
        space: the target's space, with the parts that the denoiser and the budget decide.
        builder: builds trials of points.
        metric: the metric to optimize.
        objective: the metric that the search compares by: the proxy, or the metric itself.
        samples: N.
        block: seeds in one block of the jackknife.
        rungs: numbers of samples after which a trial is measured, rising; the last is N.
        enqueued: the target's settings, which are tried first.
        points: points of the declared grid; None for other methods than `grid`.
        notes: for the user, such as an enqueued setting that is left out.
    """

    name: str
    spec: dict[str, Any]
    target: Target
    space: SearchSpace
    builder: TrialBuilder
    metric: Metric
    objective: Metric
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
        """Whether the search compares by a cheaper metric than the one to optimize."""
        return self.objective != self.metric

    def candidate(self, point: SpacePoint) -> Candidate:
        """The candidate of a point.

        Raises:
            InputError: the point makes no sampler.
        """
        return self.builder.build(point.filled, int(point.filled.get("nfe", self.nfe)))


def plan_search(request: SearchRequest) -> SearchPlan:
    """Check a request, and fill in its defaults.

    Raises:
        InputError: an unknown name, a space that no sampler fits, an NFE that no sampler can meet, a method that cannot
            search this space, or numbers that do not go together.
    """
    _check_words(request)
    name, target, document = load_target(request.target)
    denoiser = target.source if request.denoiser is None else request.denoiser
    source = parse(denoiser) if isinstance(denoiser, Mapping) else denoiser
    verify(source)
    data_range = describe(source).data_range
    metric = _metric(request.metric, "--metric", data_range)
    objective = metric if request.proxy is None else _metric(request.proxy, "--proxy", data_range)
    nfe = request.nfe or target.nfe
    metrics = tuple(dict.fromkeys((objective, metric)))
    builder = TrialBuilder(source, metrics, request.labels, request.dtype, request.conditions)
    try:
        check_space(target.template)
        space = SearchSpace(
            _template(target, builder, nfe, request.pareto), request.on_grid or request.method == "grid"
        )
    except SpaceError as error:
        raise document.error(error.where, str(error)) from None
    _check_denoiser(request, target, builder, source)
    samples = _samples(objective, request.samples)
    if max(samples, _samples(metric, request.samples)) > FRESH_SEED:
        raise InputError(f"--samples is at most {FRESH_SEED}, where the fresh seeds of the end begin; we got more")
    block = _block(objective, samples)
    rungs = _rungs(request, samples, block)
    spec = {
        "target": name,
        "space": {"sampler": target.sampler, "denoiser": target.denoiser},
        "enqueue": [setting.model_dump(mode="json", exclude_none=True) for setting in target.enqueue],
        "denoiser": source if isinstance(source, str) else source.model_dump(mode="json"),
        "weights": builder.description.identity,
        "labels": builder.labels,
        "dtype": request.dtype,
        "metric": metric.model_dump(mode="json", exclude_none=True),
        "objective": objective.model_dump(mode="json", exclude_none=True),
        "nfe": nfe,
        "pareto": request.pareto,
        "method": request.method,
        "on_grid": space.on_grid,
        "seed": request.seed,
        "samples": samples,
        "first_seed": 0,
        "rungs": list(rungs),
        "chunk": block,
        "pruner": request.pruner,
        "ahead": request.ahead,
        "fresh_seed": FRESH_SEED,
        "fresh_samples": _samples(metric, request.samples),
        "top": request.top,
    }
    _check_method(request, space)
    try:
        enqueued, left_out = enqueued_trials(target, space, builder, nfe, request.pareto)
        cycled = conditions_notes(request.conditions, max(samples, _samples(metric, request.samples)))
        notes = (*left_out, *probe(space, builder, nfe), *cycled)
    except SpaceError as error:
        raise document.error(error.where, str(error)) from None
    plan = SearchPlan(
        name=request.study or _study_name(name, source, nfe, request),
        spec=spec,
        target=target,
        space=space,
        builder=builder,
        metric=metric,
        objective=objective,
        samples=samples,
        block=block,
        rungs=rungs,
        enqueued=enqueued,
        points=None,
        notes=notes,
    )
    return plan._replace(points=_distinct_points(plan)) if request.method == "grid" else plan


def _check_denoiser(
    request: SearchRequest, target: Target, builder: TrialBuilder, source: str | DenoiserConfig
) -> None:
    """Check that labels, dtype and searched guidance go with the denoiser."""
    denoiser, guided = builder.description, getattr(source, "kind", None) in ("cfg", "autoguidance")
    check_guidance(target.template, denoiser, guided)
    if target.denoiser and not guided:  # the trials' denoiser is this one with guidance by class
        denoiser = denoiser._replace(guided_by_class=True)
    wrong = misfit(denoiser, request.labels, request.dtype, request.conditions)
    if wrong is not None:
        option = {"labels": "--label", "conditions": "--conditions"}.get(wrong[0], wrong[0])
        raise InputError(f"{option}: {wrong[1]}")


def _check_words(request: SearchRequest) -> None:
    for value, known, option in ((request.method, METHODS, "--method"), (request.pruner, PRUNERS, "--pruner")):
        if value not in known:
            raise InputError(f"{option} {value}: unknown; known: {', '.join(known)}")
    for number, least, option in (
        (request.nfe, 1, "--nfe"),
        (request.samples, 2, "--samples"),
        (request.ahead, 1, "--ahead"),
        (request.top, 1, "--top"),
    ):
        if number is not None and number < least:
            raise InputError(f"{option} must be at least {least}; we got {number}")
    if request.study is not None and not re.fullmatch(r"[\w.+-][\w.+ -]{0,99}", request.study):
        raise InputError("--study takes letters, digits, dots, dashes and underscores, 100 at most")


def _metric(asked: str | Mapping[str, Any], option: str, data_range: DataRange) -> Metric:
    """A metric that can be measured here, of data of a range."""
    try:
        metric = METRICS.read(asked)
    except ValidationError as error:
        kind = asked if isinstance(asked, str) else asked.get("kind", "")
        raise InputError(f"{' '.join([option, str(kind)]).strip()}: {first_mistake(error)}") from None
    try:
        metric.check_alone()
        metric = metric.for_range(data_range)
        metric.check_files()
    except InputError as error:
        raise InputError(f"{option} {metric.name}: {error}") from None
    return metric


def _template(target: Target, builder: TrialBuilder, nfe: int, pareto: bool) -> dict[str, Any]:
    """The target's template, with a factor for each gap of free levels, and NFE as a parameter of two objectives."""
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
    """Declared values of NFE: the largest, and down by factors of sqrt(1/2), in rising order."""
    values = [nfe]
    while values[-1] * 0.7071 >= LEAST_NFE:
        values.append(round(values[-1] * 0.7071))
    return tuple(map(float, reversed(values)))


def _samples(metric: Metric, asked: int | None) -> int:
    usual = metric.default_samples(asked)
    return SAMPLES if asked is None and metric.samples is None and usual == DEFAULT_SAMPLES else usual


def _block(metric: Metric, samples: int) -> int:
    return max(1, samples // (WIDE_BLOCKS if metric.is_wide else BLOCKS))


def _rungs(request: SearchRequest, samples: int, block: int) -> tuple[int, ...]:
    """Numbers of samples after which a trial is measured: whole blocks, rising, the last is N."""
    if request.pruner == "none":
        if request.rungs is not None:
            raise InputError("--pruner none looks at a trial at its end only; leave --rungs out, or use another rule")
        return (samples,)
    fewest = FEWEST_BLOCKS if request.pruner == "paired" else 1
    if samples < FEWEST_BLOCKS * block:
        raise InputError(
            f"trials are compared over {FEWEST_BLOCKS} blocks of seeds at least, and N is {samples}; raise --samples, "
            "or use --pruner none"
        )
    if request.rungs is None:
        early = {max(fewest, 2, round(part * samples / block)) * block for part in RUNGS[:-1]}
        return (*sorted(rung for rung in early if rung < samples), samples)
    rungs = request.rungs
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


def _check_method(request: SearchRequest, space: SearchSpace) -> None:
    numbers = [one for one in space.parameters if isinstance(one.node, NumberRange)]
    choices = [one.name for one in space.parameters if isinstance(one.node, Choices)]
    if request.method == "cmaes":
        if request.pareto:
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


def _study_name(target: str, source: str | DenoiserConfig, nfe: int, request: SearchRequest) -> str:
    parts = [target, denoiser_name(source), f"nfe{nfe}"]
    parts += ["pareto"] * request.pareto + [request.method] * (request.method != "tpe")
    return re.sub(r"[^\w.-]+", "-", "_".join(parts))[:100]


def _distinct_points(search: SearchPlan) -> list[SpacePoint]:
    """The points of the declared grid that make samplers, each sampler once, without the enqueued ones.

    Raises:
        InputError: the grid has too many points.
    """
    count = sum(1 for _ in itertools.islice(search.space.grid(), MOST_POINTS + 1))
    if count > MOST_POINTS:
        raise InputError(
            f"the declared grid has more than {MOST_POINTS:,} points; declare fewer `values`, or draw from them with "
            "--method random --on-grid"
        )
    seen = {trial.candidate.identity for trial in search.enqueued}
    points = []
    for point in search.space.grid():
        try:
            identity = search.candidate(point).identity
        except InputError:
            continue
        if identity not in seen:
            seen.add(identity)
            points.append(point)
    return points
