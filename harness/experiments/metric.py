"""What a grid can measure: metrics of features, and the laboratory's measures, in one union."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from harness.core.config import Shorthand
from harness.metrics.choices import FEATURE_METRICS, FEW, MANY, AnyFeatureMetric, FeatureMetric
from harness.metrics.diagnostics import MEASURES, LaboratoryMeasure, Measure
from harness.metrics.diagnostics.base import SAMPLES
from harness.metrics.features.choices import Inception, InceptionPT
from harness.sampling.sampler import Sampler

Metric = Annotated[
    Annotated[AnyFeatureMetric | LaboratoryMeasure, Field(discriminator="kind")],
    Shorthand,
]

MEMBERS: tuple[type[FeatureMetric] | type[Measure], ...] = (*FEATURE_METRICS, *MEASURES)

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Metric)


def read_metric(text: str) -> FeatureMetric | Measure:
    """A metric from the JSON that `model_dump_json` wrote."""
    return _ADAPTER.validate_json(text)


USUAL = 640
"""Images of a trial where a grid does not say."""


def samples_of(metric: FeatureMetric | Measure, grid: int | None) -> int:
    """N of a metric in a grid of so many samples: its own, or the grid's; fewer where every pair is looked at.

    Where neither says, 640, and for distances in Inception's features the field's 50,000.
    """
    if metric.samples is not None:
        return metric.samples
    if isinstance(metric, Measure):
        return min(grid or USUAL, SAMPLES)
    inception = isinstance(metric.features, Inception | InceptionPT)
    if grid is None:
        grid = MANY if inception else USUAL
    return min(grid, FEW) if "features" in metric.needs else grid


def evaluations(metric: FeatureMetric | Measure, sampler: Sampler, nfe: int) -> int:
    """About how many evaluations a sample of this metric costs."""
    return metric.evaluations(sampler, nfe) if isinstance(metric, Measure) else nfe


def check(metric: FeatureMetric | Measure, sampler: Sampler, shape: tuple[int, ...]) -> None:
    """Refuse a sampler or a shape of images that a metric says nothing about.

    Raises:
        InputError: with the reason and a remedy.
    """
    if isinstance(metric, Measure):
        metric.check(sampler, shape)
    else:
        metric.check_shape(shape)
