"""Metrics: what a grid, a search and `harness eval` can measure, one file each; importable by name without torch."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from harness.core.config import Shorthand
from harness.metrics.base import Metric
from harness.metrics.diagnostics import (
    ConvergenceOrder,
    Curvature,
    DenoisingError,
    EndPointError,
    JacobianAsymmetry,
    RoundTripError,
    TruncationError,
)
from harness.metrics.fid_infinity import FIDInfinity
from harness.metrics.frechet import FID, FrechetDigits
from harness.metrics.inception_score import InceptionScore
from harness.metrics.kid import KID
from harness.metrics.memorization import Memorisation
from harness.metrics.prdc import Coverage, Density, Precision, Recall

MEMBERS: tuple[type[Metric], ...] = (
    FrechetDigits,
    FID,
    FIDInfinity,
    KID,
    Precision,
    Recall,
    Density,
    Coverage,
    InceptionScore,
    Memorisation,
    EndPointError,
    ConvergenceOrder,
    TruncationError,
    Curvature,
    JacobianAsymmetry,
    RoundTripError,
    DenoisingError,
)

AnyMetric = Annotated[
    Annotated[
        FrechetDigits
        | FID
        | FIDInfinity
        | KID
        | Precision
        | Recall
        | Density
        | Coverage
        | InceptionScore
        | Memorisation
        | EndPointError
        | ConvergenceOrder
        | TruncationError
        | Curvature
        | JacobianAsymmetry
        | RoundTripError
        | DenoisingError,
        Field(discriminator="kind"),
    ],
    Shorthand,
]

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyMetric)


def read_metric(text: str) -> Metric:
    """A metric from the JSON that `model_dump_json` wrote."""
    metric: Metric = _ADAPTER.validate_json(text)
    return metric
