"""Diagnostics: metrics that need no reference, on any denoiser, one file each.

from harness.metrics import EndPointError
from harness.metrics.base import SamplingJob
seen = EndPointError().observe(SamplingJob(denoiser, sampler, list(range(64))))
seen.values                      # root mean square error of each sample against a converged trajectory
"""
