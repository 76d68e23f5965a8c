"""Precision, recall, density and coverage: how two sets of features lie among each other's nearest neighbours.

With r_k(x, X) the distance from x to its k-th nearest neighbour in X, itself excluded, for generated x_j and real y_i:

    precision  share of j with some i:  |x_j - y_i| <= r_k(y_i, Y)
    recall     share of i with some j:  |x_j - y_i| <= r_k(x_j, X)
    density    (1 / k N) number of pairs (i, j):  |x_j - y_i| <= r_k(y_i, Y)
    coverage   share of i with some j:  |x_j - y_i| <= r_k(y_i, Y)

Precision and recall: Kynkaanniemi et al. 2019, arXiv 1904.06991, eq. 1 and 2, k = 3. Density and coverage: Naeem et al.
2020, arXiv 2002.09797, k = 5. All balls are closed, as in eq. 1 of the first paper; the code released with the second
takes open ones (<), which differs only where distances tie. Distances that are equal to rounding are ties.

Without block b, precision and density lose the block's samples. A real point stays covered unless all that cover it
are in b, for which the first and the last block that cover it suffice. For recall the balls of the others grow as well,
but only those of which one of the k nearest is in b: at most k blocks matter to a sample, and the k smallest distances
to every block give the radius without any.

Recall and coverage grow with N, so they are compared at one N only, and their jackknife intervals are wider than need
be: 1.4 times for 500 Gaussian features of length 8, where those of precision and density are right within a tenth.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.core.errors import InputError
from harness.metrics.cautions import few_neighbours, known_reference
from harness.metrics.feature_metric import ComparedMetric, fitting_statistics, kept_features, real_features
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.jackknife import Estimate, block_labels, block_sizes, can_leave_out, mean_estimate
from harness.metrics.statistics.pairs import (
    centre,
    checked,
    cuts,
    lowered_distances,
    nearest,
    place,
    same_width,
    smallest,
    squared_distances,
    tile,
)

if TYPE_CHECKING:
    import torch


Neighbour = Annotated[int, Field(ge=1, le=100)]
"""Number of the neighbour that sets a radius."""


class _NeighbourShare(ComparedMetric):
    """A share by nearest neighbours.

    Args:
        k: number of the neighbour that sets the radius.
    """

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    is_share: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    k: Neighbour = 3

    @property
    def method(self) -> str:
        return f"{type(self).model_fields['kind'].default}, k = {self.k}"

    def cautions_for(self, n: int, width: int) -> list[str]:
        return few_neighbours("N", n, width)

    def cautions_of_reference(self, count: int, width: int) -> list[str]:
        return few_neighbours("M", count, width, "real images") + known_reference(count, width)

    def compute(self, blocks: Sequence[FeatureSummary], reference: Reference | None, device: str = "cpu") -> Estimate:
        real = real_features(self, fitting_statistics(self, blocks, reference))
        fake, sizes = kept_features(blocks)
        return self.of(neighbours(fake, real, sizes, k=self.k, k_density=self.k, device=device))

    @staticmethod
    @abstractmethod
    def of(estimates: "Neighbours") -> Estimate:
        """Which of the four it is."""


class Precision(_NeighbourShare):
    """Share of generated images that lie among real ones: within a real image's k-th neighbour; higher is better."""

    word: ClassVar[str] = "Precision"
    kind: Literal["precision"] = "precision"

    @staticmethod
    def of(estimates: "Neighbours") -> Estimate:
        return estimates.precision


class Recall(_NeighbourShare):
    """Share of real images that lie among generated ones: within a generated image's k-th neighbour; higher is better.

    Args:
        k: number of the neighbour that sets the radius.
    """

    word: ClassVar[str] = "Recall"
    kind: Literal["recall"] = "recall"

    @staticmethod
    def of(estimates: "Neighbours") -> Estimate:
        return estimates.recall


class Density(_NeighbourShare):
    """How many real neighbourhoods hold a generated image, over k; higher is better, and it may pass 1."""

    word: ClassVar[str] = "Density"
    is_share: ClassVar[bool] = False
    least: ClassVar[float] = 0.0
    kind: Literal["density"] = "density"
    k: Neighbour = 5

    @staticmethod
    def of(estimates: "Neighbours") -> Estimate:
        return estimates.density


class Coverage(_NeighbourShare):
    """Share of real images with a generated one within their k-th neighbour; higher is better."""

    word: ClassVar[str] = "Coverage"
    kind: Literal["coverage"] = "coverage"
    k: Neighbour = 5

    @staticmethod
    def of(estimates: "Neighbours") -> Estimate:
        return estimates.coverage


class Neighbours(NamedTuple):
    """The four estimates; higher is better. Density may exceed 1, the others lie between 0 and 1."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


class _Balls(NamedTuple):
    """Squared radii about some generated samples.

    Args:
        full: [T] among all.
        blocks: [T, k] the blocks of the k nearest.
        without: [T, k] the radius when that block is left out; -inf for the sample's own, which takes it along.
    """

    full: "torch.Tensor"
    blocks: "torch.Tensor"
    without: "torch.Tensor"


class _Covered:
    """Which of `count` real points some generated sample covers, with all blocks and without each.

    Args:
        count: number of real points M.
        blocks: number of blocks g.
        device: where the flags live.
    """

    def __init__(self, count: int, blocks: int, device: "torch.device") -> None:
        import torch

        self.blocks = blocks
        self.first = torch.full((count,), blocks, dtype=torch.int32, device=device)
        self.last = torch.full((count,), -1, dtype=torch.int32, device=device)
        self.extra = torch.zeros((blocks, count), dtype=torch.bool, device=device)

    def mark(self, columns: slice, hits: "torch.Tensor", labels: "torch.Tensor") -> None:
        """Note which samples [T], of blocks `labels` [T], cover which points of a slice: hits [T, U]."""
        import torch

        label = labels[:, None]
        low, high = torch.where(hits, label, self.blocks).amin(0), torch.where(hits, label, -1).amax(0)
        self.first[columns] = torch.minimum(self.first[columns], low)
        self.last[columns] = torch.maximum(self.last[columns], high)

    def mark_without(self, columns: slice, hits: "torch.Tensor", left_out: "torch.Tensor") -> None:
        """Note hits [T, U] that exist only when the block left_out [T] of each sample is gone."""
        sample, point = hits.nonzero(as_tuple=True)
        self.extra[left_out[sample], point + columns.start] = True

    def estimate(self, sizes: np.ndarray, least: int, k: int) -> Estimate:
        covered = self.last >= 0
        value = covered.double().mean().item()
        if not can_leave_out(sizes, least):
            return Estimate(value, np.empty(0), sizes, {"k": k})
        left_out = [
            ((covered & ((self.first != b) | (self.last != b))) | self.extra[b]).double().mean().item()
            for b in range(self.blocks)
        ]
        return Estimate(value, np.array(left_out), sizes, {"k": k})


def neighbours(
    fake: np.ndarray,
    real: np.ndarray,
    sizes: Sequence[int] | np.ndarray,
    *,
    k: int = 3,
    k_density: int = 5,
    device: str = "cpu",
) -> Neighbours:
    """Precision and recall with k neighbours, density and coverage with k_density.

    Args:
        fake: [N, d] features of generated samples.
        real: [M, d] features of data.
        sizes: [g] samples in each consecutive block of `fake`.
        k: neighbours that give a radius for precision and recall, at least 1.
        k_density: the same for density and coverage.
        device: where to compute, in float64.

    Returns:
        Details of each: its `k`. Recall has no replicates where a block leaves k samples or fewer.

    Raises:
        InputError: k below 1, not more than k samples on a side, unequal lengths, or sizes that do not fit.
        SamplingError: features that are not finite.
    """
    if min(k, k_density) < 1:
        raise InputError(f"a radius needs at least 1 neighbour; we got k {k} and k_density {k_density}")
    most = max(k, k_density)
    fake, real = checked(fake, "generated", most + 1), checked(real, "real", most + 1)
    same_width(fake, real)
    blocks = block_sizes(sizes, len(fake))
    return _compare(fake, real, blocks, k, k_density, device)


def _compare(fake: np.ndarray, real: np.ndarray, sizes: np.ndarray, k: int, k_density: int, device: str) -> Neighbours:
    import torch

    radii, _ = nearest(real, real, max(k, k_density), device, itself=True)
    middle = centre(real)
    inside, pairs = np.zeros(len(fake), dtype=bool), np.zeros(len(fake), dtype=np.int64)
    at = place(device)
    narrow, wide = (torch.from_numpy(radii[:, which - 1]).to(at) for which in (k, k_density))
    labels = torch.from_numpy(block_labels(sizes)).to(at, torch.int32)
    recalled, covered = (_Covered(len(real), len(sizes), at) for _ in range(2))
    for rows in cuts(*fake.shape):
        here, own = tile(fake, rows, device, middle), labels[rows]
        balls = _balls(fake, rows, sizes, k, device, middle)
        for columns in cuts(*real.shape):
            distances = lowered_distances(here, tile(real, columns, device, middle))
            inside[rows] |= (distances <= narrow[columns]).any(1).cpu().numpy()
            hits = distances <= wide[columns]
            pairs[rows] += hits.sum(1).cpu().numpy()
            covered.mark(columns, hits, own)
            hits = distances <= balls.full[:, None]
            recalled.mark(columns, hits, own)
            for blocks, radius in zip(balls.blocks.T, balls.without.T, strict=True):
                recalled.mark_without(columns, (distances <= radius[:, None]) & ~hits, blocks)
    return Neighbours(
        mean_estimate(inside, sizes, {"k": k}),
        recalled.estimate(sizes, k + 1, k),
        mean_estimate(pairs / k_density, sizes, {"k": k_density}),
        covered.estimate(sizes, 1, k_density),
    )


def _balls(fake: np.ndarray, rows: slice, sizes: np.ndarray, k: int, device: str, middle: np.ndarray) -> _Balls:
    """The radii of some generated samples among all, and without the blocks that matter to them."""
    import torch

    here = tile(fake, rows, device, middle)
    own = torch.from_numpy(block_labels(sizes)[rows]).to(here.rows.device)
    near = torch.full((len(own), len(sizes), k), torch.inf, dtype=torch.float64, device=own.device)
    samples = torch.arange(rows.start, rows.stop, device=own.device)
    for block, (start, size) in enumerate(zip(np.cumsum(sizes) - sizes, sizes, strict=True)):
        for columns in cuts(int(size), fake.shape[1], int(start)):
            distances = squared_distances(here, tile(fake, columns, device, middle))
            places = torch.arange(columns.start, columns.stop, device=own.device)
            distances.masked_fill_(samples[:, None] == places, torch.inf)
            near[:, block] = smallest(torch.cat((near[:, block], distances), 1), k)[0]
    values, places = smallest(near.flatten(1), k)
    blocks = places // k
    without = torch.empty_like(values)
    for slot in range(k):
        gone = blocks[:, slot]
        rest = near.clone()
        rest[torch.arange(len(own), device=own.device), gone] = torch.inf
        without[:, slot] = smallest(rest.flatten(1), k)[0][:, -1].masked_fill(gone == own, -torch.inf)
    return _Balls(values[:, -1], blocks, without)
