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

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.core import yaml
from harness.core.config import Config, Names, Positive, distinct, freeze
from harness.core.yaml import Document
from harness.denoisers.load import Part
from harness.experiments.claims import Claim
from harness.experiments.training_table import TrainingTable
from harness.experiments.trial import LabelPolicy
from harness.metrics import METRICS, FrechetDigits, Metric
from harness.sampling.sampler import MAX_STEPS

Counts = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MAX_STEPS)], ...],
    Field(min_length=1),
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,)),
    AfterValidator(distinct),
]
AxisPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class StatedRate(Config):
    """How fast a network is, as somebody says.

    Args:
        evaluations_per_second: of one device.
        device: which, and who says so.
    """

    evaluations_per_second: Positive
    device: Name


class Panel(Config):
    """One denoiser of a grid, and a panel of its figure.

    Args:
        source: a card's name, a checkpoint's path, or a spec; by default the key it stands under.
        title: heading in the report.
        paper: key of the published figures to show beside it, such as `cifar10_vp`.
        labels: label policy.
        conditions: file of prompts or embeddings, one a seed; see `harness.sampling.conditions`.
        dtype: type the network runs in.
        rate: what `harness plan` reckons with while the network is not here and cannot be timed.
    """

    source: Part | None = None
    title: str | None = None
    paper: str | None = None
    labels: LabelPolicy = "random"
    conditions: str | None = None
    dtype: Literal["float32", "float64"] | None = None
    rate: StatedRate | None = None

    def source_of(self, name: str) -> Part:
        """How the denoiser is loaded, under this name in the grid."""
        return name if self.source is None else self.source


class Series(Config):
    """One curve of every panel: a sampler, with what differs by denoiser.

    A list as a value is an axis of its own, a curve each; along `along` it is the points of one curve.

    Args:
        name: as in the legend; unique in the grid.
        note: what it is, in a sentence.
        role: `baseline` and `ours` mark the two curves whose speed-up is reported.
        paper: key of the same curve in the paper's Figure 2 or 4.
        sampler: the axes that are the same for all denoisers.
        per_denoiser: axes by denoiser, which replace those of `sampler`.
        only: the denoisers it applies to; all, if left out.
        nfe, steps: budgets of this series in place of the grid's.
        along: path of a list whose values are points of one curve, such as `solver.rtol`; the grid's `x` by default.
            Against NFE for adaptive solvers only.
    """

    name: Name
    note: str | None = None
    role: Literal["baseline", "ours"] | None = None
    paper: str | None = None
    sampler: dict[str, Any] = Field(default_factory=dict)
    per_denoiser: dict[str, dict[str, Any]] = Field(default_factory=dict)
    only: Names | None = None
    nfe: Counts | None = None
    steps: Counts | None = None
    along: AxisPath | None = None


def _by_name(value: Any) -> Any:
    """A list of names stands for a mapping with nothing to add; so does an empty entry."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a denoiser is listed twice")
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {} if entry is None else entry for name, entry in value.items()}
    return value


def _one_or_more(value: Any) -> Any:
    """A single metric need not be a list."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class Grid(Config):
    """A YAML experiment.

    Args:
        title, description: for the report.
        metrics: what is measured, one or a list: `fd-digits`, the Frechet distance in the features of the digit
            classifier, and the diagnostics, such as `end-point-error`.
        samples: N, images per trial; the same seeds for all trials. A metric may have its own. If left out, 640, and
            50,000 for metrics of Inception's features, of which those that look at pairs take 10,000.
        first_seed: the seeds are first_seed to first_seed + samples - 1.
        chunk: seeds per unit of work; a worker takes as many at a time as fill one network call. By default the
            largest power of two that gives at least twelve, from 8 to 32; where the moments of features are large up
            to 1000.
        denoisers: name -> Panel; a list of names will do. A grid with `training` has those of its table.
        training: networks that are trained first, by configuration, as in the paper's Table 2.
        series: the curves.
        nfe: budgets; each means the largest step count whose NFE is at most that.
        steps: step counts, in place of nfe.
        mosaics: budgets (of nfe or steps) whose first images are kept for the report.
        x: what the figures have on their horizontal axis: `nfe`, or the path of a number in the sampler, such as
            `stochasticity.S_churn`; lists there are points of one curve.
        x_title: heading of that axis.
        design: show the samplers' choices as a table, like the paper's Table 1.
        claims: statements that the results bear out or refute; `harness claims` shows them.
    """

    title: Name
    description: str = ""
    metrics: Annotated[tuple[Annotated[Metric, METRICS], ...], BeforeValidator(_one_or_more), Field(min_length=1)] = (
        FrechetDigits(),
    )
    samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    first_seed: Annotated[int, Field(ge=0)] = 0
    chunk: Annotated[int, Field(ge=1, le=100_000)] | None = None
    training: TrainingTable | None = None
    denoisers: Annotated[dict[Name, Panel], BeforeValidator(_by_name)] = Field(default_factory=dict)
    series: Annotated[list[Series], Field(min_length=1)]
    nfe: Counts | None = None
    steps: Counts | None = None
    mosaics: Counts | None = None
    x: AxisPath = "nfe"
    x_title: str | None = None
    design: bool = False
    claims: Annotated[tuple[Claim, ...], BeforeValidator(freeze)] = ()

    @model_validator(mode="after")
    def _has_denoisers(self) -> "Grid":
        if self.training is not None and self.denoisers:
            raise ValueError("a grid has `denoisers`, or `training`, which makes them; remove one")
        if self.training is not None:
            panels = {network.panel: Panel(source=str(network.path())) for network in self.training.networks()}
            object.__setattr__(self, "denoisers", panels)
        if not self.denoisers:
            raise ValueError("a grid needs `denoisers`, at least one")
        return self

    @model_validator(mode="after")
    def _unique_names(self) -> "Grid":
        seen: set[str] = set()
        for series in self.series:
            if series.name in seen:
                raise ValueError(f"series '{series.name}' is there twice; give each its own name")
            seen.add(series.name)
        return self


def load_grid(path: Path | str | Mapping[str, Any]) -> tuple[Grid, Document]:
    """Read and validate a grid's file, or its content as a mapping, without planning it.

    Raises:
        InputError: with file, line and remedy.
    """
    document = yaml.loads(yaml.dump(dict(path)), "grid.yaml") if isinstance(path, Mapping) else yaml.load(path)
    if not isinstance(document.data, dict):
        raise document.error((), "a grid is a mapping with keys such as title, denoisers and series")
    return yaml.build(Grid, document), document
