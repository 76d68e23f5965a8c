"""Metrics of images that any other program made: a folder, an archive or an array.

Images in a folder are often sorted by class, so the blocks of the jackknife are not consecutive ones: every image goes
to one of ten blocks by a random permutation with a fixed seed. Metrics that look at pairs take 10,000 images, chosen
the same way.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.datasets.image_set import ImageSet
from harness.metrics.choices import FEW, FeatureMetric, Memorisation
from harness.metrics.compute import Against, Measured, Training, measure
from harness.metrics.features.choices import AnyExtractor
from harness.metrics.features.extractor import Extractor
from harness.metrics.features.load import load_extractor
from harness.metrics.features.summary import FeatureSummary, extract_features
from harness.metrics.inception_score import ClassSums
from harness.metrics.references import Progress, Reference, all_features, find_reference, read_reference
from harness.metrics.statistics.reservoir import Reservoir
from harness.metrics.statistics.stream import MomentStream

BLOCKS = 10
BATCH = 128
AT_ONCE = 1024
"""Images whose features are shared out to the blocks together."""


class Evaluated(NamedTuple):
    """One metric of a set of images.

    Args:
        metric: which.
        measured: the number.
        n: images that it is of.
        extractor: identity.
        reference: identity; "" where it compares with nothing.
    """

    metric: FeatureMetric
    measured: Measured
    n: int
    extractor: str
    reference: str


def evaluate(
    images: ImageSet,
    metrics: Sequence[FeatureMetric],
    device: str = "cpu",
    batch: int = BATCH,
    progress: Progress | None = None,
    skip_bad: bool = False,
) -> list[Evaluated]:
    """Measure a set of images; each network looks at each image, generated or real, once.

    Args:
        images: what to measure.
        metrics: at least one.
        device: where networks and large matrices are computed.
        batch: images per network call.
        progress: told of images done.
        skip_bad: leave out images of a data set of reference that cannot be decoded.

    Raises:
        InputError: images, references and extractors that do not go together, or fewer than 2 images.
        SamplingError: features that are not finite.
    """
    if len(images) < 2:
        raise InputError(f"{images.name}: metrics need at least 2 images; it has {len(images)}")
    for metric in metrics:
        metric.check_shape(images.shape)
        metric.features.check()
    references: dict[tuple[str | None, AnyExtractor], Reference | None] = {}
    for metric in metrics:
        if (metric.source, metric.features) not in references:
            references[metric.source, metric.features] = _reference(metric, device, skip_bad)
    observed: dict[AnyExtractor, list[FeatureSummary]] = {}
    found = []
    for metric in metrics:
        choice = metric.features
        if choice not in observed:
            kept = frozenset().union(*(other.needs for other in metrics if other.features == choice))
            extractor = load_extractor(choice, images.shape, device)
            observed[choice] = observe(images, extractor, kept, batch, progress)
        reference, blocks = references[metric.source, choice], observed[choice]
        training = _training(metric, skip_bad) if isinstance(metric, Memorisation) else None
        number = measure(metric, blocks, Against(reference.statistics if reference else None, training), device)
        kept_n = sum(len(block.features) for block in blocks if block.features is not None)
        n = kept_n if "features" in metric.needs else len(images)
        found.append(Evaluated(metric, number, n, choice.identity, reference.id if reference else ""))
    return found


def _training(metric: Memorisation, skip_bad: bool) -> Training:
    return lambda: all_features(metric.source, metric.features, skip_bad)


def _reference(metric: FeatureMetric, device: str, skip_bad: bool) -> Reference | None:
    if metric.source is None:
        return None
    choice = metric.features
    place = find_reference(metric.source, choice)
    return read_reference(place, choice, lambda shape: load_extractor(choice, shape, device), skip_bad=skip_bad)


def observe(
    images: ImageSet,
    extractor: Extractor,
    kept: frozenset[str] = frozenset(),
    batch: int = BATCH,
    progress: Progress | None = None,
) -> list[FeatureSummary]:
    """What an extractor sees of a set of images, in at most ten random blocks; memory is flat in their number.

    Args:
        images: to look at.
        extractor: that looks.
        kept: beside moments: `features` (of at most 10,000 images), `classes`.
        batch: images per network call.
        progress: told of images done.
    """
    block = np.random.default_rng(0).permutation(len(images)) % min(BLOCKS, len(images))
    count = int(block.max()) + 1
    streams = [MomentStream() for _ in range(count)]
    chances: list[ClassSums | None] = [None] * count
    reservoir, at = Reservoir.empty(extractor.width, FEW), 0
    for some in images.batches(AT_ONCE):
        seen = extract_features(extractor, from_bytes(torch.from_numpy(some)), kept, min(batch, len(some)))
        rows = np.arange(at, at + len(some))
        for which in range(count):
            mine = block[rows] == which
            streams[which].add(seen.features[mine])
            if seen.probabilities is not None and mine.any():
                sums, before = ClassSums.of(seen.probabilities[mine]), chances[which]
                chances[which] = sums if before is None else before + sums
        if "features" in kept:
            reservoir.add(rows, seen.features)
        at += len(some)
        if progress:
            progress(at, len(images))
    features = _by_block(reservoir, block, count) if "features" in kept else [None] * count
    return [
        FeatureSummary(stream.moments(), rows_of, sums)
        for stream, rows_of, sums in zip(streams, features, chances, strict=True)
    ]


def _by_block(reservoir: Reservoir, block: np.ndarray, count: int) -> list[np.ndarray | None]:
    """The rows that were kept, by block, in order of the images."""
    order = np.argsort(reservoir.indices)
    indices, rows = reservoir.indices[order], reservoir.rows[order]
    return [rows[block[indices] == which] for which in range(count)]
