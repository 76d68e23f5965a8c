"""Diagnostics: metrics that need no reference, on any denoiser, one file each.

from harness.metrics.base import SamplingJob
from harness.metrics.diagnostics import EndPointError
seen = EndPointError().observe(SamplingJob(denoiser, sampler, list(range(64))))
seen.values                      # root mean square error of each sample against a converged trajectory
"""

from harness.metrics.diagnostics.convergence_order import ConvergenceOrder
from harness.metrics.diagnostics.curvature import Curvature
from harness.metrics.diagnostics.denoising_error import DenoisingError
from harness.metrics.diagnostics.end_point_error import EndPointError
from harness.metrics.diagnostics.jacobian_asymmetry import JacobianAsymmetry
from harness.metrics.diagnostics.round_trip_error import RoundTripError
from harness.metrics.diagnostics.truncation_error import TruncationError

__all__ = [
    "ConvergenceOrder",
    "Curvature",
    "DenoisingError",
    "EndPointError",
    "JacobianAsymmetry",
    "RoundTripError",
    "TruncationError",
]
