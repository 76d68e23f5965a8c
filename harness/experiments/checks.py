"""What a grid's file can get wrong beyond its types: names that nothing has, budgets, levels; errors name the line."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from harness.core.errors import InputError
from harness.core.published import load_paper
from harness.core.yaml import Document, Where
from harness.denoisers.config import Description
from harness.denoisers.load import cards_of, describe, verify
from harness.experiments.grid import Grid, Panel, Series
from harness.experiments.training_table import FOLDER
from harness.experiments.trial import LabelPolicy
from harness.hub.cards import is_here, load_cards
from harness.hub.header import NAME_NULL_CLASS
from harness.metrics.base import Metric
from harness.sampling.conditions import read_conditions
from harness.sampling.discretizations import Optimized
from harness.sampling.noise import MAX_SEED
from harness.sampling.sampler import FINITE_START, FIRST_LEVEL, Sampler


def check_metrics(grid: Grid, document: Document) -> None:
    """Metrics name series and denoisers that the grid has, no two share a name, and what they need is there."""
    known = {"series": [series.name for series in grid.series], "denoisers": list(grid.denoisers)}
    for index, metric in enumerate(grid.metrics):
        where: Where = ("metrics", index) if isinstance(document.data.get("metrics"), list) else ("metrics",)
        if metric in grid.metrics[:index]:
            raise document.error(where, f"metric '{metric.name}' is there twice; remove one")
        if any(metric.name == other.name for other in grid.metrics[:index]):
            raise document.error(where, f"two metrics go by '{metric.name}'; give one of them a `label`")
        if any(metric.title == other.title for other in grid.metrics[:index]):
            raise document.error(where, f"two metrics are called '{metric.title}'; give one of them another `label`")
        same = [other for other in grid.metrics[:index] if metric.is_same_number(other)]
        if same:
            raise document.error(where, f"'{metric.name}' is the same number as '{same[0].name}'; remove one")
        for key, names in known.items():
            for name in getattr(metric, key) or ():
                if name not in names:
                    have = ", ".join(names)
                    raise document.error((*where, key), f"metric '{metric.name}' names '{name}'; this grid has: {have}")


def check_seeds(grid: Grid, document: Document) -> None:
    """No metric asks for a seed that samplers do not take."""
    last = (
        grid.first_seed - 1 + max(metric.range_count * metric.default_samples(grid.samples) for metric in grid.metrics)
    )
    if last > MAX_SEED:
        at = "first_seed" if "first_seed" in document.data else "samples"
        raise document.error(
            (at,), f"seeds go up to {MAX_SEED} and these to {last}; lower first_seed, samples or ranges"
        )


def check_trained(grid: Grid, document: Document) -> None:
    """The networks of a table of trainings are there, made by its recipes, and so are their snapshots.

    Raises:
        InputError: some are not; with how to get them.
    """
    if grid.training is None:
        return
    from harness.experiments.trained_networks import needed_trainings

    names = [one.recipe.name for one in needed_trainings(grid.training)]
    if names:
        count = len({network.name for network in grid.training.networks()})
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise document.error(
            ("training",),
            f"{len(names)} of {count} trainings are not done yet: {shown}; `harness run {document.path}` does them "
            f"first (in {FOLDER})",
        )


class Absent(NamedTuple):
    """A file that a grid needs and that has to be fetched first; bytes are None where the card does not say."""

    name: str
    size: int | None


def absent_files(grid: Grid) -> list[Absent]:
    """What has to be fetched before a grid can run: networks, extractors and references, each once.

    Raises:
        InputError: a denoiser that is not known.
    """
    sources = [panel.source_of(name) for name, panel in grid.denoisers.items()]
    names = [name for source in sources for name in cards_of(source)]
    names += [name for metric in grid.metrics for name in metric.cards]
    cards = load_cards()
    return [Absent(name, cards[name].size) for name in dict.fromkeys(names) if not is_here(cards[name])]


def fetching(absent: Sequence[Absent]) -> str:
    """The command that gets files, and how much that is."""
    known = [file.size for file in absent if file.size is not None]
    unknown = len(absent) - len(known)
    parts = [f"{sum(known):,} bytes"] * bool(known) + [f"{unknown} of unknown size"] * bool(unknown)
    return f"`harness fetch {' '.join(file.name for file in absent)}` gets all of it ({' and '.join(parts)})"


def check_features(grid: Grid, document: Document, absent: Collection[str] = ()) -> None:
    """Weights and references of metrics are there; no network is loaded.

    Args:
        grid, document: the grid.
        absent: cards whose files may be missing.

    Raises:
        InputError: with the line, and how to get them.
    """
    for index, metric in enumerate(grid.metrics):
        if not set(absent).isdisjoint(metric.cards):
            continue
        where: Where = ("metrics", index) if isinstance(document.data.get("metrics"), list) else ("metrics",)
        try:
            metric.check_files()
        except InputError as error:
            raise document.error(where, f"metric '{metric.name}': {error}") from None


def check_claims(grid: Grid, curves: Collection[str], document: Document) -> None:
    """The tests of claims use names that the grid has; `curves` are all that it draws."""
    metrics = {metric.name: metric for metric in grid.metrics}
    training = getattr(grid, "training", None)
    known: dict[str, Collection[str]] = {"metric": metrics, "series": curves, "denoiser": grid.denoisers}
    known |= {"configuration": training.rows, "architecture": training.columns} if training else {}
    for index, claim in enumerate(grid.claims):
        for place, test in enumerate(claim.tests):
            where: Where = ("claims", index, "tests", place)
            if test.subject == "architecture" and not training:
                rule = f"'{test.kind}' compares training configurations, and this grid trains none"
                raise document.error(where, f"{rule}; give it `training`, or remove the test")
            for word, names in {"metric": (test.metric,), **test.names}.items():
                for name in names:
                    if name not in known[word]:
                        have = ", ".join(known[word])
                        raise document.error(where, f"no {word} '{name}' in this grid; it has: {have}")
            one, others = test.sides
            if one in others:
                word = "series" if test.subject == "denoiser" else "configuration"
                raise document.error(where, f"compares '{one}' with itself; name another {word}")
            if metrics[test.metric].range_count < test.ranges:
                raise document.error(where, f"'{test.kind}' needs `ranges: {test.ranges}` of metric '{test.metric}'")


def check_metric(metric: Metric, sampler: Sampler, denoiser: Description) -> None:
    """A metric applies to a sampler on a denoiser.

    Raises:
        InputError: it does not; with what would do.
    """
    metric.check(sampler, denoiser.shape)
    if not metric.starts_at_infinity and sampler.starts_at_infinity(denoiser.sigma_min, denoiser.sigma_max):
        raise InputError(f"{FIRST_LEVEL}, and metric '{metric.name}' needs a finite one; {FINITE_START}")


def check_mosaics(grid: Grid, document: Document) -> None:
    """Images are kept at budgets that some series has."""
    holders: tuple[Grid | Series, ...] = (grid, *grid.series)
    budgets = {budget for holder in holders for budget in (*(holder.nfe or ()), *(holder.steps or ()))}
    for budget in grid.mosaics or ():
        if budgets and budget not in budgets:
            have = ", ".join(map(str, sorted(budgets)))
            raise document.error(("mosaics",), f"{budget} is no budget of this grid; it has: {have}")


def check_names(series: Series, index: int, grid: Grid, document: Document) -> None:
    """A series names denoisers that the grid has, and published figures that there are."""
    for key, names in (("per_denoiser", series.per_denoiser), ("only", series.only or ())):
        for name in names:
            if name not in grid.denoisers:
                known = ", ".join(grid.denoisers)
                raise document.error(("series", index, key, name), f"unknown denoiser '{name}'; this grid has: {known}")
            if key == "per_denoiser" and series.only is not None and name not in series.only:
                where: Where = ("series", index, key, name)
                raise document.error(where, f"the series is for {', '.join(series.only)} only; remove '{name}' here")
    papers = [load_paper().panels[panel.paper] for panel in grid.denoisers.values() if panel.paper]
    series_known = {name for paper in papers for name in (*paper.points, *paper.tables)}
    if series.paper is not None and series.paper not in series_known:
        known = ", ".join(sorted(series_known)) or "none, since no denoiser names published figures"
        raise document.error(
            ("series", index, "paper"), f"no published series goes by '{series.paper}'; known: {known}"
        )


def describe_panel(name: str, panel: Panel, document: Document, absent: Collection[str] = ()) -> Description:
    """What a plan needs to know of a denoiser, once its file, labels and type are seen to fit.

    The file of a card in `absent` may be missing.
    """
    where: Where = ("denoisers", name)
    check_paper(panel.paper, (*where, "paper"), document)
    try:
        source = panel.source_of(name)
        described = describe(source, absent_ok=bool(absent))
        if set(absent).isdisjoint(cards_of(source)):
            verify(source)
    except InputError as error:
        raise document.error(where, str(error)) from None
    wrong = misfit(described, panel.labels, panel.dtype, panel.conditions)
    if wrong is not None:
        raise document.error((*where, wrong[0]), wrong[1])
    return described


def misfit(
    described: Description, labels: LabelPolicy, dtype: str | None, conditions: str | None = None
) -> tuple[str, str] | None:
    """What of labels, conditions and type does not go with a denoiser, and why; None if all does."""
    if conditions is not None:
        if not described.conditional:
            return "conditions", "this denoiser takes none; remove them, or say `conditional: true` of your own network"
        if labels != "random":
            return "labels", "conditions take their place; remove one"
        read_conditions(conditions)
    elif described.conditional and labels != "unconditional":
        return "conditions", (
            "this denoiser takes conditions; give a file, such as prompts.jsonl or conditions.npz, or labels: "
            "unconditional, with which it gets None"
        )
    if dtype is not None and dtype not in described.dtypes:
        own = f"{' or '.join(described.dtypes)} only" if described.dtypes else "the type that it was exported with"
        return "dtype", f"this denoiser computes in {own}; leave dtype out"
    if described.guided_by_class and labels == "unconditional":
        return "labels", "classifier-free guidance leads towards a class; leave labels out"
    if described.guided_by_class and labels == described.null_class and labels is not None:
        return "labels", f"classifier-free guidance leads towards a class, and class {labels} stands for none"
    if described.needs_class and labels == "unconditional":
        return "labels", f"images without a class were asked for, and {NAME_NULL_CLASS}"
    if isinstance(labels, int) and labels >= described.label_dim:
        have = f"classes 0 to {described.label_dim - 1}" if described.label_dim else "no classes"
        return "labels", f"class {labels} was asked for and the denoiser has {have}"
    return None


def check_paper(name: str | None, where: Where, document: Document) -> None:
    """Published figures go by known names."""
    known = load_paper().panels
    if name is not None and name not in known:
        raise document.error(where, f"no published figures go by '{name}'; known: {', '.join(known)}")


def check_levels(sampler: Sampler) -> None:
    """Levels that are still to be found are picked from the reference's."""
    levels = sampler.discretization
    if isinstance(levels, Optimized) and levels.levels is None and sampler.steps > levels.reference:
        raise InputError(
            f"discretization 'optimized' picks from {levels.reference} levels and cannot make {sampler.steps}; raise "
            "`reference`"
        )
