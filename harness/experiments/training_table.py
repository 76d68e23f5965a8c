"""A grid over training configurations, like the paper's Table 2: its denoisers are networks that recipes describe.

A recipe stands for each row and column, such as configuration A of a VP network, and is trained with several seeds,
since only those say how much of a difference is chance. `harness run` trains what is missing first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from harness import training
from harness.core import yaml
from harness.core.config import Config, Count, distinct, freeze
from harness.core.embedded import data_dir
from harness.core.errors import InputError
from harness.core.published import load_paper

FOLDER = Path(training.FOLDER)
"""Where trained networks are."""

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^{}/·]+$")]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**32)], ...],
    BeforeValidator(freeze),
    Field(min_length=1),
    AfterValidator(distinct),
]
Counts = Annotated[tuple[Count, ...], BeforeValidator(freeze), AfterValidator(distinct)]


class TrainedNetwork(NamedTuple):
    """A network of the table.

    Args:
        row, column: of the table.
        seed: of the training.
        recipe: the recipe's file.
        name: of the recipe with this seed.
        images: of a snapshot; None for the result.
    """

    row: str
    column: str
    seed: int
    recipe: Path
    name: str
    images: int | None

    @property
    def panel(self) -> str:
        """What it is called in the grid."""
        after = "" if self.images is None else f" · {self.images:,} images"
        return f"{self.row} · {self.column} · seed {self.seed}{after}"

    def path(self, folder: Path = FOLDER) -> Path:
        """Its file, which training writes."""
        if self.images is None:
            return folder / f"{self.name}.safetensors"
        return folder / self.name / "snapshots" / f"{self.name}-{self.images:09d}.safetensors"


class TrainingTable(Config):
    """The networks of a grid, by configuration.

    Args:
        recipes: path of the recipes with `{row}` and `{column}` in it, which stand for the names in small letters.
        rows: configurations: name -> what it changes, in words.
        columns: name -> the column of the paper's Table 2 to show beside it, such as `cifar10_uncond_vp`, or null.
        seeds: of the trainings, in place of the recipe's own.
        snapshots: numbers of images after which a network is measured too, beside the result; the recipes must keep
            snapshots there.
    """

    recipes: Annotated[str, Field(min_length=1)]
    rows: Annotated[dict[Name, str], Field(min_length=1)]
    columns: Annotated[dict[Name, str | None], Field(min_length=1)]
    seeds: Seeds = (0,)
    snapshots: Counts = ()

    @field_validator("columns")
    @classmethod
    def _published(cls, columns: dict[str, str | None]) -> dict[str, str | None]:
        known = load_paper().configurations.columns
        for column, paper in columns.items():
            if paper is not None and paper not in known:
                raise ValueError(f"{column}: the paper's Table 2 has no '{paper}'; it has: {', '.join(known)}")
        return columns

    def networks(self) -> Iterator[TrainedNetwork]:
        """All networks, snapshots before their result.

        Raises:
            InputError: a recipe that is not there, or one name for two places of the table.
        """
        named: dict[str, Path] = {}
        for column in self.columns:
            for row in self.rows:
                recipe = find_recipe(self.recipes.replace("{row}", row.lower()).replace("{column}", column.lower()))
                name = recipe_name(recipe)
                if name in named:
                    raise InputError(
                        f"{recipe}: the network of {row} and {column} is named '{name}', and so is that of "
                        f"{named[name]}; give each place of the table a recipe with a name of its own"
                    )
                named[name] = recipe
                for seed in self.seeds:
                    for images in (*self.snapshots, None):
                        yield TrainedNetwork(row, column, seed, recipe, f"{name}-s{seed}", images)


def find_recipe(path: str) -> Path:
    """A recipe by its path, or by its place among those that come with the package.

    Raises:
        InputError: it is not there.
    """
    here = Path(path)
    if here.is_file():
        return here
    packaged = data_dir("pretrained").parent / path
    if packaged.is_file():
        return packaged
    raise InputError(f"{path}: no such recipe; mend `recipes` of the grid's `training`")


def recipe_name(path: Path) -> str:
    """The name that a recipe gives to its network; the rest of it is not read.

    Raises:
        InputError: no mapping, or no name.
    """
    data = yaml.load(path).data
    name = data.get("name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{path}: a recipe has a `name`")
    return name
