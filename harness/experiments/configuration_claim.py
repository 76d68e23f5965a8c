"""The test of claims about training configurations: is one better than another, by the spread over training seeds."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.core.config import Names
from harness.experiments.claim_base import ClaimTest, Finding, Series, Verdict
from harness.experiments.claim_points import Look, SeedScores, Undecided
from harness.metrics.statistics.welch import LEAST, deviation, mean, mean_difference

Row = Annotated[str, Field(min_length=1)]


class Configuration(ClaimTest):
    """A training configuration gives better networks than another, architecture by architecture.

    Each side is the last snapshots of several networks, a training seed each. The gain is the difference of their
    means, in the metric's unit, positive where `row` is better; its interval is Welch's over training seeds, 95 %.

    Args:
        row: the configuration that the claim is about.
        than: the configuration that it is compared with.
        columns: the architectures that it is asked of; all if left out.
        better: whether it is claimed to gain more than `margin`; False claims that it gains less.
        margin: the gain that is claimed, in the metric's unit.
        series: the curve by which networks are judged; by default the first that all networks have.
    """

    subject: ClassVar[Literal["denoiser", "architecture"]] = "architecture"

    kind: Literal["configuration"] = "configuration"
    row: Row
    than: Row
    columns: Names | None = None
    better: bool = True
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    series: Series | None = None

    @property
    def only(self) -> Names | None:
        return self.columns

    @property
    def sides(self) -> tuple[str, tuple[str, ...]]:
        return self.row, (self.than,)

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        named = {"configuration": (self.row, self.than), "architecture": self.columns or ()}
        return named | ({"series": (self.series,)} if self.series else {})

    def in_words(self) -> str:
        by = f"by {self.metric}" + (f" of {self.series}" if self.series else "")
        if self.margin:
            gains = f"gains {'more' if self.better else 'less'} than {self.margin:g} over"
        else:
            gains = f"is {'better' if self.better else 'worse'} than"
        return f"configuration {self.row} {gains} {self.than} {by}, on average over training seeds"

    def ask(self, look: Look) -> Finding:
        one, two = self._scores(look, self.row), self._scores(look, self.than)
        gap = mean_difference(one.values, two.values)
        if gap is None:
            raise Undecided(f"the training seeds of {self.row} and {self.than} do not differ at all")
        told = f"{self.row} {_told(one)}, {self.than} {_told(two)}: "
        told += f"{gap.estimate:+.2g} ({gap.low:+.2g} to {gap.high:+.2g} over training seeds)"
        # the gain is positive where `row` is better, so that of a distance is the difference with its sign turned
        low, high = (-gap.high, -gap.low) if one.lower_is_better else (gap.low, gap.high)
        verdict: Verdict = "undecided"
        if low > self.margin:
            verdict = "holds" if self.better else "does not hold"
        elif high < self.margin:
            verdict = "does not hold" if self.better else "holds"
        edge = f"a gain of {self.margin:g}" if self.margin else "no difference"
        why = f"the training seeds leave it open: the interval holds {edge}" if verdict == "undecided" else ""
        return Finding(verdict, told, why, (*one.trials, *two.trials))

    def _scores(self, look: Look, row: str) -> SeedScores:
        """What the networks of a configuration got.

        Raises:
            Undecided: some are missing, or they are too few.
        """
        scores = look.scores(row, self.metric, self.series)
        if scores.missing:
            raise Undecided(f"{row}: {scores.missing}")
        if len(scores.values) < LEAST:
            raise Undecided(f"{row}: training seeds done: {len(scores.values)}; an interval takes {LEAST}")
        return scores


def _told(scores: SeedScores) -> str:
    return f"{mean(scores.values):.3g} (sd {deviation(scores.values):.2g}, {len(scores.values)} seeds)"
