"""The base of diagnostics: one number a sample, and often one a noise level, with what they cost.

A diagnostic needs no reference images and no features, so it works on any denoiser. Every sample's values depend on its
own seed alone, so observations of disjoint seeds can be put together.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.core.errors import InputError, SamplingError
from harness.metrics.base import DEFAULT_SAMPLES, Arrays, Metric, SamplingJob, Sheet
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import CONFIDENCE, Estimate, quantiles

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 64
"""Samples of a diagnostic that names no number."""

PATHS = 32
"""Trajectories kept of a trial."""

MEAN_BLOCKS = 10
"""Blocks of samples that a mean's interval is over, at most: a mean has no bias, so its rows keep the cut they had."""

APART = 2**31
"""Random numbers of a diagnostic's own come from streams that much above the sample's seed."""


class Profile(NamedTuple):
    """Values by noise level: levels float64 [K], descending, and values [N, K]."""

    levels: "Tensor"
    values: "Tensor"


class Paths(NamedTuple):
    """Trajectories of samples of one number: times float64 [K] and states x [N, K]."""

    times: "Tensor"
    x: "Tensor"


@dataclass(frozen=True, eq=False)
class SampleValues:
    """What a diagnostic saw of N samples.

    Args:
        values: float64 [N], one number a sample.
        nfe: int64 [N], evaluations that the sampler itself makes; 0 where it is not run.
        rows: network rows computed, references and padding included.
        profile: by noise level, where the diagnostic has that.
        pictures: byte images by name [rows, columns, C, H, W], for the first seeds.
        paths: trajectories, where an image is a single number.
    """

    values: "Tensor"
    nfe: "Tensor"
    rows: int
    profile: Profile | None = None
    pictures: "Mapping[str, Tensor] | None" = None
    paths: Paths | None = None

    def arrays(self, part: slice) -> Arrays:
        arrays = {"values": self.values[part].numpy()}
        if self.profile is not None:
            arrays |= {"levels": self.profile.levels.numpy(), "profile": self.profile.values[part].numpy()}
        if self.paths is not None:
            arrays |= {"path_times": self.paths.times.numpy(), "path_x": self.paths.x[part].numpy()}
        return arrays

    def sheets(self) -> Mapping[str, Sheet]:
        return {
            name: Sheet(picture.flatten(0, 1).numpy(), picture.shape[1])
            for name, picture in (self.pictures or {}).items()
        }


class SampleMean(Metric):
    """Base of metrics that are a mean over samples, each with one number: diagnostics, and functions of the user's.

    Args:
        samples: N of this metric in a grid; None for 64, or the grid's own number if that is smaller.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.
    """

    is_diagnostic: ClassVar[bool] = True

    samples: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @property
    def identity(self) -> str:
        """Kind, version, and a hash of every field that changes the numbers."""
        fields = self.model_dump(mode="json", exclude={"samples", "series", "denoisers", "kind"})
        fields |= {"plugin": self.plugin} if self.plugin else {}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"{self.name}:{self.version}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def default_samples(self, grid: int | None) -> int:
        return self.samples if self.samples is not None else min(grid or DEFAULT_SAMPLES, SAMPLES)

    def observe(self, job: SamplingJob) -> SampleValues:
        import torch

        ends = job.denoiser.sigma_min, job.denoiser.sigma_max
        if not self.starts_at_infinity and job.sampler.starts_at_infinity(*ends):
            raise InputError(f"metric '{self.name}' needs a finite first level, and sigma is infinite at t = 1")
        with torch.no_grad():
            seen = self.measure(job)
        bad = int((~torch.isfinite(seen.values)).sum())
        if bad:
            raise SamplingError(f"{bad} of {len(job.seeds)} values of {self.name} are not finite")
        return seen

    @abstractmethod
    def measure(self, job: SamplingJob) -> SampleValues:
        """Observe a sampler on some seeds; gradients are off.

        Raises:
            InputError: the sampler does not fit the denoiser, or the diagnostic does not fit the sampler.
            SamplingError: a state that is not finite.
        """

    def read(self, chunks: Sequence[Arrays]) -> Arrays:
        for arrays in chunks:
            if "values" not in arrays:
                raise InputError(f"not a file of {self.name}: lacks ['values']")
        per_sample = ("values", "profile", "path_x")
        first = chunks[0]
        return {
            name: np.concatenate([arrays[name] for arrays in chunks]) if name in per_sample else first[name]
            for name in first
        }

    def compute(self, blocks: Sequence[Arrays], reference: Reference | None, device: str = "cpu") -> Estimate:
        """The mean over samples, with how they are spread, and values by noise level."""
        together = self.read(blocks)
        values = together["values"]
        details: dict[str, Any] = {"quantiles": quantiles(values)}
        if "levels" in together:
            details["profile"] = profile(together["levels"], together["profile"])
        if "path_times" in together:
            details["paths"] = {"t": together["path_times"].tolist(), "x": together["path_x"][:PATHS].tolist()}
        return mean(values, details)


class Diagnostic(SampleMean):
    """Base of all diagnostics; arguments as for `SampleMean`."""

    better: ClassVar[Literal["lower", "higher"]] = "lower"


def mean(values: np.ndarray, details: dict[str, Any] | None = None, blocks: int = MEAN_BLOCKS) -> Estimate:
    """The mean of values [N] over samples, and without each of at most so many blocks of consecutive ones.

    Args:
        values: [N], at least one.
        details: of the estimate.
        blocks: at most.

    Raises:
        InputError: no values.
    """
    if not len(values):
        raise InputError("a mean needs at least one value")
    cut = np.array_split(values, min(blocks, len(values)))
    sizes, sums = np.array([len(part) for part in cut]), np.array([part.sum() for part in cut])
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes) if len(cut) > 1 else np.empty(0)
    return Estimate(float(values.mean()), left_out, sizes, details or {})


def profile(levels: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Values [N, K] by noise level [K] as lists: mean, its 95 % interval over samples (Student's t), and quartiles.

    A single sample has no interval, `low` and `high`.
    """
    from scipy.special import stdtrit

    n, middle = len(values), values.mean(0)
    lower, upper = np.quantile(values, (0.25, 0.75), axis=0)
    columns = {"level": levels, "mean": middle, "lower": lower, "upper": upper}
    if n > 1:
        reach = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * values.std(0, ddof=1) / np.sqrt(n)
        columns |= {"low": middle - reach, "high": middle + reach}
    return {name: column.tolist() for name, column in columns.items()}


def rmse(a: "Tensor", b: "Tensor") -> "Tensor":
    """Root mean square difference of each sample [N], float64."""
    return (a - b).double().square().flatten(1).mean(1).sqrt().cpu()
