"""The inception score: how sure a classifier is of each sample, and how many classes the samples spread over.

    IS = exp( (1/n) sum_i KL(p_i || q) ),    q = (1/n) sum_i p_i

(Salimans et al. 2016, arXiv 1606.03498). It lies between 1 and the number of classes. Since

    sum_i KL(p_i || q) = sum_i sum_c p_ic log p_ic  -  n sum_c q_c log q_c,    0 log 0 = 0

three sums are enough, n, sum p and sum p log p: they merge in any order, and the score without a block is that of the
other blocks' sums. The score of n samples is too low, by at most about (classes - 1) / 2n of itself, so scores are
compared at one n only; the customary mean over ten splits has ten times that bias.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Annotated, ClassVar, Literal

import numpy as np

from harness.core.errors import InputError
from harness.metrics.base import Column
from harness.metrics.cautions import ImageKind
from harness.metrics.feature_metric import FeatureMetric
from harness.metrics.features.configs import EXTRACTORS, ExtractorConfig, Inception
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.jackknife import Estimate, can_leave_out

TOO_LOW = 0.05
"""Of the score: how much too low it may be before that is said."""


class InceptionScore(FeatureMetric):
    """How sure a classifier is of each image, and how many classes the images spread over; higher is better.

    Args:
        extractor: the classifier.
    """

    word: ClassVar[str] = "Inception Score"
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    least: ClassVar[float] = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "split mean",
            "spread",
            ("block_mean", "block_sd"),
            "“Split mean” is the customary form: the mean over {blocks} parts, ± their standard deviation; a part has "
            "fewer images, and so a lower score than all together.",
        ),
    )

    kind: Literal["inception-score"] = "inception-score"
    extractor: Annotated[ExtractorConfig, EXTRACTORS] = Inception()

    @property
    def features(self) -> ExtractorConfig:
        return self.extractor

    @property
    def method(self) -> str:
        return "inception score"

    def cautions(
        self, blocks: Sequence[FeatureSummary], reference: Reference | None = None, images: ImageKind | None = None
    ) -> list[str]:
        sums = [block.classes for block in blocks if block.classes is not None]
        n, classes = sum(block.n for block in blocks), len(sums[0].p) if sums else 0
        bias = (classes - 1) / (2 * n)
        if bias <= TOO_LOW:
            return []
        return [
            f"The score of N = {n:,} images over {classes:,} classes may be too low by {min(bias, 1.0):.0%} of itself; "
            "it compares at one N only."
        ]

    def compute(self, blocks: Sequence[FeatureSummary], reference: Reference | None, device: str = "cpu") -> Estimate:
        sums = [block.classes for block in blocks if block.classes is not None]
        assert len(sums) == len(blocks), "class sums were not kept"
        return inception_score(sums)


def inception_score(blocks: Sequence[ClassSums]) -> Estimate:
    """The inception score of all samples and without each block; higher is better.

    Args:
        blocks: the sums over consecutive blocks of samples; empty ones are left aside.

    Returns:
        Details: `block_mean` and `block_sd` (population, as is customary) of the blocks' own scores, over `blocks`.

    Raises:
        InputError: no samples, or unequal numbers of classes.
    """
    blocks = [block for block in blocks if block.n]
    if not blocks:
        raise InputError("an inception score needs at least 1 sample; we got none; use more seeds")
    sizes = np.array([block.n for block in blocks])
    own = [block.score() for block in blocks]
    count = len(blocks) if can_leave_out(sizes, 2) else 0  # one image alone has the score 1, whatever it shows
    left_out = [reduce(add, blocks[:j] + blocks[j + 1 :]).score() for j in range(count)]
    details = {"block_mean": float(np.mean(own)), "block_sd": float(np.std(own)), "blocks": len(own)}
    return Estimate(reduce(add, blocks).score(), np.array(left_out), sizes, details)
