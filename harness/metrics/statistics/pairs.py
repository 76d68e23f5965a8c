"""Distances between two sets of feature vectors, in tiles, so that memory does not grow with their number.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y

The product is what makes millions of pairs affordable, and it cancels: the error is about eps (|x|^2 + |y|^2). So it is
taken in float64, of features moved by a common centre, and two squared distances closer than `ROUNDING` times that sum
count as equal. A tile holds at most 2048 x 2048 distances and 2^22 feature values a side, 32 MiB each.

A device without float64 (Apple's mps) leaves the arithmetic to the CPU.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.core.errors import InputError, SamplingError

if TYPE_CHECKING:
    import torch

ROUNDING = 1e-12
"""Squared distances closer than this part of |x|^2 + |y|^2 are equal; d eps is 5e-13 at d = 2048."""

SIDE = 2048
VALUES = 2**22


class Tile(NamedTuple):
    """Some feature vectors on a device: rows [T, d] float64 and their squared lengths [T]."""

    rows: "torch.Tensor"
    norms: "torch.Tensor"


def checked(features: Any, name: str, least: int = 1) -> np.ndarray:
    """Features [N, d] of any number type, as they are.

    Args:
        features: what to check.
        name: whose features, for the message.
        least: how many feature vectors are needed.

    Raises:
        InputError: not two-dimensional, not real numbers, no columns, or fewer than `least` rows.
        SamplingError: rows that are not finite, with their number.
    """
    rows = np.asarray(features)
    if rows.ndim != 2 or not rows.shape[1] or rows.dtype.kind not in "fiu":
        raise InputError(f"{name} features must be numbers [N, d]; we got {rows.dtype} {list(rows.shape)}")
    if len(rows) < least:
        raise InputError(f"{name} features must be at least {least} vectors; we got {len(rows)}; use more samples")
    bad = sum(int((~np.isfinite(rows[cut]).all(1)).sum()) for cut in cuts(*rows.shape))
    if bad:
        raise SamplingError(f"{bad} of {len(rows)} {name} feature vectors are not finite")
    return rows


def same_width(one: np.ndarray, other: np.ndarray) -> None:
    """Refuse features [N, d] and [M, d'] of unequal lengths.

    Raises:
        InputError: the lengths differ.
    """
    if one.shape[1] != other.shape[1]:
        raise InputError(
            f"features must have one length; we got {one.shape[1]} and {other.shape[1]}; use one extractor for both"
        )


def cuts(count: int, width: int, start: int = 0) -> Iterator[slice]:
    """The slices from `start` that cover `count` feature vectors of a length, none larger than a tile."""
    step = max(1, min(SIDE, VALUES // width))
    for first in range(start, start + count, step):
        yield slice(first, min(first + step, start + count))


def centre(features: np.ndarray) -> np.ndarray:
    """The mean [d] of features [N, d], float64; of whole numbers rounded, so that moved ones stay exact."""
    mean = features.mean(0, dtype=np.float64)
    return mean if features.dtype.kind == "f" else np.round(mean)


def tile(features: np.ndarray, cut: slice, device: str, middle: np.ndarray | float = 0.0) -> Tile:
    """The feature vectors of a slice, less `middle` [d], on a device."""
    import torch

    rows = torch.from_numpy(features[cut].astype(np.float64) - middle).to(place(device))
    return Tile(rows, rows.square().sum(1))


def place(device: str) -> "torch.device":
    """Where to compute in float64: the device, or the CPU for one that has none."""
    import torch

    return torch.device("cpu" if device.startswith("mps") else device)


def squared_distances(a: Tile, b: Tile) -> "torch.Tensor":
    """Squared distances [A, B], none below zero."""
    return _squared(a, b, 1.0).clamp_(min=0)


def lowered_distances(a: Tile, b: Tile) -> "torch.Tensor":
    """Squared distances [A, B] less what rounding may add: equal ones compare as at most each other."""
    return _squared(a, b, 1.0 - ROUNDING)


def _squared(a: Tile, b: Tile, share: float) -> "torch.Tensor":
    squared = a.rows @ b.rows.T
    return squared.mul_(-2).add_(a.norms[:, None] * share).add_(b.norms * share)


def smallest(values: "torch.Tensor", k: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """The k smallest along the last axis in ascending order, or all where there are fewer, and their places."""
    least = values.topk(min(k, values.shape[-1]), largest=False, sorted=True)
    return least.values, least.indices


def nearest(
    queries: np.ndarray, points: np.ndarray, k: int, device: str, itself: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest points of each query.

    Args:
        queries: [N, d] features.
        points: [M, d] features; M at least k, or k + 1 with `itself`.
        k: how many.
        device: where to compute.
        itself: the queries are the points, and a point is no neighbour of itself.

    Returns:
        Squared distances [N, k], ascending, float64, and the places [N, k] of those points.
    """
    import torch

    middle = centre(points)
    squares, places = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    for rows in cuts(*queries.shape):
        here = tile(queries, rows, device, middle)
        best = torch.empty((len(here.rows), 0), dtype=torch.float64, device=here.rows.device)
        where = best.to(torch.int64)
        for columns in cuts(*points.shape):
            distances = squared_distances(here, tile(points, columns, device, middle))
            if itself and rows == columns:
                distances.fill_diagonal_(torch.inf)
            near, at = smallest(distances, k)
            best, order = smallest(torch.cat((best, near), 1), k)
            where = torch.cat((where, at + columns.start), 1).gather(1, order)
        squares[rows], places[rows] = best.cpu().numpy(), where.cpu().numpy()
    return squares, places
