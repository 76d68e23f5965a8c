"""The laboratory: measures that need no FID, on any denoiser, one file each, joined in the union `LaboratoryMeasure`.

from harness.laboratory import EndPointError, Task
seen = EndPointError().observe(Task(denoiser, sampler, list(range(64))))
seen.values                      # root mean square error of each sample against a converged trajectory
"""

from typing import get_args

from harness.laboratory.asymmetry import JacobianAsymmetry
from harness.laboratory.curvature import Curvature
from harness.laboratory.denoising import DenoisingError
from harness.laboratory.end_point import EndPointError
from harness.laboratory.measure import Measure, Observation, Paths, Profile, Task
from harness.laboratory.order import ConvergenceOrder
from harness.laboratory.round_trip import RoundTripError
from harness.laboratory.truncation import TruncationError

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
