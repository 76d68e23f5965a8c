"""What all tests of claims share: the answer that they give, and how a test says its numbers."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from harness.core.config import Config, Finite, Names, freeze
from harness.experiments.claim_points import ClaimPoint, Look, Undecided
from harness.metrics.statistics.jackknife import CONFIDENCE, Interval

Verdict = Literal["holds", "does not hold", "undecided"]


class Finding(NamedTuple):
    """The answer of a test on one subject, a denoiser or an architecture.

    Args:
        verdict: what follows.
        measured: the number behind it with its interval, in words.
        why: why it is undecided; "" otherwise.
        trials: fingerprints of the trials that it rests on.
    """

    verdict: Verdict
    measured: str
    why: str
    trials: tuple[str, ...]


Series = Annotated[str, Field(min_length=1)]
Places = Annotated[tuple[Finite, ...], BeforeValidator(freeze), Field(min_length=1)]


class ClaimTest(Config):
    """Base of all tests.

    Args:
        metric: its name in the grid, such as `fd-digits`.

    Attributes:
        ranges: disjoint ranges of seeds that it looks at.
        subject: what it is asked of, one by one: the denoisers of a grid, or the architectures of a grid that trains.
    """

    ranges: ClassVar[int] = 1
    subject: ClassVar[Literal["denoiser", "architecture"]] = "denoiser"

    kind: str
    metric: Annotated[str, Field(min_length=1)]

    @property
    @abstractmethod
    def only(self) -> Names | None:
        """The subjects that it is asked of; None for all."""

    @property
    @abstractmethod
    def sides(self) -> tuple[str, tuple[str, ...]]:
        """What it is about, and what that is compared with."""

    @property
    @abstractmethod
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names that it uses beside the metric's, by what they are names of; all must be in the grid."""

    @abstractmethod
    def in_words(self) -> str:
        """What it asks, for a reader of the page."""

    @abstractmethod
    def ask(self, look: Look) -> Finding:
        """The answer on one subject.

        Raises:
            Undecided: what is there does not allow an answer.
        """


class CurveTest(ClaimTest):
    """Base of the tests of curves, each asked of a denoiser.

    Args:
        series: the curve that the claim is about.
        denoisers: the grid's denoisers that it is asked of; all if left out.
    """

    series: Series
    denoisers: Names | None = None

    @property
    def only(self) -> Names | None:
        return self.denoisers

    @property
    def others(self) -> tuple[str, ...]:
        """The series that it is compared with."""
        return ()

    @property
    def sides(self) -> tuple[str, tuple[str, ...]]:
        return self.series, self.others

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return {"series": (self.series, *self.others), "denoiser": self.denoisers or ()}

    def points(
        self, look: Look, series: str, range_index: int = 0, at: Sequence[float] | None = None
    ) -> list[ClaimPoint]:
        """The points of a series, at these places or at all.

        Raises:
            Undecided: some are missing.
        """
        if why := look.missing(series, self.metric, range_index):
            raise Undecided(f"{series}: {why}")
        points = look.points(series, self.metric, range_index)
        if at is not None:
            points = [point for point in points if point.x in at]
            if len(points) < len(at):
                raise Undecided(f"{series}: no trial at {listing(sorted(set(at) - {point.x for point in points}))}")
        if not points:
            raise Undecided(f"{series}: no trials")
        return points


def gap_in_words(gap: Interval, confidence: float = CONFIDENCE) -> str:
    """A difference with its interval."""
    tail = "" if confidence == CONFIDENCE else f", {confidence:.0%}"
    return f"{gap.estimate:+.2g} ({gap.low:+.2g} to {gap.high:+.2g}{tail})"


def ratio_in_words(gap: Interval) -> str:
    """A factor, from the difference of logarithms."""
    return f"{math.exp(gap.estimate):.3g} times ({math.exp(gap.low):.3g} to {math.exp(gap.high):.3g})"


def span_in_words(interval: Interval) -> str:
    """A value with its interval."""
    return f"{interval.estimate:.3g} ({interval.low:.3g} to {interval.high:.3g})"


def either(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def listing(values: Sequence[object]) -> str:
    """Places or names with commas between them."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
