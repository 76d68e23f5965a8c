"""Targets: search spaces with a title, an NFE, a denoiser and settings to try first; the package's own are files here.

title: Stochastic sampling
nfe: 127
sampler: {stochasticity: {kind: churn, gamma: {low: 0, high: 0.4142}}}
enqueue:
  - {name: Deterministic, role: baseline, sampler: {stochasticity: deterministic}}
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from harness.core import yaml
from harness.core.config import Config, Names, freeze
from harness.core.errors import InputError
from harness.core.yaml import Document
from harness.experiments.grid import Name
from harness.search.template import SpaceError, read_template
from harness.store.studies import SUGGESTED

FOLDER = Path(__file__).parent


class EnqueuedSetting(Config):
    """A setting that is tried before any suggestion.

    Args:
        name: shown in place of a number.
        role: settings with role `baseline` or `paper` are compared with the best one on fresh seeds.
        families: preconditionings of the networks that a paper's setting was published for; any, if left out.
        sampler: its axes; they replace those of the space.
        denoiser: fields of the guidance, where that is searched.
    """

    name: Name
    role: Literal["baseline", "paper", "other"] = "other"
    families: Names | None = None
    sampler: dict[str, Any] = Field(default_factory=dict)
    denoiser: dict[str, Any] = Field(default_factory=dict)


class Target(Config):
    """A search space, with its defaults and the settings to try first.

    Args:
        title, about: shown in the report.
        nfe: default evaluations a sample.
        source: default denoiser: a card's name or a checkpoint's path.
        sampler: a sampler with ranges and choices in place of values.
        denoiser: fields of a guided denoiser that are searched; usually none.
        enqueue: settings that are tried first.
    """

    title: Name
    about: str = ""
    nfe: Annotated[int, Field(ge=1)]
    source: str = "digits-vp"
    sampler: dict[str, Any] = Field(default_factory=dict)
    denoiser: dict[str, Any] = Field(default_factory=dict)
    enqueue: Annotated[tuple[EnqueuedSetting, ...], BeforeValidator(freeze)] = ()

    @model_validator(mode="after")
    def _names_and_roles(self) -> "Target":
        names = [setting.name for setting in self.enqueue]
        if SUGGESTED in names:
            raise ValueError(f"'{SUGGESTED}' is what the search's own trials are called; give it another name")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is enqueued twice; give each its own name")
        if sum(setting.role == "baseline" for setting in self.enqueue) > 1:
            raise ValueError("there is one baseline at most")
        return self

    @property
    def template(self) -> dict[str, Any]:
        """The template of the space, with keys `sampler` and `denoiser`.

        Raises:
            SpaceError: a range or a choice is not well-formed.
        """
        read: dict[str, Any] = read_template({"sampler": self.sampler, "denoiser": self.denoiser})
        return read


def target_names() -> list[str]:
    """Names of the targets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_target(name: str) -> tuple[str, Target, Document]:
    """A target by name, or by the path of a YAML file.

    Returns:
        The target's name, the target, and the document for messages with line numbers.

    Raises:
        InputError: there is no such target, or its file has a mistake.
    """
    shipped = FOLDER / f"{name}.yaml"
    path = shipped if name in target_names() else Path(name)
    if path is not shipped and (path.suffix not in (".yaml", ".yml") or not path.is_file()):
        raise InputError(
            f"unknown target '{name}'; known: {', '.join(target_names())}, or give the path of a YAML file with a space"
        )
    document = yaml.load(path)
    if not isinstance(document.data, dict):
        raise document.error((), "a target is a mapping with keys such as title, nfe and sampler")
    target = yaml.build(Target, document)
    try:
        template = target.template
    except SpaceError as error:
        raise document.error(error.where, str(error)) from None
    for part, node in template.items():
        if not isinstance(node, dict):
            raise document.error((part,), "a mapping of fields; choose between whole ones by `together` under any key")
    return path.stem, target, document
