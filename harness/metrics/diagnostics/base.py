"""What every measure of the laboratory is: one number a sample, and often one a noise level, with what they cost.

A measure needs no reference images and no features, so it works on any denoiser. It observes a sampler on some seeds;
every sample's values depend on its own seed alone, so observations of disjoint seeds can be put together.
"""

import hashlib
import json
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.core.config import Config, Names
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels
from harness.sampling.sampler import Sampler

SAMPLES = 64
"""Samples of a measure that names no number."""

APART = 2**31
"""Random numbers of a measure's own come from streams that much above the sample's seed."""


class Profile(NamedTuple):
    """Values by noise level: levels float64 [K], descending, and values [N, K]."""

    levels: Tensor
    values: Tensor


class Paths(NamedTuple):
    """Trajectories of samples of one number: times float64 [K] and states x [N, K]."""

    times: Tensor
    x: Tensor


class Observation(NamedTuple):
    """What a measure saw of N samples.

    Args:
        values: float64 [N], one number a sample.
        nfe: int64 [N], evaluations that the sampler itself makes; 0 where it is not run.
        rows: network rows really computed, references and padding included.
        profile: by noise level, where the measure has that.
        pictures: byte images by name [rows, columns, C, H, W], for the first seeds.
        paths: trajectories, where an image is a single number.
    """

    values: Tensor
    nfe: Tensor
    rows: int
    profile: Profile | None = None
    pictures: dict[str, Tensor] | None = None
    paths: Paths | None = None


class Task(NamedTuple):
    """A denoiser and a sampler to be observed on some seeds.

    Args:
        denoiser, sampler: what is observed.
        seeds: N seeds.
        labels: label policy, as for `harness.sample`.
        device: where the state lives; None for the denoiser's own.
        batch: rows per network call; None for all.
        known: converged trajectories of this very denoiser, which tasks may share; None for none.
    """

    denoiser: Denoiser
    sampler: Sampler
    seeds: list[int]
    labels: Labels = None
    device: torch.device | str | None = None
    batch: int | None = None
    known: dict[str, Any] | None = None


class Measure(Config):
    """Base of all measures: a choice with a `kind`, like every other.

    Args:
        samples: N of this measure in a grid; None for 64, or the grid's own number if that is smaller.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.

    Attributes:
        title: for headings and axes.
        by_level: title of the values by noise level; None where there are none.
        pictures: names of the pictures that it keeps.
        better: which way is better.
        runs: whether the sampler itself is run, so that its NFE means something.
    """

    title: ClassVar[str]
    by_level: ClassVar[str | None] = None
    pictures: ClassVar[tuple[str, ...]] = ()
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    runs: ClassVar[bool] = True

    samples: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    series: Names | None = None
    denoisers: Names | None = None

    @property
    def identity(self) -> str:
        """What identifies the numbers: kind, version, and a hash of every field that changes them."""
        fields = self.model_dump(mode="json", exclude={"samples", "series", "denoisers", "kind"})
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"{self.name}:{self.version}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The kind, as a word."""
        return str(getattr(self, "kind"))  # noqa: B009

    def check(self, sampler: Sampler, shape: tuple[int, ...] | None = None) -> None:
        """Refuse a sampler, or a shape of images, that this measure says nothing about.

        Raises:
            InputError: with the reason and a remedy.
        """

    def evaluations(self, sampler: Sampler, nfe: int) -> int:
        """About how many evaluations a sample costs, for estimates of time."""
        return nfe

    @abstractmethod
    def observe(self, task: Task) -> Observation:
        """Observe a sampler on some seeds.

        Raises:
            InputError: the sampler does not fit the denoiser, or the measure does not fit the sampler.
            SamplingError: a state that is not finite.
        """


def rmse(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of each sample [N], float64."""
    return (a - b).double().square().flatten(1).mean(1).sqrt().cpu()
