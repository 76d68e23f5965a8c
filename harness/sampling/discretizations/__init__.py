"""Discretizations: the N noise levels at which a sampler stops on its way down (paper Table 1, row "Time steps").

One file a family, joined in the union `Discretization`. Aliases are other names of one choice of fields.
"""

from typing import Annotated, Any

from pydantic import Field

from harness.core.config import expand
from harness.sampling.discretizations.cosine import Cosine
from harness.sampling.discretizations.edm import EDM
from harness.sampling.discretizations.explicit import Explicit
from harness.sampling.discretizations.exponential import PolyExponential
from harness.sampling.discretizations.iddpm import IDDPM
from harness.sampling.discretizations.optimized import Optimized
from harness.sampling.discretizations.song import VE, VPLevels

ALIASES: dict[str, dict[str, Any]] = {
    "linear": {"kind": "edm", "rho": 1.0},
    "exponential": {"kind": "polyexponential", "rho": 1.0},
    "log_snr": {"kind": "polyexponential", "rho": 1.0},
}

MEMBERS = (EDM, VE, VPLevels, IDDPM, PolyExponential, Cosine, Explicit, Optimized)

Discretization = Annotated[
    EDM | VE | VPLevels | IDDPM | PolyExponential | Cosine | Explicit | Optimized,
    Field(discriminator="kind"),
    expand(MEMBERS, ALIASES),
]
