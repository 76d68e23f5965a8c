"""Every command, kind and YAML key stands in the documents; the README opens with the two commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from harness.cli.images import data, ref
from harness.cli.main import app
from harness.denoisers.load import DENOISERS
from harness.experiments.grid import Grid, Panel, Series
from harness.experiments.training_table import TrainingTable
from harness.metrics import METRICS
from harness.metrics.features.configs import EXTRACTORS
from harness.sampling import discretizations, schedules, stochasticity
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import ALIASES, SOLVERS
from harness.sampling.solvers.sde_form import RATES
from harness.sampling.stochasticity.restart import RestartInterval
from harness.search.plan import METHODS, PRUNERS
from harness.search.targets import EnqueuedSetting, Target, target_names
from harness.search.template import Choices, NumberRange
from harness.training.augmentation import Augmentation
from harness.training.averages import EMAS
from harness.training.losses import COLUMNS
from harness.training.networks import TRAINABLE, UNETS
from harness.training.noise_distributions import NOISE_DISTRIBUTIONS
from harness.training.recipe import Adam, ClassifierRecipe, DenoiserRecipe
from harness.training.weights import LOSS_WEIGHTS

ROOT = Path(__file__).parents[1]
GROUPS = (data, ref)
GRIDS = "".join(
    (ROOT / "docs" / name).read_text() for name in ("grids.md", "samplers.md", "diagnostics.md", "metrics.md")
)
COMMANDS = (ROOT / "docs" / "commands.md").read_text()
UNIONS = (
    SOLVERS,
    discretizations.DISCRETIZATIONS,
    schedules.SCHEDULES,
    schedules.SCALINGS,
    stochasticity.STOCHASTICITY,
    RATES,
)
KINDS = [member for union in UNIONS for member in union.members]


@pytest.mark.parametrize(
    "model",
    [Grid, Panel, Series, Sampler, RestartInterval, *DENOISERS.members, *METRICS.members, *KINDS, *EXTRACTORS.members],
    ids=lambda model: model.__name__,
)
def test_every_key_is_documented(model):
    for name, field in model.model_fields.items():
        word = field.default if name == "kind" else name
        assert f"`{word}`" in GRIDS or f"{word}:" in GRIDS or f"kind: {word}" in GRIDS, word


def test_every_alias_is_documented():
    assert all(f"`{alias}`" in GRIDS for alias in [*ALIASES, *discretizations.ALIASES])


TRAINING = [
    *(
        member
        for union in (TRAINABLE, UNETS, NOISE_DISTRIBUTIONS, LOSS_WEIGHTS, COLUMNS, EMAS)
        for member in union.members
    ),
    *(DenoiserRecipe, ClassifierRecipe, Adam, Augmentation, TrainingTable),
]


@pytest.mark.parametrize("model", TRAINING, ids=lambda model: model.__name__)
def test_every_key_of_a_recipe_is_documented(model):
    text = (ROOT / "docs" / "training.md").read_text()
    words = [field.default if name == "kind" else name for name, field in model.model_fields.items()]
    assert [word for word in words if not re.search(rf"`{word}[`:]|\b{word}: |kind: {word}\b", text)] == []


def test_every_alias_of_a_recipe_is_documented():
    text = (ROOT / "docs" / "training.md").read_text()
    assert all(f"`{alias}`" in text for alias in [*NOISE_DISTRIBUTIONS.aliases, *LOSS_WEIGHTS.aliases])


def test_every_command_is_documented():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert len(names) == 21
    names += [
        f"{group.info.name} {command.callback.__name__}" for group in GROUPS for command in group.registered_commands
    ]
    assert len(names) == 24
    readme = (ROOT / "README.md").read_text()
    for name in names:
        assert f"`harness {name}" in COMMANDS
        assert f"harness {name} " in readme or (name in ("data stats", "ref build") and name in readme)


def test_every_target_method_and_key_of_a_search_is_documented():
    text = (ROOT / "docs" / "search.md").read_text()
    models = [Target, EnqueuedSetting, NumberRange, Choices]
    words = [*target_names(), *METHODS, *PRUNERS, *(name for model in models for name in model.model_fields)]
    assert [word for word in words if f"`{word}`" not in text and f"--pruner {word}`" not in text] == []


def test_the_reference_of_commands_is_what_the_program_says():
    """`docs/commands.py` writes every command, argument and option of the program into commands.md."""
    code = [sys.executable, str(ROOT / "docs" / "commands.py"), "--check"]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name, command in typer.main.get_command(app).commands.items():
        section = COMMANDS.partition(f"### `harness {name}")[2].partition("###")[0]
        flags = [flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")]
        assert [flag for flag in flags if flag != "--help" and f"`{flag}`" not in section] == [], name


def test_the_readme_opens_with_the_two_commands():
    head = (ROOT / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in head.strip().splitlines()] == ["make demo", "make test"]


def test_links_between_documents_are_whole():
    import re

    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_option_of_foreign_checkpoints_is_documented():
    from harness.denoisers.checkpoints.formats.openai import Flags

    text = (ROOT / "docs" / "checkpoints.md").read_text()
    song = ("image_size", "process", "num_scales", "fir", "beta_min", "beta_max", "sigma_min", "sigma_max")
    folder = ("prediction_type", "beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "null_class")
    assert all(f"`{key}`" in text for key in (*Flags._fields, *song, *folder))


def test_imports_in_the_documents_work():
    """What a page tells a reader to import is there."""
    statements = [
        line for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for line in re.findall(r"^(?:import|from) harness.*$", page.read_text(), re.MULTILINE)
    ]  # fmt: skip
    assert len(statements) >= 8
    exec("\n".join(statements), {})
