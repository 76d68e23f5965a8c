"""Stochasticity: noise put in beside a solver's step, one file a choice, joined in the union `STOCHASTICITY`.

`segments` lays out the parts of a trajectory and may go back up; `lift` may raise the noise before the solver's step,
and `land` may aim it lower and say how much noise to add after. A new choice is one file and one word here, the file's
name. Each class is importable from here by its name.
"""

from typing import Any

from harness.core.config import classes_in, one_of
from harness.sampling.stochasticity.base import Stochasticity as Stochasticity

FILES = ("deterministic", "churn", "ancestral", "restart", "langevin")

STOCHASTICITY = one_of(*classes_in(__name__, FILES, Stochasticity), group="harness.stochasticity")


def __getattr__(name: str) -> Any:
    return STOCHASTICITY.class_named(name)
