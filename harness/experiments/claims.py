"""Claims of a grid: statements that its results can bear out or refute, each with the tests that decide it.

    claims:
      - statement: Heun's method needs fewer evaluations than Euler's.
        source: Karras et al. 2022, Section 3
        tests:
          - {kind: faster, metric: fd-digits, series: Heun, than: Euler}

A test is asked of every denoiser that it names, by default of all, and one of training configurations of every
architecture. It answers `holds`, `does not hold` or `undecided`; a claim holds where all of its tests do, and does not
where one does not. Nothing holds whose interval does not: the intervals of a test's comparisons hold together with 95 %
probability (Bonferroni), so that many comparisons do not make a finding of a chance. Distances are compared at infinite
N, so that N decides nothing.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from harness.core.config import Config, Finite, Names, Positive, freeze, one_of
from harness.experiments.claim_base import (
    ClaimTest,
    CurveTest,
    Finding,
    Places,
    Series,
    Verdict,
    either,
    gap_in_words,
    listing,
    ratio_in_words,
    span_in_words,
)
from harness.experiments.claim_points import (
    ClaimPoint,
    Look,
    Undecided,
    check_paired,
    curve_of,
    difference,
    gap_of,
    mean_of,
    shared_points,
    values_of,
    with_enough,
)
from harness.experiments.configuration_claim import Configuration
from harness.metrics.statistics.decisions import MAY_BE_ZERO, cost_ratio, lowest_within
from harness.metrics.statistics.jackknife import CONFIDENCE, jackknife_of

EQUIVALENCE = 0.90
"""Confidence of the interval that is to lie inside a margin: two one-sided tests of 5 % (Schuirmann 1987)."""


class Lower(CurveTest):
    """A series has a lower value than others: on average over their common places, or at each.

    Args:
        than: the series that it is to be lower than.
        at: places on the axis; by default all that the series share.
        each: lower at each place, not on average.
        to: closeness to this value is meant, |value - to|, in place of the value.
    """

    kind: Literal["lower"] = "lower"
    than: Names
    at: Places | None = None
    each: bool = False
    to: Finite | None = None

    @property
    def others(self) -> tuple[str, ...]:
        return self.than

    def in_words(self) -> str:
        what = self.metric if self.to is None else f"distance of {self.metric} from {self.to:g}"
        where = "at " if self.at and len(self.at) == 1 else "at each of " if self.each else "on average over "
        places = "the common points" if self.at is None else listing(self.at)
        return f"{what} of {self.series} is below that of {either(self.than)}, {where}{places}"

    def ask(self, look: Look) -> Finding:
        gaps, trials = [], []
        for other in self.than:
            one, two = shared_points(self.points(look, self.series, 0, self.at), self.points(look, other, 0, self.at))
            parts = [(values_of(a, self.to), values_of(b, self.to)) for a, b in zip(one, two, strict=True)]
            logs = not one[0].is_distance and self.to is None and all((x > 0).all() and (y > 0).all() for x, y in parts)
            sizes = one[0].replicates.sizes
            each = [gap_of(x, y, sizes, logs) for x, y in parts]
            trials += [point.fingerprint for point in (*one, *two)]
            rows = each if self.each else [np.mean(each, axis=0)]
            names = [f"{other} at {point.x:g}" for point in one] if self.each else [other]
            gaps += [(name, row, sizes, logs) for name, row in zip(names, rows, strict=True)]
        level = 1 - (1 - CONFIDENCE) / len(gaps)
        found = [(name, jackknife_of(row, sizes, level), logs) for name, row, sizes, logs in gaps]
        over = [name for name, gap, _ in found if gap.low > 0]
        under = [name for name, gap, _ in found if gap.high < 0]
        verdict: Verdict = "does not hold" if over else "holds" if len(under) == len(found) else "undecided"
        open_ = [name for name, gap, _ in found if gap.low <= 0 <= gap.high]
        why = "" if verdict != "undecided" else f"undecided against {listing(open_)}"
        told = "; ".join(f"{name}: {ratio_in_words(gap) if logs else gap_in_words(gap)}" for name, gap, logs in found)
        return Finding(verdict, told, why, tuple(dict.fromkeys(trials)))


class Equivalent(CurveTest):
    """Two series differ by less than a margin that was fixed beforehand.

    Args:
        to: the other; the difference is the value of `series` less that of `to`.
        margin: largest difference that counts as none, in the metric's unit.
        at: the place on the axis; needed where a series has several points.
        one_sided: only `series` being higher by the margin counts.
    """

    kind: Literal["equivalent"] = "equivalent"
    to: Series
    margin: Positive
    at: Finite | None = None
    one_sided: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        return (self.to,)

    def in_words(self) -> str:
        side = "is above" if self.one_sided else "differs from"
        where = "" if self.at is None else f" at {self.at:g}"
        return f"{self.metric} of {self.series} {side} that of {self.to}{where} by less than {self.margin:g}"

    def ask(self, look: Look) -> Finding:
        at = None if self.at is None else (self.at,)
        one, two = shared_points(self.points(look, self.series, 0, at), self.points(look, self.to, 0, at))
        if len(one) > 1:
            raise Undecided("the series have several points; say which by `at`")
        gap = difference(one[0], two[0], EQUIVALENCE)
        inside = gap.high < self.margin and (self.one_sided or gap.low > -self.margin)
        outside = gap.low > self.margin or (not self.one_sided and gap.high < -self.margin)
        verdict: Verdict = "holds" if inside else "does not hold" if outside else "undecided"
        why = "" if verdict != "undecided" else f"the 90 % interval reaches across the margin {self.margin:g}"
        return Finding(verdict, gap_in_words(gap, EQUIVALENCE), why, (one[0].fingerprint, two[0].fingerprint))


class Faster(CurveTest):
    """A series needs fewer evaluations than another, each to within 3 % of its own best.

    Args:
        than: the series that needs more.
        factor: how many times fewer, at least.
    """

    kind: Literal["faster"] = "faster"
    than: Series
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0

    @property
    def others(self) -> tuple[str, ...]:
        return (self.than,)

    def in_words(self) -> str:
        times = "fewer" if self.factor == 1 else f"{self.factor:g} times fewer"
        return f"{self.series} needs {times} evaluations than {self.than} to within 3 % of its best {self.metric}"

    def ask(self, look: Look) -> Finding:
        curves = [self.points(look, name) for name in (self.than, self.series)]
        check_paired([point for curve in curves for point in curve])
        other, this = (lowest_within(curve_of(points)) for points in curves)
        ratio = cost_ratio(other, this)
        trials = tuple(point.fingerprint for points in curves for point in points)
        if ratio.ratio is None or ratio.low is None or ratio.high is None:
            raise Undecided(ratio.undecided)
        high = "∞" if math.isinf(ratio.high) else f"{ratio.high:.3g}"
        told = f"{ratio.ratio:.3g} times ({ratio.low:.3g} to {high}, 90 %)"
        if MAY_BE_ZERO in ratio.undecided or ratio.low <= self.factor <= ratio.high:
            return Finding("undecided", told, ratio.undecided or f"the range holds {self.factor:g}", trials)
        return Finding("holds" if ratio.low > self.factor else "does not hold", told, "", trials)


class BestBetween(CurveTest):
    """The best place on a curve lies between two ends: some point inside is better than every point outside.

    Args:
        low, high: the ends, inside.
    """

    kind: Literal["best-between"] = "best-between"
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> "BestBetween":
        if self.low > self.high:
            raise ValueError(f"low is above high: {self.low:g} and {self.high:g}")
        return self

    def in_words(self) -> str:
        return f"the lowest {self.metric} of {self.series} lies between {self.low:g} and {self.high:g}"

    def ask(self, look: Look) -> Finding:
        points = self.points(look, self.series)
        check_paired(points)
        inside = [point for point in points if self.low <= point.x <= self.high]
        outside = [point for point in points if not self.low <= point.x <= self.high]
        if not inside or not outside:
            raise Undecided("the curve has points on one side of the ends only")
        best_in, best_out = (min(side, key=mean_of) for side in (inside, outside))
        level = 1 - (1 - CONFIDENCE) / (len(inside) * len(outside))  # these seeds choose the best of either side
        against = [difference(best_in, each, level) for each in outside]
        refuting = [difference(best_out, each, level) for each in inside]
        gap = difference(best_in, best_out, level)
        told = f"best inside at {best_in.x:g}, outside at {best_out.x:g}: {gap_in_words(gap)}"
        verdict: Verdict = "undecided"
        if all(each.high < 0 for each in against):
            verdict = "holds"
        elif all(each.high < 0 for each in refuting):
            verdict = "does not hold"
        why = "a point outside may be as good" if verdict == "undecided" else ""
        return Finding(verdict, told, why, tuple(point.fingerprint for point in points))


class Chosen(CurveTest):
    """The best point of a curve is better than another series on other seeds than those that it was chosen on.

    The metric needs `ranges: 2`. What one range of seeds chooses is judged by the other, and the two gains are
    averaged: all seeds judge, and none judges what it chose.

    Args:
        than: the series that it is compared with.
        helps: whether it is claimed to be better; False claims that it gains less than `margin`.
        margin: of `helps: false`, in the metric's unit.
    """

    ranges: ClassVar[int] = 2

    kind: Literal["chosen"] = "chosen"
    than: Series
    helps: bool = True
    margin: Positive | None = None

    @model_validator(mode="after")
    def _a_margin(self) -> "Chosen":
        if self.helps == (self.margin is not None):
            raise ValueError("`helps: false` needs a margin, and only that")
        return self

    @property
    def others(self) -> tuple[str, ...]:
        return (self.than,)

    def in_words(self) -> str:
        gain = "is better than" if self.helps else f"gains less than {self.margin:g} over"
        return f"the best of {self.series}, chosen on other seeds, {gain} {self.than} by {self.metric}"

    def ask(self, look: Look) -> Finding:
        pairs = [self._pair(look, chosen_on, judged_on) for chosen_on, judged_on in ((0, 1), (1, 0))]
        sizes = np.concatenate([point.replicates.sizes for point, _ in pairs])
        gains = [gap_of(values_of(point), values_of(other), point.replicates.sizes, False) for point, other in pairs]
        confidence = CONFIDENCE if self.helps else EQUIVALENCE
        gap = jackknife_of(np.concatenate(gains), sizes, confidence)
        if self.margin is None:
            verdict: Verdict = "holds" if gap.high < 0 else "does not hold" if gap.low > 0 else "undecided"
            why = "the interval holds 0"
        else:
            verdict = "holds" if gap.low > -self.margin else "does not hold" if gap.high < -self.margin else "undecided"
            why = f"the interval reaches below the margin, {-self.margin:g}"
        places = " and ".join(dict.fromkeys(f"{point.x:g}" for point, _ in pairs))
        told = f"at {places}, chosen on other seeds: {gap_in_words(gap, confidence)}"
        trials = (*(each.fingerprint for each in self.points(look, self.series, 0)), pairs[0][1].fingerprint)
        return Finding(verdict, told, why if verdict == "undecided" else "", trials)

    def _pair(self, look: Look, chosen_on: int, judged_on: int) -> tuple[ClaimPoint, ClaimPoint]:
        """The best point of one range and the other series, both on another range."""
        other = self.points(look, self.than, judged_on)
        if len(other) > 1:
            raise Undecided(f"{self.than} has several points")
        chosen = min(self.points(look, self.series, chosen_on), key=mean_of)
        points = self.points(look, self.series, judged_on)
        point = next((each for each in points if each.fingerprint == chosen.fingerprint), None)
        if point is None:
            raise Undecided("the chosen point is missing on the other range of seeds")
        check_paired([point, other[0]])
        return point, other[0]


class Above(CurveTest):
    """The value of every point of a series is above a number.

    Args:
        value: the number.
        at: places on the axis; by default all.
    """

    kind: Literal["above"] = "above"
    value: Finite
    at: Places | None = None

    def in_words(self) -> str:
        return f"{self.metric} of {self.series} is above {self.value:g}"

    def ask(self, look: Look) -> Finding:
        points = self.points(look, self.series, 0, self.at)
        level = 1 - (1 - CONFIDENCE) / len(points)
        found = [jackknife_of(values_of(with_enough(point)), point.replicates.sizes, level) for point in points]
        verdict: Verdict = "undecided"
        if all(each.low > self.value for each in found):
            verdict = "holds"
        elif any(each.high < self.value for each in found):
            verdict = "does not hold"
        told = "; ".join(span_in_words(each) for each in found)
        why = f"an interval holds {self.value:g}" if verdict == "undecided" else ""
        return Finding(verdict, told, why, tuple(point.fingerprint for point in points))


TESTS = one_of(Lower, Equivalent, Faster, BestBetween, Chosen, Above, Configuration)


class Claim(Config):
    """A statement with the tests that decide it.

    Args:
        statement: what is claimed, in a sentence.
        source: where it is claimed: paper, section, figure.
        published: the numbers that were published with it, in words.
        tests: all of which must hold.
    """

    statement: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    published: str = ""
    tests: Annotated[tuple[Annotated[ClaimTest, TESTS], ...], BeforeValidator(freeze), Field(min_length=1)]

    @model_validator(mode="after")
    def _one_subject(self) -> "Claim":
        if len({test.subject for test in self.tests}) > 1:
            raise ValueError(
                "some tests are asked of denoisers and some of architectures, so no verdict is of all; make two claims"
            )
        return self

    def of(self, subject: str) -> list[ClaimTest]:
        """The tests that are asked of a denoiser or an architecture."""
        return [test for test in self.tests if test.only is None or subject in test.only]


def judge(tests: Iterable[ClaimTest], look: Look) -> list[Finding]:
    """The findings of the tests of one subject, at least one."""
    found = []
    for test in tests:
        try:
            found.append(test.ask(look))
        except Undecided as why:
            found.append(Finding("undecided", "", str(why), ()))
    return found


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """What follows from all tests of a claim on one subject."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in ("does not hold", "undecided"):
        if verdict in verdicts:
            return verdict
    return "holds"
