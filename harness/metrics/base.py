"""The base of all metrics: one object that knows how its number is made, stored, named and shown.

A metric works in two halves. In a worker, `observe` looks at a sampler on some seeds and says what is kept of them:
arrays that the store holds as chunks. Later `compute` turns the chunks of all seeds into an `Estimate`. What lies
between (chunks, claims, resuming, blocks of seeds) is the same for every metric.

    class Curvature(Diagnostic):          # one number a sample: harness.metrics.diagnostics.base
    class FID(ComparedMetric):            # features against a reference: harness.metrics.feature_metric

A metric module imports torch inside its methods only, so that plans and reports load without it.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from pydantic import Field

from harness.core.config import Config, Names
from harness.core.data_range import DataRange
from harness.core.errors import InputError, MachineError, SamplingError, is_out_of_memory
from harness.core.plugins import provenance
from harness.hub.cards import load_cards
from harness.metrics.cautions import ImageKind
from harness.metrics.features.configs import ExtractorConfig
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import Estimate, Interval

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.denoisers.config import Description
    from harness.sampling.denoiser import Denoiser
    from harness.sampling.initial_state import Labels
    from harness.sampling.sampler import Sampler

Result = TypeVar("Result")
Arrays = Mapping[str, np.ndarray]
"""What a chunk of seeds holds, by name."""

DEFAULT_SAMPLES = 640
"""Images of a trial where neither grid nor metric says."""


OF_A_GRID = ("series", "denoisers", "ranges")
"""Fields of a metric that choose trials, and seeds of theirs."""


class SamplingJob(NamedTuple):
    """A denoiser and a sampler to be observed on some seeds.

    Args:
        denoiser, sampler: what is observed.
        seeds: N seeds.
        labels: label policy, as for `harness.sample`.
        device: where the state lives; None for the denoiser's own.
        batch: rows per network call; None for all.
        keep: what is kept of images beside moments of features: `features`, `classes`; a chunk may serve several
            metrics.
        converged: converged trajectories of this very denoiser, which jobs may share; None for none.
    """

    denoiser: "Denoiser"
    sampler: "Sampler"
    seeds: list[int]
    labels: "Labels" = None
    device: "torch.device | str | None" = None
    batch: int | None = None
    keep: tuple[str, ...] = ()
    converged: dict[str, Any] | None = None


class SharedEvaluations(NamedTuple):
    """Evaluations per sample that trials share.

    Args:
        key: the same for trials that are compared with the same thing.
        evaluations: about how many.
    """

    key: str
    evaluations: int


class Sheet(NamedTuple):
    """Byte images [N, C, H, W] that are shown together, in rows of so many columns."""

    images: np.ndarray
    columns: int


class Observation(Protocol):
    """What a metric keeps of N seeds.

    Attributes:
        nfe: int64 [N], evaluations that the sampler itself makes; 0 where it is not run.
        rows: network rows computed, references and padding included.
    """

    @property
    def nfe(self) -> "Tensor": ...

    @property
    def rows(self) -> int: ...

    def arrays(self, part: slice) -> Arrays:
        """The arrays to store of a part of the seeds, by name."""

    def sheets(self) -> Mapping[str, Sheet]:
        """Pictures of the first seeds, by name; they are stored where the plan asks for them."""


class Column(NamedTuple):
    """A column of the report beside the number, from the details of an estimate.

    It stands in the table of curves, which a page shows where the 3 % rule does not apply.

    Args:
        heading: of the column.
        form: how its cell is written: `number`, `count`, `spread` (a ± b), or `range` (a to b).
        details: the keys of one detail, or of two for `spread` and `range`; the part after a first dot is a key of the
            mapping before it.
        about: a sentence about it; `{key}` stands for a detail that is the same for all trials.
    """

    heading: str
    form: Literal["number", "count", "spread", "range"]
    details: tuple[str, ...]
    about: str = ""


class Certainty(NamedTuple):
    """How sure a number is.

    Args:
        interval: None where there is none.
        why_none: the reason then, in words.
    """

    interval: Interval | None
    why_none: str = ""

    @property
    def cautions(self) -> list[str]:
        """The reason as a sentence."""
        return [f"No interval: {self.why_none}."] if self.interval is None else []


class Metric(Config):
    """Base of all metrics.

    Args:
        samples: N of this metric in a grid, in place of its default.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.

    Attributes:
        word: what it is called in headings.
        better: which way is better.
        is_share: the value lies between 0 and 1.
        least: the lowest that the value can be, where it is no share.
        is_distance: it is a Frechet distance between finite sets, to which the 3 % rule applies.
        why_no_floor: why it says nothing of draws from the reference's own data; "" where it does.
        is_diagnostic: it needs no reference; its curves are drawn on a logarithmic axis.
        by_level: title of its values by noise level; None where there are none.
        columns: what a report shows beside the number.
        pictures: names of the pictures that are kept of every trial.
        samples_images: it looks at the trial's images, of which a plan may keep some.
        picture_seeds: how many seeds of a chunk its pictures show; None for all.
        merges_chunks: chunks that follow each other can be stored as one.
        needs: what is kept of images beside the moments of their features.
        needs_training: it compares with every training image.
        starts_at_infinity: it can be asked of a sampler whose first level is t = 1 of flow matching.
        is_probed: a program of the user's makes its numbers, which `probe` tries before a run.
    """

    word: ClassVar[str] = ""
    better: ClassVar[Literal["lower", "higher"]]
    is_share: ClassVar[bool] = False
    least: ClassVar[float] = -math.inf
    is_distance: ClassVar[bool] = False
    why_no_floor: ClassVar[str] = "it compares with nothing"
    is_diagnostic: ClassVar[bool] = False
    by_level: ClassVar[str | None] = None
    columns: ClassVar[tuple[Column, ...]] = ()
    pictures: ClassVar[tuple[str, ...]] = ()
    samples_images: ClassVar[bool] = False
    picture_seeds: ClassVar[int | None] = None
    merges_chunks: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    needs_training: ClassVar[bool] = False
    starts_at_infinity: ClassVar[bool] = True
    is_probed: ClassVar[bool] = False

    samples: Annotated[int, Field(ge=1)] | None = None
    series: Names | None = None
    denoisers: Names | None = None

    @property
    def name(self) -> str:
        """The metric's word in tables and files: by default its kind."""
        return str(type(self).model_fields["kind"].default)

    @property
    def title(self) -> str:
        """For headings and axes."""
        return self.word or self.name

    @property
    @abstractmethod
    def identity(self) -> str:
        """What identifies the stored arrays: everything that changes them but the trial and the seeds."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names under which chunks are stored that this metric can use; its own first."""
        return (self.identity,)

    @property
    def method(self) -> str:
        """How the number is made from the arrays, with what changes it; part of the reference's identity."""
        return ""

    @property
    def plugin(self) -> str:
        """Package, version and source hash of a metric that is not built in: part of its numbers' identity."""
        known = provenance(type(self))
        return f"{known['distribution']}-{known['version']}-{known['source'][:12]}" if known else ""

    @property
    def compares_by_factors(self) -> bool:
        """Whether values compare by factors, as distances and errors do, and not by differences, as scores do."""
        return self.is_distance or self.is_diagnostic

    @property
    def runs_code(self) -> bool:
        """Whether Python code of the user makes its numbers."""
        return False

    def display(self) -> dict[str, Any]:
        """What a report shows of it, as JSON: rows keep it, so that a report needs no class."""
        columns = [column._asdict() for column in self.columns]
        return {"title": self.title, "better": self.better, "is_share": self.is_share, "columns": columns}

    @property
    def source(self) -> str | None:
        """Where the reference is: a word, a card's name, or a path; None for none."""
        return None

    @property
    def features(self) -> ExtractorConfig | None:
        """The extractor; None where it looks at no features."""
        return None

    @property
    def compares_single_images(self) -> bool:
        """Whether it needs the features of single real images, not only their mean and covariance."""
        return "features" in self.needs

    @property
    def is_wide(self) -> bool:
        """Whether a chunk's arrays are large whatever the number of its seeds."""
        return False

    @property
    def range_count(self) -> int:
        """Disjoint ranges of N seeds, one after the other, each measured by itself."""
        return 1

    @abstractmethod
    def default_samples(self, grid: int | None) -> int:
        """N of this metric in a grid of so many samples; None where the grid does not say."""

    def for_range(self, data_range: DataRange) -> Self:
        """This metric for a denoiser with data of a range: features of floats are other features than those of bytes.

        Raises:
            InputError: it sees images as bytes, and data of this range are floats.
        """
        return self

    def check(self, sampler: "Sampler", shape: tuple[int, ...] | None = None) -> None:
        """Refuse a sampler, or a shape of images, that this metric says nothing about.

        Raises:
            InputError: with the reason and a remedy.
        """

    @property
    def cards(self) -> tuple[str, ...]:
        """Names of the cards whose files it needs: of its extractor and of its reference."""
        extractor = self.features.cards if self.features else ()
        return (*extractor, self.source) if self.source in load_cards() else extractor

    def check_files(self) -> None:
        """See that weights and references are there; no network is loaded.

        Raises:
            InputError: they are not; with how to get them.
        """

    def check_reference(self, statistics: Statistics) -> None:
        """See that a reference holds what this metric compares with, before anything is sampled.

        Raises:
            InputError: it does not.
        """

    def probe(self, denoiser: "Description", device: str) -> None:
        """Try code and programs of the user's on random images, before anything is sampled.

        Args:
            denoiser: whose images they are to be like.
            device: where to compute.

        Raises:
            InputError: no permission, or it cannot work; in one line.
        """

    def is_same_number(self, other: "Metric") -> bool:
        """Whether another metric of a grid is this number under another name."""
        return False

    def check_alone(self) -> None:
        """Refuse fields that choose among the trials of a grid, where a metric is asked for without one.

        Raises:
            InputError: one of them was given.
        """
        fields = type(self).model_fields
        for name in OF_A_GRID:
            if name in fields and getattr(self, name) != fields[name].default:
                raise InputError(f"`{name}` is about the trials of a grid, and there is none here; leave it out")

    def for_floor(self) -> "Metric":
        """This metric without details that a floor has no use for."""
        return self

    def evaluations(self, sampler: "Sampler", nfe: int) -> int:
        """About how many evaluations a sample costs, for estimates of time.

        Args:
            sampler: that is observed.
            nfe: its evaluations per sample.
        """
        return nfe

    def shared_evaluations(self, sampler: "Sampler", nfe: int) -> SharedEvaluations | None:
        """What a worker spends once for all trials of a denoiser compared with the same thing; None for none."""
        return None

    def cautions(
        self, blocks: Sequence[Any], reference: Reference | None = None, images: ImageKind | None = None
    ) -> list[str]:
        """What to keep in mind about the number of these blocks, in sentences.

        Args:
            blocks: that it is of.
            reference: what they are compared with.
            images: what the generated images are kept as; None where that is not known.
        """
        return []

    def bounded(self, value: float) -> float:
        """A number of an interval, within what the metric can be."""
        return min(max(value, 0.0), 1.0) if self.is_share else max(value, self.least)

    def certainty(self, estimate: Estimate) -> Certainty:
        """The interval of a number, or why there is none.

        Raises:
            SamplingError: the number itself is not finite.
        """
        if not math.isfinite(estimate.value):
            raise SamplingError(f"the value of {self.name} is not finite ({estimate.value})")
        interval = estimate.interval()
        if interval is None:
            return Certainty(None, "too few samples")
        if not math.isfinite(interval.se):
            return Certainty(None, "the value without one of the blocks is not finite")
        return Certainty(interval._replace(low=self.bounded(interval.low), high=self.bounded(interval.high)))

    @abstractmethod
    def observe(self, job: SamplingJob) -> Observation:
        """Observe a sampler on some seeds.

        Raises:
            InputError: the sampler does not fit the denoiser, or the metric does not fit the sampler.
            SamplingError: a state or features that are not finite.
        """

    @abstractmethod
    def read(self, chunks: Sequence[Arrays]) -> Any:
        """A block of `compute` from the arrays of consecutive chunks.

        Raises:
            InputError: arrays that are missing or cannot be.
        """

    @abstractmethod
    def compute(self, blocks: Sequence[Any], reference: Reference | None, device: str = "cpu") -> Estimate:
        """The number, from blocks of consecutive seeds as `read` gives them.

        Args:
            blocks: at least one; the jackknife leaves them out one at a time.
            reference: what the images are compared with; None for a metric without one.
            device: where large matrices and pairs are computed.

        Raises:
            InputError: a reference that does not go with the blocks, or too few images.
            SamplingError: numbers that are not finite.
        """


def halve_batch(work: Callable[[int], Result], batch: int) -> tuple[Result, int]:
    """What `work(batch)` gives, with as many rows per network call as the memory allows, and that number.

    Raises:
        MachineError: no memory for a single row.
    """
    import torch

    while True:
        try:
            return work(batch), batch
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            if batch == 1:
                raise MachineError("out of memory with one row per network call; use a device with more") from None
            batch //= 2
