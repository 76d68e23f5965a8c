"""What generated images are measured against: the real images' mean and covariance of features, and the floor.

The reference is computed from all images of a data set under one extractor. The floor is the distance that real
images themselves have: n' of them, drawn at random, against the remaining ones, repeated over several draws. It is
above zero only because both sets are finite, so a sampler near it at n' images cannot be told from the data. The same
seed gives the same draws.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.datasets.digits import load_digits
from harness.errors import InputError
from harness.metrics.frechet import FrechetReference
from harness.metrics.moments import Moments, as_rows

BATCH = 256

DATASETS: dict[str, Callable[[], Tensor]] = {"digits": lambda: load_digits().images}
"""The data sets that have a reference: name to images [N, C, H, W] in [-1, 1]."""


class Extractor(Protocol):
    """Images [N, C, H, W] in [-1, 1] to features [N, d]; `id` names weights, layer and resizing."""

    id: str

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Reference:
    """The statistics of a data set under an extractor.

    Args:
        dataset: name of the data set.
        dataset_hash: SHA-256 of its images as float32, little-endian, in order, with their shape.
        extractor: id of the extractor.
        features: [n, d] float64.
        n: number of images.
        mu: [d] mean of the features.
        sigma: [d, d] unbiased covariance of the features.
    """

    dataset: str
    dataset_hash: str
    extractor: str
    features: np.ndarray
    n: int
    mu: np.ndarray
    sigma: np.ndarray

    @property
    def id(self) -> str:
        """Data set, its hash and the extractor in one line: results with unequal ids are not comparable."""
        return f"{self.dataset}:{self.dataset_hash[:12]}/{self.n}/{self.extractor}"

    @cached_property
    def frechet(self) -> FrechetReference:
        """The reference ready for distances, its root computed once."""
        return FrechetReference(self.mu, self.sigma)


class Floor(NamedTuple):
    """Distances of real images to real images, over random draws.

    Args:
        mean: their mean.
        sd: their standard deviation (draws - 1), of single draws, not of the mean.
        low: the least of them.
        high: the greatest.
        n: images drawn, n'.
        rest: images they are measured against.
        draws: number of draws.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    rest: int
    draws: int


_references: dict[tuple[str, str], Reference] = {}


def reference(extractor: Extractor, dataset: str = "digits") -> Reference:
    """The reference statistics, computed once a process for each data set and extractor id.

    Raises:
        InputError: no such data set.
    """
    if dataset not in DATASETS:
        raise InputError(f"no reference for data set '{dataset}'; there is one for: {', '.join(DATASETS)}")
    key = (dataset, extractor.id)
    if key not in _references:
        _references[key] = of_images(DATASETS[dataset](), extractor, dataset)
    return _references[key]


def of_images(images: Tensor, extractor: Extractor, dataset: str) -> Reference:
    """The reference statistics of images [N, C, H, W] in [-1, 1] under the name `dataset`; not cached.

    Raises:
        InputError: fewer than 2 images.
        SamplingError: features that are not finite.
    """
    features = np.concatenate([as_rows(extractor(batch)) for batch in images.split(BATCH)])
    moments = Moments.of(features)
    digest = images_hash(images)
    return Reference(dataset, digest, extractor.id, features, moments.n, moments.mean, moments.covariance)


def images_hash(images: Tensor) -> str:
    """SHA-256, in hex, of the shape and the values as little-endian float32."""
    values = images.detach().to("cpu", torch.float32).numpy().astype("<f4")
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.tobytes()).hexdigest()


def floor(features: np.ndarray, n: int, draws: int = 20, seed: int = 0) -> Floor:
    """The distance of n' = min(n, half) random real images to all the others, over `draws` draws.

    With half the images at most, the others stay the larger set (1,797 digits: 898 against 899). The bias falls with
    both sizes, so for n above n' this is the floor of n', which n generated images against all real ones can
    undercut.

    Args:
        features: [N, d] features of the real images.
        n: images that a sampler makes.
        draws: number of random draws, at least 1.
        seed: of the draws.

    Raises:
        InputError: fewer than 2 images on a side, or no draws.
        SamplingError: features that are not finite.
    """
    rows = as_rows(features)
    taken = min(n, len(rows) // 2)
    if taken < 2 or draws < 1:
        raise InputError(
            f"a floor needs at least 2 images a side and 1 draw; we got {taken} of {len(rows)} images, {draws} draws"
        )
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(rows)) for _ in range(draws)]
    found = np.array([_split_distance(rows[order[:taken]], rows[order[taken:]]) for order in orders])
    sd = float(found.std(ddof=1)) if draws > 1 else 0.0
    return Floor(float(found.mean()), sd, float(found.min()), float(found.max()), taken, len(rows) - taken, draws)


def _split_distance(some: np.ndarray, others: np.ndarray) -> float:
    one, rest = Moments.of(some), Moments.of(others)
    return FrechetReference(rest.mean, rest.covariance).distance(one.mean, one.covariance)
