"""Metrics of images that any other program made: a folder, an archive or an array.

Images in a folder are often sorted by class, so the blocks of the jackknife are not consecutive ones: every image goes
to one of twelve blocks by a random permutation with a fixed seed. Metrics that look at pairs take 10,000 images, and a
metric with `samples` that many, chosen the same way.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from harness.core import yaml
from harness.core.config import kinds
from harness.core.data_range import BYTES
from harness.core.errors import InputError
from harness.datasets.image_bytes import as_values
from harness.datasets.image_set import ImageSet
from harness.metrics import METRICS
from harness.metrics.base import Certainty
from harness.metrics.cautions import ImageKind
from harness.metrics.feature_metric import FeatureMetric
from harness.metrics.features.configs import ExtractorConfig
from harness.metrics.features.summary import FeatureSummary, extract_features
from harness.metrics.references import (
    KEPT_FEATURES,
    Place,
    Progress,
    Reference,
    all_features,
    find_reference,
    read_reference,
)
from harness.metrics.statistics.class_sums import ClassSums
from harness.metrics.statistics.jackknife import BLOCKS, Estimate
from harness.metrics.statistics.moments import MomentStream
from harness.metrics.statistics.reservoir import Reservoir

if TYPE_CHECKING:
    from harness.metrics.features.extractor import Extractor

BATCH = 128
AT_ONCE = 1024
"""Images whose features are shared out to the blocks together."""


def read_metrics(text: str, reference: str | None, extractor: ExtractorConfig | None) -> list[FeatureMetric]:
    """Metrics of images as a command line gives them: `fid,kid`, or a YAML list such as `[fid, {kind: kid, k: 5}]`.

    Args:
        text: which.
        reference: of those that compare with one and name none.
        extractor: of those that name none; each metric's own default for None.

    Raises:
        InputError: no metric, an unknown metric or field, one that means nothing here, a reference that is missing, a
            metric that is there twice, or a reference or an extractor that no metric uses.
    """
    named = yaml.loads(text if text.lstrip().startswith(("[", "{")) else f"[{text}]", "--metrics").data
    metrics = [_read_one(value, reference, extractor) for value in (named if isinstance(named, list) else [named])]
    if not metrics:
        raise InputError(f"--metrics names no metric; there are: {_known_metrics()}")
    for index, metric in enumerate(metrics):
        if metric in metrics[:index]:
            raise InputError(f"--metrics: '{metric.name}' is there twice; remove one")
    names = ", ".join(f"'{metric.name}'" for metric in metrics)
    if reference is not None and all(metric.source != reference for metric in metrics):
        raise InputError(f"--ref '{reference}': {names} does not compare with it; leave it out")
    if extractor is not None and all(metric.features != extractor for metric in metrics):
        kind = type(extractor).model_fields["kind"].default
        raise InputError(f"--extractor '{kind}': {names} does not use it; leave it out")
    return metrics


def _known_metrics() -> str:
    return ", ".join(kinds(tuple(one for one in METRICS.members if issubclass(one, FeatureMetric))))


def _read_one(value: Any, reference: str | None, extractor: ExtractorConfig | None) -> FeatureMetric:
    fields = {"kind": value} if isinstance(value, str) else value
    member = METRICS.find(str(fields.get("kind"))) if isinstance(fields, dict) else None
    if member is None or not issubclass(member, FeatureMetric):
        raise InputError(f"--metrics: {value!r} is no metric of images; there are: {_known_metrics()}")
    takes = member.model_fields
    if extractor is not None and "extractor" in takes:
        fields = {"extractor": extractor.model_dump(mode="json", exclude_none=True), **fields}
    if "reference" in takes and "reference" not in fields:
        if reference is None:
            raise InputError(f"--metrics: '{fields['kind']}' compares with real images; give --ref")
        fields = {**fields, "reference": reference}
    try:
        metric = member.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"--metrics: {fields['kind']}: {yaml.first_mistake(error)}") from None
    try:
        metric.check_alone()
    except InputError as error:
        raise InputError(f"--metrics: {fields['kind']}: {error}") from None
    return metric


class Evaluation(NamedTuple):
    """One metric of a set of images.

    Args:
        metric: which.
        estimate: the number.
        certainty: its interval, or why there is none.
        n: images that it is of.
        extractor: identity.
        reference: identity; "" where it compares with nothing.
        cautions: what to keep in mind about the number, in sentences.
    """

    metric: FeatureMetric
    estimate: Estimate
    certainty: Certainty
    n: int
    extractor: str
    reference: str
    cautions: list[str]


def evaluate(
    images: ImageSet,
    metrics: Sequence[FeatureMetric],
    device: str = "cpu",
    batch: int = BATCH,
    progress: Progress | None = None,
    skip_bad: bool = False,
) -> list[Evaluation]:
    """Measure a set of images; each network looks at each image, generated or real, once, and again for `samples`.

    Args:
        images: what to measure.
        metrics: at least one.
        device: where networks and large matrices are computed.
        batch: images per network call.
        progress: told of images done.
        skip_bad: leave out images of a data set of reference that cannot be decoded.

    Raises:
        InputError: images, references and extractors that do not go together, fewer than 2 images, or fewer than a
            metric's `samples`.
        SamplingError: features or a value that are not finite.
    """
    if len(images) < 2:
        raise InputError(f"{images.name}: metrics need at least 2 images; it has {len(images)}")
    metrics = [metric.for_range(None if images.floats else BYTES) for metric in metrics]
    for metric in metrics:
        metric.check_shape(images.shape)
        metric.features.check()
        if metric.samples is not None and metric.samples > len(images):
            raise InputError(f"'{metric.name}' takes {metric.samples:,} images; {images.name} has {len(images):,}")
    references: dict[Place, dict[ExtractorConfig, Reference]] = {}
    for metric in metrics:
        if (place := _place(metric)) is not None and metric.features not in references.setdefault(place, {}):
            references[place][metric.features] = _reference(place, metric.features, device, skip_bad)
    observed: dict[tuple[ExtractorConfig, int | None], list[FeatureSummary]] = {}
    kind, evaluations = ImageKind(images.shape, images.formats), []
    for metric in metrics:
        config, group = metric.features, (metric.features, metric.samples)
        if group not in observed:
            keep = frozenset().union(*(one.needs for one in metrics if (one.features, one.samples) == group))
            chosen, most = some_of(images, metric.samples), metric.samples or KEPT_FEATURES
            observed[group] = observe(chosen, config.load(images.shape, device), keep, batch, progress, most)
        place, blocks = _place(metric), observed[group]
        reference = references[place][config] if place else None
        estimate = metric.compute(blocks, reference, device)
        if metric.compares_single_images:
            n = sum(len(block.features) for block in blocks if block.features is not None)
        else:
            n = sum(block.n for block in blocks)
        cautions, id = metric.cautions(blocks, reference, kind), reference.id if reference else ""
        certainty = metric.certainty(estimate)
        evaluations.append(Evaluation(metric, estimate, certainty, n, config.identity, id, cautions))
    return evaluations


def some_of(images: ImageSet, count: int | None) -> ImageSet:
    """So many images of a set, chosen at random and always the same; all for None."""
    if count is None or count == len(images):
        return images
    return images.take(np.sort(np.random.default_rng(0).permutation(len(images))[:count]))


def _place(metric: FeatureMetric) -> Place | None:
    """Where a metric's reference is; None for a metric that compares with nothing."""
    if metric.source is None:
        return None
    return find_reference(metric.source, metric.features, metric.compares_single_images)


def _reference(place: Place, config: ExtractorConfig, device: str, skip_bad: bool) -> Reference:
    reference = read_reference(place, config, lambda shape: config.load(shape, device), skip_bad=skip_bad)
    return reference._replace(training=lambda: all_features(place.source, config, skip_bad))


def observe(
    images: ImageSet,
    extractor: "Extractor",
    kept: frozenset[str] = frozenset(),
    batch: int = BATCH,
    progress: Progress | None = None,
    most: int = KEPT_FEATURES,
) -> list[FeatureSummary]:
    """What an extractor sees of a set of images, in at most twelve random blocks; memory is flat in their number.

    Args:
        images: to look at.
        extractor: that looks.
        kept: beside moments: `features` (of at most `most` images), `classes`.
        batch: images per network call.
        progress: told of images done.
        most: images whose features are kept.
    """
    block = np.random.default_rng(0).permutation(len(images)) % min(BLOCKS, len(images))
    count = int(block.max()) + 1
    streams = [MomentStream() for _ in range(count)]
    chances: list[ClassSums | None] = [None] * count
    reservoir, at = Reservoir.empty(extractor.width, most), 0
    for some in images.batches(AT_ONCE):
        seen = extract_features(extractor, as_values(some), kept, min(batch, len(some)))
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
