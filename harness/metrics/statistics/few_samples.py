"""Frechet distances of fewer samples than features, of all and without each block, at the size of the samples.

The scatter of n samples has rank n - 1 at most, so S1 = C C^T / (n - 1) with a thin C [d, n - 1]. The eigenvalues of
F2^T S1 F2 that are not 0 are those of the Gram matrix C^T F2 F2^T C / (n - 1), which has the size of the samples and
not of the features. C consists of the roots R_i of the blocks' own scatters, and of their means about the mean of all
that are left:

    scatter = sum_i R_i R_i^T + sum_i n_i (m_i - m) (m_i - m)^T

A block is left out by leaving its rows and columns out, and by a small matrix for the means; products of features are
computed once. All distances are exact, as those of `FrechetJackknife`, which says what rounding allows.
"""

from collections.abc import Sequence

import numpy as np

from harness.metrics.statistics.frechet_distance import CLEAR, DOUBT, EPS, FrechetReference, doubt, thin_root
from harness.metrics.statistics.moments import Moments

FEW = 0.7
"""Of the features: samples below which Gram matrices are faster than products of the features' size."""


class FewSamples:
    """The Frechet distance of few samples to a reference, of all of them and without a block of them.

    Args:
        reference: the other side of the distance.
        blocks: the moments of disjoint blocks of samples, none of them empty.
    """

    def __init__(self, reference: FrechetReference, blocks: Sequence[Moments]) -> None:
        self._reference, self._blocks = reference, blocks
        factor = reference.factor
        self._rank = factor.shape[1]
        self._means = np.stack([block.mean for block in blocks])
        self._sizes = np.array([block.n for block in blocks])
        self._traces = np.array([block.trace for block in blocks])
        roots = [factor.T @ _root(block) for block in blocks]
        self._owner = np.repeat(np.arange(len(blocks)), [root.shape[1] for root in roots])
        features = np.concatenate(roots, axis=1)
        means = factor.T @ (self._means - self._means.mean(0)).T
        self._within, self._mixed, self._between = features.T @ features, features.T @ means, means.T @ means

    @classmethod
    def of(cls, reference: FrechetReference, blocks: Sequence[Moments]) -> "FewSamples | None":
        """None for many samples, and for moments that cannot be, of which `FrechetJackknife` says what is wrong."""
        n, width = sum(block.n for block in blocks), len(reference.mu)
        if not 2 <= n <= FEW * width or any(block.width != width for block in blocks):
            return None
        is_finite = all(np.isfinite(block.mean).all() and np.isfinite(block.trace) for block in blocks)
        return cls(reference, blocks) if is_finite else None

    def distance(self) -> float | None:
        """The distance of all samples, in the unit of the features, squared; None where rounding is not small."""
        return self._of(np.ones(len(self._sizes), dtype=bool))

    def without(self, number: int) -> float | None:
        """The distance of all samples but those of a block, of which at least 2 are left; None likewise."""
        return self._of(np.arange(len(self._sizes)) != number)

    def _of(self, left: np.ndarray) -> float | None:
        """The distance of the blocks that are left, a mask."""
        sizes, means = self._sizes[left], self._means[left]
        n = int(sizes.sum())
        mean = sizes @ means / n
        scatter = float(self._traces[left].sum() + sizes @ np.square(means - mean).sum(1))
        # means about their mean, times the roots of the sizes, in coordinates that leave out the one that is always 0
        about = (np.eye(len(sizes)) - sizes[:, None] / n) * np.sqrt(sizes)
        apart = about @ np.linalg.qr(np.column_stack([np.sqrt(sizes), np.eye(len(sizes))[:, 1:]]))[0][:, 1:]
        rows = left[self._owner]
        mixed = self._mixed[np.ix_(rows, left)] @ apart
        gram = np.block(
            [
                [self._within[np.ix_(rows, rows)], mixed],
                [mixed.T, apart.T @ self._between[np.ix_(left, left)] @ apart],
            ]
        )
        trace = scatter / (n - 1)
        overlap = self._overlap(gram / (n - 1), trace)
        if overlap is None:
            return None
        return float(np.square(mean - self._reference.mu).sum()) + self._reference.trace + trace - 2 * overlap

    def _overlap(self, gram: np.ndarray, trace: float) -> float | None:
        """The trace of the root of the product of covariances; None where rounding is not small."""
        dense = self._reference.dense
        values = dense.eigenvalues(dense.of(gram))
        dead = max(len(values) - self._rank, 0)
        live, noise = values[dead:], abs(values[:dead]).max(initial=0.0)
        if not len(live) or live[0] <= CLEAR * noise or doubt(live) > DOUBT * (self._reference.trace + trace):
            return None
        return float(np.sqrt(np.maximum(live, 0)).sum())


def _root(block: Moments) -> np.ndarray:
    """R [d, r] with R R^T the scatter of a block and r its rank."""
    if block.root is None:
        return thin_root(block.scatter, max(block.n - 1, 0))
    if not len(block.root):
        return block.root.T
    _, values, directions = np.linalg.svd(block.root, full_matrices=False)
    live = values > len(values) * EPS * values[0]
    return (values[live, None] * directions[live]).T
