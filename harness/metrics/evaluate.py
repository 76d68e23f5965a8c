"""Metrics of images that any other program made: a folder, an archive or an array.

Images in a folder are often sorted by class, so the blocks of the jackknife are not consecutive ones: every image goes
to one of the blocks by a random permutation with a fixed seed. Metrics that look at pairs take 10,000 images, chosen
the same way.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from harness.core import yaml
from harness.core.config import kinds
from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.datasets.image_set import ImageSet
from harness.metrics import METRICS
from harness.metrics.feature_metric import FeatureMetric
from harness.metrics.features.configs import ExtractorConfig
from harness.metrics.features.summary import FeatureSummary, extract_features
from harness.metrics.references import KEPT_FEATURES, Progress, Reference, all_features, find_reference, read_reference
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
        InputError: an unknown metric or field, a reference that is missing, or a metric that is there twice.
    """
    named = yaml.loads(text if text.lstrip().startswith(("[", "{")) else f"[{text}]", "--metrics").data
    metrics = [_read_one(value, reference, extractor) for value in (named if isinstance(named, list) else [named])]
    for index, metric in enumerate(metrics):
        if metric in metrics[:index]:
            raise InputError(f"--metrics: '{metric.name}' is there twice; remove one")
    return metrics


def _read_one(value: Any, reference: str | None, extractor: ExtractorConfig | None) -> FeatureMetric:
    fields = {"kind": value} if isinstance(value, str) else value
    member = METRICS.find(str(fields.get("kind"))) if isinstance(fields, dict) else None
    if member is None or not issubclass(member, FeatureMetric):
        known = ", ".join(kinds(tuple(one for one in METRICS.members if issubclass(one, FeatureMetric))))
        raise InputError(f"--metrics: {value!r} is no metric of images; there are: {known}")
    takes = member.model_fields
    if extractor is not None and "extractor" in takes:
        fields = {"extractor": extractor.model_dump(mode="json", exclude_none=True), **fields}
    if "reference" in takes and "reference" not in fields:
        if reference is None:
            raise InputError(f"--metrics: '{fields['kind']}' compares with real images; give --ref")
        fields = {**fields, "reference": reference}
    try:
        return member.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"--metrics: {fields['kind']}: {yaml.first_mistake(error)}") from None


class Evaluation(NamedTuple):
    """One metric of a set of images.

    Args:
        metric: which.
        estimate: the number.
        n: images that it is of.
        extractor: identity.
        reference: identity; "" where it compares with nothing.
        cautions: what to keep in mind about the number, in sentences.
    """

    metric: FeatureMetric
    estimate: Estimate
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
    references: dict[tuple[str | None, ExtractorConfig], Reference | None] = {}
    for metric in metrics:
        if (metric.source, metric.features) not in references:
            references[metric.source, metric.features] = _reference(metric, device, skip_bad)
    observed: dict[ExtractorConfig, list[FeatureSummary]] = {}
    evaluations = []
    for metric in metrics:
        config = metric.features
        if config not in observed:
            keep = frozenset().union(*(other.needs for other in metrics if other.features == config))
            observed[config] = observe(images, config.load(images.shape, device), keep, batch, progress)
        reference, blocks = references[metric.source, config], observed[config]
        estimate = metric.compute(blocks, reference, device)
        kept = sum(len(block.features) for block in blocks if block.features is not None)
        n = kept if "features" in metric.needs else len(images)
        cautions = metric.cautions(blocks)
        id = reference.id if reference else ""
        evaluations.append(Evaluation(metric, estimate, n, config.identity, id, cautions))
    return evaluations


def _reference(metric: FeatureMetric, device: str, skip_bad: bool) -> Reference | None:
    source, config = metric.source, metric.features
    if source is None:
        return None
    place = find_reference(source, config)
    reference = read_reference(place, config, lambda shape: config.load(shape, device), skip_bad=skip_bad)
    return reference._replace(training=lambda: all_features(source, config, skip_bad))


def observe(
    images: ImageSet,
    extractor: "Extractor",
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
    import torch

    block = np.random.default_rng(0).permutation(len(images)) % min(BLOCKS, len(images))
    count = int(block.max()) + 1
    streams = [MomentStream() for _ in range(count)]
    chances: list[ClassSums | None] = [None] * count
    reservoir, at = Reservoir.empty(extractor.width, KEPT_FEATURES), 0
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
