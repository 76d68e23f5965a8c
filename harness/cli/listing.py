"""What there is to choose from, a line each, taken from the docstrings and the cards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.core.errors import InputError

if TYPE_CHECKING:
    from harness.core.config import OneOf
    from harness.hub.cards import DenoiserCard


def listing(axis: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """Title -> (name, one line) of every choice; of one axis if given.

    What comes from a plugin has its package and version before the line; the rest is built in.

    Raises:
        InputError: no such axis.
    """
    makers = {
        "denoisers": _denoisers,
        "grids": _grids,
        "solvers": lambda: _union("harness.sampling.solvers", "SOLVERS"),
        "discretizations": lambda: _union("harness.sampling.discretizations", "DISCRETIZATIONS"),
        "schedules": lambda: _union("harness.sampling.schedules", "SCHEDULES"),
        "scalings": lambda: _union("harness.sampling.schedules", "SCALINGS"),
        "stochasticity": lambda: _union("harness.sampling.stochasticity", "STOCHASTICITY"),
        "formats": lambda: _union("harness.denoisers.checkpoints.formats", "FORMATS"),
        "preconditionings": lambda: _union("harness.training.networks", "TRAINABLE"),
        "noise-distributions": lambda: _union("harness.training.noise_distributions", "NOISE_DISTRIBUTIONS"),
        "loss-weights": lambda: _union("harness.training.weights", "LOSS_WEIGHTS"),
        "losses": lambda: _union("harness.training.losses", "COLUMNS"),
        "raw-networks": lambda: _union("harness.training.networks", "UNETS"),
        "averages": lambda: _union("harness.training.averages", "EMAS"),
        "recipes": _recipes,
        "metrics": lambda: _union("harness.metrics", "METRICS"),
        "extractors": lambda: _union("harness.metrics.features.configs", "EXTRACTORS"),
        "executors": _executors,
    }
    if axis is not None and axis not in makers:
        raise InputError(f"nothing is called '{axis}'; there is: {', '.join(makers)}")
    return {name: make() for name, make in makers.items() if axis in (None, name)}


def _union(module: str, name: str) -> list[tuple[str, str]]:
    union: OneOf[Any] = getattr(import_module(module), name)
    plugins = union.plugins
    rows = []
    for member, kind in zip(union.members, union.kinds, strict=True):
        origin = f"[{plugins[kind].origin}] " if kind in plugins else ""
        rows.append((kind, origin + _first_line(member)))
    for alias, long in union.aliases.items():
        fields = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in long.items())
        rows.append((alias, f"The same as {', '.join(fields)}."))
    return rows


def _first_line(member: Any) -> str:
    return (member.__doc__ or "").strip().splitlines()[0]


def _denoisers() -> list[tuple[str, str]]:
    from harness.hub.cards import denoiser_cards

    cards = sorted(denoiser_cards().items(), key=lambda item: item[1].file is None)
    rows = [(name, _denoiser(name, card)) for name, card in cards]
    return rows + [(f"{{kind: {kind}}}", line) for kind, line in _union("harness.denoisers.load", "DENOISERS")]


def _denoiser(name: str, card: "DenoiserCard") -> str:
    from harness.hub.cards import how_to_get, used_path

    size = f", {card.parameters:,} parameters" if card.parameters else ""
    missing = "" if card.file or used_path(card).is_file() else f"; not here, {how_to_get(name, card)}"
    return f"{card.dataset}{size}, sigma {card.sigma_min:g} to {card.sigma_max:g}{missing}"


def _grids() -> list[tuple[str, str]]:
    from harness.experiments.grid import load_grid
    from harness.experiments.grid_files import grid_names

    return [(name, load_grid(path)[0].title) for name, path in grid_names().items()]


def _recipes() -> list[tuple[str, str]]:
    from harness.core.config import kind_of
    from harness.core.embedded import data_dir
    from harness.training.recipe import DenoiserRecipe, load_recipe

    rows = []
    for path in sorted((data_dir("pretrained") / "recipes").rglob("*.yaml")):
        recipe = load_recipe(path)
        about = f"{recipe.dataset}, {recipe.images:,} images"
        if isinstance(recipe, DenoiserRecipe):
            about += f", preconditioning {kind_of(type(recipe.preconditioning))}"
        rows.append((recipe.name, about))
    return rows


def _executors() -> list[tuple[str, str]]:
    from harness.execution.executors import EXECUTORS, plugins

    rows = [(name, _first_line(cls)) for name, cls in EXECUTORS.items()]
    return rows + [(name, f"[{plugin.origin}] {_first_line(plugin.value)}") for name, plugin in plugins().items()]
