"""The kernel distance KID: the unbiased squared maximum mean discrepancy under a cubic kernel.

    k(x, y) = (x.y / d + 1)^3
    MMD^2 = sum_{i != j} k(x_i, x_j) / N (N - 1) + sum_{i != j} k(y_i, y_j) / M (M - 1) - 2 sum_{i, j} k(x_i, y_j) / N M

(Binkowski et al. 2018, arXiv 1801.01401; the estimator is eq. 3 of Gretton et al. 2012, JMLR 13). Its expectation is
the distance of the distributions at any N, unlike that of the Frechet distance; so it may fall below zero.

The value uses every pair. What papers print is a mean over random subsets of 1000; that stands in the details. Products
and sums are float64: the distance is often a thousandth of the kernel's mean.

Without block j the sums lose all pairs that touch it. With r_j the sum of k over x in block j and all x, and o_j that
over pairs within block j, both with the diagonal, the first sum becomes total - 2 r_j + o_j, less the diagonal of the
rest.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.core.errors import InputError
from harness.metrics.base import Column
from harness.metrics.feature_metric import ComparedMetric, fitting_statistics, kept_features, real_features
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import Estimate, block_labels, block_sizes, can_leave_out
from harness.metrics.statistics.pairs import checked, cuts, same_width, tile

if TYPE_CHECKING:
    import torch


class KID(ComparedMetric):
    """Kernel distance: unbiased squared MMD of the kernel (x.y / d + 1)^3 to real images; lower is better.

    Args:
        subset, subsets: sizes and number of the customary random subsets, whose mean and spread are given beside.
    """

    word: ClassVar[str] = "KID"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            "subset mean",
            "spread",
            ("subset_mean", "subset_sd"),
            "“Subset mean” is the customary form: the mean over {subsets} random subsets of {subset} images, ± their "
            "standard deviation; the value takes every pair.",
        ),
    )

    kind: Literal["kid"] = "kid"
    subset: Annotated[int, Field(ge=2, le=100_000)] = 1000
    subsets: Annotated[int, Field(ge=0, le=10_000)] = 100

    @property
    def method(self) -> str:
        return f"cubic kernel, {self.subsets} subsets of {self.subset}"

    def for_floor(self) -> "KID":
        return self.model_copy(update={"subsets": 0})

    def compute(self, blocks: Sequence[FeatureSummary], reference: Reference | None, device: str = "cpu") -> Estimate:
        real = real_features(self, fitting_statistics(self, blocks, reference))
        fake, sizes = kept_features(blocks)
        return kid(fake, real, sizes, subsets=self.subsets, subset=self.subset, device=device)


class _Within(NamedTuple):
    """Kernel sums by block [g]: over x in the block and all x, over pairs in the block, and over the diagonal."""

    rows: np.ndarray
    own: np.ndarray
    diagonal: np.ndarray


def kid(
    fake: np.ndarray,
    real: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    *,
    subsets: int = 100,
    subset: int = 1000,
    seed: int = 0,
    device: str = "cpu",
) -> Estimate:
    """The squared kernel distance of generated and real features, unbiased; may be negative.

    Args:
        fake: [N, d] features of generated samples.
        real: [M, d] features of data.
        sizes: [g] samples in each consecutive block of `fake`.
        subsets: how many random subsets the details average over; 0 leaves that out.
        subset: samples of each side in one subset, drawn without replacement; at most min(N, M) are taken.
        seed: of the subsets.
        device: where to compute, in float64.

    Returns:
        Details: `subset_mean` and `subset_sd` (population, as is customary) over `subsets` of `subset` samples, and
        `subset_reduced` where fewer than asked for could be taken.

    Raises:
        InputError: fewer than 2 samples on a side, unequal lengths, sizes that do not fit, or a subset below 2.
        SamplingError: features that are not finite.
    """
    fake, real = checked(fake, "generated", 2), checked(real, "real", 2)
    same_width(fake, real)
    blocks = block_sizes(sizes, len(fake))
    if subset < 2 or subsets < 0:
        raise InputError(f"needs subsets of at least 2, and at least 0 of them; we got {subsets} of {subset}")
    n, m = len(fake), len(real)
    within, between = _within(fake, blocks, device), _between(fake, real, blocks, device)
    reals = _off_diagonal(_within(real, np.array([m]), device)) / (m * (m - 1))
    value = _mmd(_off_diagonal(within), between.sum(), reals, n, m)
    left_out = np.empty(0)
    if can_leave_out(blocks, 2):
        kept = _off_diagonal(within) - 2 * within.rows + within.own + within.diagonal
        left_out = _mmd(kept, between.sum() - between, reals, n - blocks, m)
    return Estimate(float(value), left_out, blocks, _over_subsets(fake, real, subsets, subset, seed, device))


def _mmd(fakes: Any, between: Any, reals: float, n: Any, m: int) -> Any:
    """From sums over pairs to the distance; `reals` is already a mean."""
    return fakes / (n * (n - 1)) - 2 * between / (n * m) + reals


def _off_diagonal(sums: _Within) -> float:
    return float(sums.rows.sum() - sums.diagonal.sum())


def _kernel(x: "torch.Tensor", y: "torch.Tensor") -> "torch.Tensor":
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def _within(features: np.ndarray, sizes: np.ndarray, device: str) -> _Within:
    """Sums over pairs of one set; the kernel is symmetric, so a tile above the diagonal serves twice."""
    import torch

    labels = block_labels(sizes)
    rows, own, diagonal = np.zeros((3, len(sizes)))
    for above in cuts(*features.shape):
        x = tile(features, above, device)
        np.add.at(diagonal, labels[above], (x.norms / x.rows.shape[1] + 1).pow(3).cpu().numpy())
        for left in cuts(*features.shape):
            if left.start < above.start:
                continue
            values = _kernel(x.rows, tile(features, left, device).rows)
            twice = left.start > above.start
            np.add.at(rows, labels[above], values.sum(1).cpu().numpy())
            if twice:
                np.add.at(rows, labels[left], values.sum(0).cpu().numpy())
            if labels[left.start] <= labels[above.stop - 1]:
                a, b = (torch.from_numpy(labels[cut]).to(values.device) for cut in (above, left))
                inside = (values * (a[:, None] == b)).sum(1).cpu().numpy()
                np.add.at(own, labels[above], inside * (2 if twice else 1))
    return _Within(rows, own, diagonal)


def _between(fake: np.ndarray, real: np.ndarray, sizes: np.ndarray, device: str) -> np.ndarray:
    """Sums [g] over pairs of a sample in the block and a real one."""
    labels = block_labels(sizes)
    sums = np.zeros(len(sizes))
    for rows in cuts(*fake.shape):
        x = tile(fake, rows, device).rows
        for columns in cuts(*real.shape):
            np.add.at(sums, labels[rows], _kernel(x, tile(real, columns, device).rows).sum(1).cpu().numpy())
    return sums


def _over_subsets(
    fake: np.ndarray, real: np.ndarray, subsets: int, subset: int, seed: int, device: str
) -> dict[str, Any]:
    if not subsets:
        return {}
    size = min(subset, len(fake), len(real))
    rng, one, values = np.random.default_rng(seed), np.array([size]), []
    for _ in range(subsets):
        x, y = (side[rng.choice(len(side), size, replace=False)] for side in (fake, real))
        reals = _off_diagonal(_within(y, one, device)) / (size * (size - 1))
        between = float(_between(x, y, one, device).sum())
        values.append(_mmd(_off_diagonal(_within(x, one, device)), between, reals, size, size))
    return {
        "subset_mean": float(np.mean(values)),
        "subset_sd": float(np.std(values)),
        "subsets": subsets,
        "subset": size,
        "subset_reduced": size < subset,
    }
