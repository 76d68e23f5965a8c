"""Stochasticity: noise put in beside a solver's step, one file a choice, joined in the union `Stochasticity`.

`legs` lays out the stretches of a trajectory and may go back up; `lift` may raise the noise before the solver's step,
and `land` may aim it lower and say how much noise to add after.
"""

from typing import Annotated

from pydantic import Field

from harness.core.config import Shorthand
from harness.sampling.stochasticity.ancestral import Ancestral
from harness.sampling.stochasticity.churn import Churn
from harness.sampling.stochasticity.deterministic import Deterministic
from harness.sampling.stochasticity.langevin import Langevin
from harness.sampling.stochasticity.restart import Restart

Stochasticity = Annotated[
    Deterministic | Churn | Ancestral | Restart | Langevin, Field(discriminator="kind"), Shorthand
]
