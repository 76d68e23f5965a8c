"""What a guided denoiser is made of, without torch: the specs that YAML becomes."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.core.config import Config, Real
from harness.core.errors import InputError
from harness.denoisers.analytic.specs import AnalyticSpec, NonNegative

Part = Annotated[str | AnalyticSpec, Field(union_mode="left_to_right")]
"""A card's name, a checkpoint's path, or an analytic spec."""


class _Guided(Config):
    """What all guidance has: the guided denoiser, a weight, and the noise levels at which it is on.

    Args:
        denoiser: a card's name, a checkpoint's path, or an analytic spec.
        weight: w; 1 is no guidance, above 1 leads away from the guide.
        sigma_lo, sigma_hi: guidance is on where sigma_lo < sigma <= sigma_hi, in units of the data.
    """

    denoiser: Part
    weight: NonNegative = 1.5
    sigma_lo: NonNegative = 0.0
    sigma_hi: Annotated[Real, Field(gt=0)] = math.inf

    @model_validator(mode="after")
    def _an_interval(self) -> "_Guided":
        if self.sigma_lo >= self.sigma_hi:
            raise ValueError(
                f"guidance is on from sigma_lo to sigma_hi, and we got {self.sigma_lo:g} and {self.sigma_hi:g}; raise "
                "sigma_hi"
            )
        return self


class CFGSpec(_Guided):
    """Classifier-free guidance: a class-conditional denoiser, guided by itself without the class.

    D = D(x; sigma) + w (D(x; sigma, c) - D(x; sigma)).
    """

    kind: Literal["cfg"] = "cfg"


class AutoguidanceSpec(_Guided):
    """Autoguidance: a denoiser guided by an inferior version of itself, with the same class.

    D = D_guide(x; sigma, c) + w (D(x; sigma, c) - D_guide(x; sigma, c)).

    Args:
        guide: the inferior denoiser; of the same image shape, with the same classes or none.
    """

    kind: Literal["autoguidance"] = "autoguidance"
    guide: Part


GuidanceSpec = CFGSpec | AutoguidanceSpec


def check_classes(label_dim: int) -> None:
    """Classifier-free guidance needs classes.

    Raises:
        InputError: there are none.
    """
    if label_dim == 0:
        raise InputError(
            "classifier-free guidance needs a class-conditional denoiser, and this one has no classes; use "
            "'autoguidance', or a denoiser with classes"
        )


def check_same_classes(label_dim: int, guides: int) -> None:
    """A guide has the classes of what it guides, or none.

    Raises:
        InputError: it has others.
    """
    if guides not in (0, label_dim):
        raise InputError(
            f"a guide needs the classes of the denoiser it guides, or none; they have {guides} and {label_dim}"
        )
