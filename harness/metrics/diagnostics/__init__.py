"""Diagnostics: metrics that need no reference, on any denoiser, one file each.

from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics import EndPointError
seen = EndPointError().observe(SamplingJob(denoiser, sampler, list(range(64))))
seen.values                      # root mean square error of each sample against a converged trajectory
"""

from typing import Any


def __getattr__(name: str) -> Any:
    from harness.metrics import METRICS

    return METRICS.class_named(name)
