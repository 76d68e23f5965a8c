"""Targets: what a search is after, as data. Those that come with the package are files in `targets/`.

title: Stochastic sampling
nfe: 127
sampler: {stochasticity: {kind: churn, gamma: {low: 0, high: 0.4142}}}
enqueue:
  - {name: Deterministic, role: baseline, sampler: {stochasticity: deterministic}}
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.core import yaml
from harness.core.config import Config, Names
from harness.core.errors import InputError
from harness.core.yaml import Document
from harness.experiments.grid import Name
from harness.search.template import SpaceError, read_template
from harness.store.studies import SUGGESTED

FOLDER = Path(__file__).with_name("targets")


class EnqueuedSetting(Config):
    """A sampler that is tried before any suggestion, and measured on fresh seeds at the end.

    Args:
        name: for people.
        role: `baseline` and `paper` are what the best setting is compared with.
        families: the preconditionings of the networks that it was published for; of any, if left out.
        sampler: its axes, in place of the space's.
        denoiser: fields of the guidance, where that is searched.
    """

    name: Name
    role: Literal["baseline", "paper", "other"] = "other"
    families: Names | None = None
    sampler: dict[str, Any] = Field(default_factory=dict)
    denoiser: dict[str, Any] = Field(default_factory=dict)


class Target(Config):
    """A search space with what belongs to it.

    Args:
        title, about: for the report.
        nfe: evaluations a sample, where the command gives none.
        source: the denoiser, where the command gives none: a card's name or a checkpoint's path.
        sampler: the space: a sampler with ranges and choices in place of values.
        denoiser: fields of a guided denoiser that are searched; none for most.
        enqueue: samplers that are tried first.
    """

    title: Name
    about: str = ""
    nfe: Annotated[int, Field(ge=1)]
    source: str = "digits-vp"
    sampler: dict[str, Any] = Field(default_factory=dict)
    denoiser: dict[str, Any] = Field(default_factory=dict)
    enqueue: tuple[EnqueuedSetting, ...] = ()

    @field_validator("enqueue", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _names_and_roles(self) -> "Target":
        names = [known.name for known in self.enqueue]
        if SUGGESTED in names:
            raise ValueError(f"'{SUGGESTED}' is what the search's own trials are called; give it another name")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'{name}' is enqueued twice; give each its own name")
        if sum(known.role == "baseline" for known in self.enqueue) > 1:
            raise ValueError("there is one baseline at most")
        return self

    @property
    def template(self) -> dict[str, Any]:
        """Everything that is searched, in one mapping: `sampler` and `denoiser`.

        Raises:
            SpaceError: a range that is not well-formed.
        """
        read: dict[str, Any] = read_template({"sampler": self.sampler, "denoiser": self.denoiser})
        return read


def target_names() -> list[str]:
    """The targets that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_target(name: str) -> tuple[str, Target, Document]:
    """A target by name, or from a YAML file.

    Returns:
        Its name, the target, and the document for errors.

    Raises:
        InputError: no such target, or a mistake in the file, with its line.
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
