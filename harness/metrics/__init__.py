"""Metrics: what a grid, a search and `harness eval` can measure, one file each, joined in the union `METRICS`.

Each is importable from here by its class name, without torch. A new metric is one file and one word here, the file's
name; what it declares decides what plans, stores and reports make of it.
"""

from typing import Any

from harness.core.config import classes_in, one_of
from harness.metrics.base import Metric as Metric

FILES = (
    *("frechet", "fid_infinity", "kid", "prdc", "inception_score", "memorization"),  # of features
    *("diagnostics.end_point_error", "diagnostics.convergence_order", "diagnostics.truncation_error"),
    *("diagnostics.curvature", "diagnostics.jacobian_asymmetry", "diagnostics.round_trip_error"),
    *("diagnostics.detail", "diagnostics.denoising_error"),
    *("score", "python"),  # of functions of the user's
)

METRICS = one_of(*classes_in(__name__, FILES, Metric), group="harness.metrics")  # type: ignore[type-abstract]


def __getattr__(name: str) -> Any:
    return METRICS.class_named(name)
