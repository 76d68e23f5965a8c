"""The probability flow ODE as it is."""

from typing import Literal

from harness.sampling.stochasticity.base import Stochasticity


class Deterministic(Stochasticity):
    """The probability flow ODE as it is: nothing is drawn, nothing added."""

    kind: Literal["deterministic"] = "deterministic"
