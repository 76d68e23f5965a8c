"""The laboratory: measures that need no FID, on any denoiser, one file each, joined in the union `LaboratoryMeasure`.

from harness.metrics.diagnostics import EndPointError, Task
seen = EndPointError().observe(Task(denoiser, sampler, list(range(64))))
seen.values                      # root mean square error of each sample against a converged trajectory
"""

from typing import get_args

from harness.metrics.diagnostics.base import Measure, Observation, Paths, Profile, Task
from harness.metrics.diagnostics.convergence_order import ConvergenceOrder
from harness.metrics.diagnostics.curvature import Curvature
from harness.metrics.diagnostics.denoising_error import DenoisingError
from harness.metrics.diagnostics.end_point_error import EndPointError
from harness.metrics.diagnostics.jacobian_asymmetry import JacobianAsymmetry
from harness.metrics.diagnostics.round_trip_error import RoundTripError
from harness.metrics.diagnostics.truncation_error import TruncationError

LaboratoryMeasure = (
    EndPointError | ConvergenceOrder | TruncationError | Curvature | JacobianAsymmetry | RoundTripError | DenoisingError
)

MEASURES: tuple[type[Measure], ...] = get_args(LaboratoryMeasure)

__all__ = [
    *(measure.__name__ for measure in MEASURES),
    "LaboratoryMeasure",
    "Measure",
    "Observation",
    "Paths",
    "Profile",
    "Task",
]
