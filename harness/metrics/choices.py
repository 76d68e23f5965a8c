"""Metrics that compare features of images with a reference, as choices that a grid or a command line can name."""

from abc import abstractmethod
from itertools import combinations
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.core.config import Config, Names
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import DATASET_SHAPES
from harness.metrics.features.choices import AnyExtractor, DigitsFeatures, ExtractorSpec, Inception, Pixels
from harness.metrics.memorization import RATIO

Samples = Annotated[int, Field(ge=2, le=10_000_000)]
Source = Annotated[str, Field(min_length=1)]
Neighbour = Annotated[int, Field(ge=1, le=100)]

FEW = 10_000
"""Images whose features are kept by default, for metrics that look at every pair."""

MANY = 50_000
"""Images of an FID with Inception, as the field has it."""


class FeatureMetric(Config):
    """Base of all metrics of features.

    Args:
        samples: N of this metric in a grid; by default the grid's own number, of metrics that look at pairs at most
            10,000.
        series, denoisers: the series and denoisers of a grid that it is asked of; all if left out.
        ranges: disjoint ranges of N seeds, one after the other, each measured by itself. The paper takes three.
        label: a name for this metric in place of its own, where a grid has two of a kind.

    Attributes:
        by_level: no metric of features has values by noise level.
        better: which way is better.
        runs: the sampler is run, so that its NFE means something.
        needs: what is kept of images beside the moments of their features.
        word: what it is called, before the extractor's title.
    """

    by_level: ClassVar[str | None] = None
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    runs: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    word: ClassVar[str] = ""

    samples: Samples | None = None
    series: Names | None = None
    denoisers: Names | None = None
    ranges: Annotated[int, Field(ge=1, le=100)] = 1
    label: Annotated[str, Field(min_length=1, max_length=60)] | None = None

    @property
    @abstractmethod
    def features(self) -> AnyExtractor:
        """The extractor."""

    @property
    @abstractmethod
    def source(self) -> str | None:
        """Where the reference is: a word, a card's name, or a path; None for none."""

    @property
    def name(self) -> str:
        """A word: the kind, with the extractor where that is not Inception."""
        if self.label:
            return self.label
        kind = str(type(self).model_fields["kind"].default)
        return kind if not self.features.title else f"{kind}-{self.features.title.lower()}"

    @property
    def title(self) -> str:
        """For headings and axes."""
        if self.label:
            return self.label
        return f"{self.word} ({self.features.title})" if self.features.title else self.word

    @property
    def method(self) -> str:
        """How the number is made, with what changes it; "" for a Frechet distance."""
        return ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Under which names chunks of images are kept that this metric can use; its own first, then richer ones."""
        rest = sorted({"features", "classes"} - self.needs)
        more = [self.needs | set(extra) for count in range(len(rest) + 1) for extra in combinations(rest, count)]
        return tuple("+".join([self.features.identity, *sorted(kept)]) for kept in more)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """See that the extractor takes images of a shape.

        Raises:
            InputError: it does not.
        """
        digits = DATASET_SHAPES["digits"]
        if isinstance(self.features, DigitsFeatures) and tuple(shape) != digits:
            raise InputError(
                f"'{self.name}' compares images {list(digits)}, not {list(shape)}; use another metric, or in a grid "
                "name the `denoisers` that it is asked of"
            )
        if len(shape) == 3 and shape[0] not in (1, 3) and not isinstance(self.features, Pixels):
            raise InputError(f"'{self.name}' needs images of 1 or 3 channels, not {list(shape)}")


class FrechetDigits(FeatureMetric):
    """FD-digits: Frechet distance to the digits in the features of the digit classifier; lower is better."""

    kind: Literal["fd-digits"] = "fd-digits"

    @property
    def features(self) -> AnyExtractor:
        """The embedded classifier."""
        return DigitsFeatures()

    @property
    def source(self) -> str:
        """The embedded digits."""
        return "digits"

    @property
    def name(self) -> str:
        """The kind, as a word."""
        return self.label or self.kind

    @property
    def title(self) -> str:
        """For headings and axes."""
        return self.label or "FD-digits"


class _Compared(FeatureMetric):
    """A metric of any extractor against any reference.

    Args:
        extractor: the network whose features are compared.
        reference: what they are compared with: `digits`, the name of a card, a file of statistics, or a data set.
    """

    extractor: ExtractorSpec = Inception()
    reference: Source

    @property
    def features(self) -> AnyExtractor:
        """The extractor."""
        return self.extractor

    @property
    def source(self) -> str:
        """The reference."""
        return self.reference


class FID(_Compared):
    """Frechet distance of features to those of real images; lower is better. With Inception this is FID."""

    kind: Literal["fid"] = "fid"

    @property
    def name(self) -> str:
        """`fid`, and `fd-...` in other features than Inception's."""
        return self.label or (f"fd-{self.extractor.title.lower()}" if self.extractor.title else self.kind)

    @property
    def title(self) -> str:
        """FID, and FD-... in other features than Inception's."""
        return self.label or (f"FD-{self.extractor.title}" if self.extractor.title else "FID")


class FIDInfinity(_Compared):
    """Frechet distance extrapolated to infinitely many images, from its fall with 1/N; lower is better."""

    word: ClassVar[str] = "FID∞"
    kind: Literal["fid-infinity"] = "fid-infinity"

    @property
    def method(self) -> str:
        """Extrapolation over windows of blocks."""
        return "extrapolated in 1/N"


class KID(_Compared):
    """Kernel distance: unbiased squared MMD of the kernel (x.y / d + 1)^3 to real images; lower is better.

    Args:
        subset, subsets: sizes and number of the customary random subsets, whose mean and spread are given beside.
    """

    word: ClassVar[str] = "KID"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    kind: Literal["kid"] = "kid"
    subset: Annotated[int, Field(ge=2, le=100_000)] = 1000
    subsets: Annotated[int, Field(ge=0, le=10_000)] = 100

    @property
    def method(self) -> str:
        """The kernel and the subsets."""
        return f"cubic kernel, {self.subsets} subsets of {self.subset}"


class _Neighbours(_Compared):
    """A share by nearest neighbours."""

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    k: Neighbour = 3

    @property
    def method(self) -> str:
        """Whose neighbours."""
        return f"{type(self).model_fields['kind'].default}, k = {self.k}"


class Precision(_Neighbours):
    """Share of generated images that lie among real ones: within a real image's k-th neighbour; higher is better.

    Args:
        k: number of the neighbour that sets the radius.
    """

    word: ClassVar[str] = "Precision"
    kind: Literal["precision"] = "precision"


class Recall(_Neighbours):
    """Share of real images that lie among generated ones: within a generated image's k-th neighbour; higher is better.

    Args:
        k: number of the neighbour that sets the radius.
    """

    word: ClassVar[str] = "Recall"
    kind: Literal["recall"] = "recall"


class Density(_Neighbours):
    """How many real neighbourhoods hold a generated image, over k; higher is better, and it may pass 1.

    Args:
        k: number of the neighbour that sets the radius.
    """

    word: ClassVar[str] = "Density"
    kind: Literal["density"] = "density"
    k: Neighbour = 5


class Coverage(_Neighbours):
    """Share of real images with a generated one within their k-th neighbour; higher is better.

    Args:
        k: number of the neighbour that sets the radius.
    """

    word: ClassVar[str] = "Coverage"
    kind: Literal["coverage"] = "coverage"
    k: Neighbour = 5


class InceptionScore(FeatureMetric):
    """How sure a classifier is of each image, and how many classes the images spread over; higher is better.

    Args:
        extractor: the classifier.
    """

    word: ClassVar[str] = "Inception Score"
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    kind: Literal["inception-score"] = "inception-score"
    extractor: ExtractorSpec = Inception()

    @property
    def features(self) -> AnyExtractor:
        """The classifier."""
        return self.extractor

    @property
    def source(self) -> None:
        """It compares with nothing."""
        return

    @property
    def method(self) -> str:
        """Which score."""
        return "inception score"


class Memorisation(_Compared):
    """Share of images much nearer to one training image than to any other, in pixels: copies; lower is better."""

    word: ClassVar[str] = "Memorised"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    kind: Literal["memorisation"] = "memorisation"
    extractor: ExtractorSpec = Pixels()

    @property
    def name(self) -> str:
        """The kind, with the extractor where that is not pixels."""
        pixels = self.extractor == Pixels()
        return self.label or (self.kind if pixels else f"{self.kind}-{self.extractor.title.lower() or 'inception'}")

    @property
    def title(self) -> str:
        """For headings and axes."""
        return self.label or "Share of copies"

    @property
    def method(self) -> str:
        """The rule."""
        return f"nearest within {RATIO:.3g} of the second"


FEATURE_METRICS: tuple[type[FeatureMetric], ...] = (
    FrechetDigits,
    FID,
    FIDInfinity,
    KID,
    Precision,
    Recall,
    Density,
    Coverage,
    InceptionScore,
    Memorisation,
)

AnyFeatureMetric = (
    FrechetDigits | FID | FIDInfinity | KID | Precision | Recall | Density | Coverage | InceptionScore | Memorisation
)
