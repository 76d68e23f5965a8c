"""What a search is asked for, checked before anything is run, and its identity: the spec that a study keeps."""

import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from harness.denoisers.load import verify
from harness.denoisers.specs import Spec, parse
from harness.errors import InputError
from harness.evaluation.choices import FeatureMetric
from harness.evaluation.references import find_reference
from harness.features.choices import DigitsFeatures
from harness.laboratory import Measure
from harness.planning.metric import USUAL, Metric, samples_of
from harness.searching import levels
from harness.searching.settings import Maker, Setting, denoiser_name
from harness.searching.space import Among, Number, Point, Space
from harness.searching.target import Known, Target, load_target
from harness.trial import LabelPolicy
from harness.yamlfile import explain

Method = Literal["tpe", "grid", "random", "qmc", "gp", "cmaes", "nsga2"]
METHODS: tuple[str, ...] = get_args(Method)
PRUNERS = ("paired", "halving", "none")

SAMPLES = 512
"""N of a trial where neither the command nor the metric says, and the metric's own number is not larger."""

BUDGET = 200
"""Trials of a study whose command names no budget."""

RUNGS = (0.25, 0.5, 1.0)
"""Parts of N after which a trial is looked at."""

CELLS, WIDE_CELLS = 16, 8
"""Blocks of seeds that comparisons are made over; fewer where the moments of each are large."""

FRESH = 1_000_000
"""How far the fresh seeds of the end are from those of the search."""

LEAST_NFE = 5
"""Smallest number of evaluations of a search with two objectives."""

PROBES = 48
"""Points that are drawn to see whether a space holds samplers at all."""

_METRIC: TypeAdapter[Any] = TypeAdapter(Metric)


class Asked(NamedTuple):
    """A search as a command asks for it; None for what follows from the rest.

    Args:
        target: name of a target, or path of its YAML file.
        denoiser: a card's name, a checkpoint's path, or a spec.
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
    denoiser: str | Mapping[str, Any] | Spec = "digits-vp"
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


class Start(NamedTuple):
    """A setting that is tried first: what the target says of it, and its point; None if the space does not hold it."""

    known: Known
    setting: Setting
    point: Point | None


class Search(NamedTuple):
    """A search that can be run.

    Args:
        name: of the study.
        spec: all that decides what is suggested and measured, as JSON.
        target: the search space with what belongs to it.
        space: with everything filled in that the denoiser and the budget decide.
        maker: makes trials of points.
        metric: what is to be good.
        objective: what the search compares by.
        samples: N.
        cell: seeds a block.
        rungs: numbers of samples after which a trial is looked at.
        starts: settings that are tried first.
        points: of the declared grid, for method `grid`.
    """

    name: str
    spec: dict[str, Any]
    target: Target
    space: Space
    maker: Maker
    metric: FeatureMetric | Measure
    objective: FeatureMetric | Measure
    samples: int
    cell: int
    rungs: tuple[int, ...]
    starts: list[Start]
    points: list[Point] | None

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

    def setting(self, point: Point) -> Setting:
        """The trial of a point.

        Raises:
            InputError: it makes no sampler.
        """
        return self.maker.make(point.filled, int(point.filled.get("nfe", self.nfe)))


def plan_search(asked: Asked) -> Search:
    """Check a search and settle what follows from the rest.

    Raises:
        InputError: an unknown name, a space that no sampler fits, a budget of evaluations that none can meet, a method
            that cannot search this space, or numbers that do not go together.
    """
    _check_words(asked)
    name, target, document = load_target(asked.target)
    source = parse(asked.denoiser) if isinstance(asked.denoiser, Mapping) else asked.denoiser
    verify(source)
    metric = _metric(asked.metric, "--metric")
    objective = metric if asked.proxy is None else _metric(asked.proxy, "--proxy")
    nfe = asked.nfe or target.nfe
    maker = Maker(source, tuple(dict.fromkeys((objective, metric))), asked.labels, asked.dtype)
    try:
        space = Space(_template(target, maker, nfe, asked.pareto), asked.on_grid or asked.method == "grid")
    except InputError as error:
        raise document.error((), str(error)) from None
    samples = _samples(objective, asked.samples)
    cell = _cell(objective, samples)
    rungs = _rungs(asked, samples, cell)
    spec = {
        "target": name,
        "space": {"sampler": target.sampler, "denoiser": target.denoiser},
        "enqueue": [known.model_dump(mode="json", exclude_none=True) for known in target.enqueue],
        "denoiser": source if isinstance(source, str) else source.model_dump(mode="json"),
        "weights": maker.described.identity,
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
        "chunk": cell,
        "pruner": asked.pruner,
        "ahead": asked.ahead,
        "fresh_seed": FRESH,
        "fresh_samples": _samples(metric, asked.samples),
        "top": asked.top,
    }
    _check_method(asked, space)
    study = asked.study or _study_name(name, source, nfe, asked)
    found = Search(study, spec, target, space, maker, metric, objective, samples, cell, rungs, [], None)
    found = found._replace(starts=_starts(found))
    _probe(found)
    if asked.method == "grid":
        found = found._replace(points=_different(found))
    return found


def _check_words(asked: Asked) -> None:
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
        raise InputError(f"{option}: {explain(error.errors()[0])}") from None
    if isinstance(metric, FeatureMetric):
        metric = metric.model_copy(update={"ranges": 1})
        try:
            metric.features.check()
            if metric.source is not None:
                find_reference(metric.source, metric.features)
        except InputError as error:
            raise InputError(f"{option} {metric.name}: {error}") from None
    return metric


def _template(target: Target, maker: Maker, nfe: int, pareto: bool) -> dict[str, Any]:
    """The target's space, with free levels laid out and the number of evaluations where that is searched."""
    template = {key: part for key, part in target.template.items() if part}
    template.setdefault("sampler", {})
    discretization = template["sampler"].get("discretization")
    if levels.is_free(discretization):
        if pareto:
            raise InputError("free levels are as many as the budget has steps, so --pareto cannot search them")
        plain = template["sampler"] | {"discretization": "edm"}
        steps = maker.steps(plain, nfe)
        template["sampler"] = plain | {"discretization": levels.with_gaps(discretization, steps)}
    if pareto:
        if nfe <= LEAST_NFE:
            raise InputError(f"--pareto searches budgets from {LEAST_NFE} evaluations up; raise --nfe {nfe}")
        template["nfe"] = Number(low=LEAST_NFE, high=nfe, log=True, whole=True, values=_budgets(nfe))
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


def _cell(metric: FeatureMetric | Measure, samples: int) -> int:
    narrow = not isinstance(metric, FeatureMetric) or isinstance(metric.features, DigitsFeatures)
    return max(1, samples // (CELLS if narrow else WIDE_CELLS))


def _rungs(asked: Asked, samples: int, cell: int) -> tuple[int, ...]:
    """Where a trial is looked at: whole blocks, rising, the last of them N."""
    if asked.pruner == "none":
        return (samples,)
    if asked.rungs is None:
        found = [max(2 * cell, round(part * samples / cell) * cell) for part in RUNGS[:-1]]
        return (*sorted({rung for rung in found if rung < samples}), samples)
    rungs = asked.rungs
    if list(rungs) != sorted(set(rungs)) or rungs[-1] != samples or rungs[0] < 2:
        raise InputError(f"--rungs rise to N = {samples}, each once; we got {', '.join(map(str, rungs))}")
    for rung in rungs[:-1]:
        if rung % cell:
            raise InputError(f"--rungs are whole blocks of {cell} seeds; we got {rung}")
    return rungs


def _check_method(asked: Asked, space: Space) -> None:
    numbers = [one for one in space.parameters if isinstance(one.node, Number)]
    choices = [one.name for one in space.parameters if isinstance(one.node, Among)]
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


def _study_name(target: str, source: str | Spec, nfe: int, asked: Asked) -> str:
    parts = [target, denoiser_name(source), f"nfe{nfe}"]
    parts += ["pareto"] * asked.pareto + [asked.method] * (asked.method != "tpe")
    return re.sub(r"[^\w.-]+", "-", "_".join(parts))[:100]


def _starts(search: Search) -> list[Start]:
    """The settings that the target tries first, but for those that this budget or denoiser does not allow."""
    found = []
    for known in search.target.enqueue:
        filled = {**_fixed(search.space.template), **({"denoiser": known.denoiser} if known.denoiser else {})}
        filled = {**filled, "sampler": {**_fixed(search.space.template["sampler"]), **known.sampler}}
        if search.is_pareto:
            filled["nfe"] = search.nfe
        try:
            setting = search.maker.make(filled, search.nfe)
        except InputError:
            continue
        found.append(Start(known, setting, search.space.locate(_in_coordinates(filled, setting))))
    return found


def _fixed(template: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a space without anything to search in them."""
    return {key: value for key, value in template.items() if not _holds_parameter(value)}


def _holds_parameter(node: Any) -> bool:
    if isinstance(node, Number | Among):
        return True
    return isinstance(node, Mapping) and any(_holds_parameter(value) for value in node.values())


def _in_coordinates(filled: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """A known sampler in the words of a space: gamma in place of S_churn."""
    from harness.sampling.stochasticity.churn import GAMMA_MAX

    noise = filled["sampler"].get("stochasticity")
    if not isinstance(noise, Mapping) or "S_churn" not in noise:
        return dict(filled)
    gamma = min(noise["S_churn"] / setting.trial.sampler.steps, GAMMA_MAX)
    moved = {"kind": noise["kind"], "gamma": min(gamma, 0.41421356)}
    moved |= {key: value for key, value in noise.items() if key not in ("kind", "S_churn")}
    return {**filled, "sampler": {**filled["sampler"], "stochasticity": moved}}


class _Drawn:
    """A chooser that draws at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def real(self, name: str, low: float, high: float, log: bool) -> float:
        if log:
            return float(low * (high / low) ** self.random.random())
        return self.random.uniform(low, high)

    def whole(self, name: str, low: int, high: int, log: bool) -> int:
        return self.random.randint(low, high)

    def one_of(self, name: str, labels: tuple[str, ...]) -> str:
        return self.random.choice(labels)


def _probe(search: Search) -> None:
    """Refuse a space in which nothing that is drawn makes a sampler."""
    reasons: Counter[str] = Counter()
    for number in range(PROBES):
        try:
            search.setting(search.space.draw(_Drawn(number)))
            return
        except InputError as error:
            reasons[str(error)] += 1
    reason, _ = reasons.most_common(1)[0]
    raise InputError(
        f"no sampler fits this space: of {PROBES} points that were tried none makes one at NFE {search.nfe}, most "
        f"often because {reason}"
    )


def _different(search: Search) -> list[Point]:
    """The points of the declared grid that make samplers, each sampler once, without those that are tried first."""
    seen = {start.setting.identity for start in search.starts}
    found = []
    for point in search.space.grid():
        try:
            identity = search.setting(point).identity
        except InputError:
            continue
        if identity not in seen:
            seen.add(identity)
            found.append(point)
    return found
