"""From a raw network F to a denoiser D: the preconditionings of Karras et al. 2022, table 1 (arXiv 2206.00364).

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise, labels)                                                  (eq. 7)

| class          | c_skip                              | c_out                                  | c_in                      | c_noise            |
|----------------|-------------------------------------|----------------------------------------|---------------------------|--------------------|
| `VPPrecond`    | 1                                   | -sigma                                 | 1 / sqrt(sigma^2 + 1)     | (M - 1) t(sigma)   |
| `SubVPPrecond` | 1                                   | -sigma                                 | 2 / (sigma + sqrt(sigma^2 + 4)) | (M - 1) t(sigma) |
| `VEPrecond`    | 1                                   | sigma                                  | 1                         | ln(sigma / 2)      |
| `IDDPMPrecond` | 1                                   | -sigma                                 | 1 / sqrt(sigma^2 + 1)     | M - 1 - argmin_j   |
| `EDMPrecond`   | s_d^2 / (sigma^2 + s_d^2)           | sigma s_d / sqrt(sigma^2 + s_d^2)      | 1 / sqrt(sigma^2 + s_d^2) | ln(sigma) / 4      |
| `FlowPrecond`  | 1 / (1 + sigma)                     | -sigma / (1 + sigma)                   | 1 / (1 + sigma)           | time_scale sigma / (1 + sigma) |
| `ExpressionPrecond` | given                          | given                                  | given                     | given              |

Networks of discrete steps whose levels follow from a schedule are in `discrete`, with iDDPM. Sub-VP, discrete VE and flow
are not in the paper. The formulas of `ExpressionPrecond` are arguments, kept in the checkpoint.
"""  # noqa: E501

from harness.denoisers.preconditioning.base import Preconditioned
from harness.denoisers.preconditioning.continuous import EDMPrecond, FlowPrecond, SubVPPrecond, VEPrecond, VPPrecond
from harness.denoisers.preconditioning.discrete import (
    DDPMPrecond,
    DiscreteVEPrecond,
    IDDPMPrecond,
    SampleDDPMPrecond,
    VelocityDDPMPrecond,
)
from harness.denoisers.preconditioning.expression import ExpressionPrecond

__all__ = [
    "PRECONDITIONINGS",
    "EDMPrecond",
    "ExpressionPrecond",
    "FlowPrecond",
    "IDDPMPrecond",
    "Preconditioned",
    "VEPrecond",
    "VPPrecond",
]

PRECONDITIONINGS: dict[str, type[Preconditioned]] = {
    cls.kind: cls
    for cls in (
        VPPrecond,
        SubVPPrecond,
        VEPrecond,
        DiscreteVEPrecond,
        IDDPMPrecond,
        EDMPrecond,
        DDPMPrecond,
        VelocityDDPMPrecond,
        SampleDDPMPrecond,
        FlowPrecond,
        ExpressionPrecond,
    )
}
"""Every preconditioning by its kind."""
