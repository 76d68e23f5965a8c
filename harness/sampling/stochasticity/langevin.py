"""The Langevin corrector: a few steps of Langevin dynamics at each noise level before the solver's step."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from harness.core.config import Positive
from harness.sampling.dynamics import Dynamics
from harness.sampling.stochasticity.base import Stochasticity


class Langevin(Stochasticity):
    """Corrector of Song et al.'s predictor-corrector samplers; one NFE a correction.

    x <- x + step g + sqrt(2 step) z,  g the score of x, and

        level   step = 2 (snr s sigma)^2              the authors' annealed Langevin dynamics
        norms   step = 2 (snr |z| / |g|)^2            their Langevin corrector, of which the first is the usual size

    With solver `reverse_diffusion` this is their predictor-corrector sampler. At every level it comes before the
    predictor, as in the authors' code; nothing is corrected after the last step. One float64 normal per sample and
    correction is drawn. For `norms` the authors take means over the batch, so that their samples depend on each other.
    Here the norms are each sample's own, which makes the step depend on where the sample is and what it draws: the
    variance of Gaussian data in d dimensions then comes out too large by a factor of about (d + 4) / d. Their factor
    alpha_i = 1 - beta_i on the VP process, at least 0.98 at their 1000 steps, is left out.

    Args:
        snr: target ratio r of signal to noise, > 0; the authors use 0.16 for VE on CIFAR-10.
        corrections: at each level, >= 1.
        step: `level` or `norms`.

    Source: Song et al. 2021 (arXiv 2011.13456), Algorithms 4 and 5, and the correctors `ald` and `langevin` of their
    code.
    """

    starts_at_infinity: ClassVar[bool] = False

    kind: Literal["langevin"] = "langevin"
    snr: Positive = 0.16
    corrections: Annotated[int, Field(ge=1, le=1000)] = 1
    step: Literal["level", "norms"] = "level"

    @property
    def is_stochastic(self) -> bool:
        return True

    @property
    def keeps_history(self) -> bool:
        return False

    def lift(self, dynamics: Dynamics, x: Tensor, t: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        for _ in range(self.corrections):
            here, noise = dynamics.at(x, t), dynamics.noise()
            score = -here.eps / (here.s * here.sigma)
            size = here.s * here.sigma if self.step == "level" else _length(noise) / _length(score)
            step = 2 * (self.snr * size) ** 2
            x = x + step * score + (2 * step).sqrt() * noise
        return x, t


def _length(x: Tensor) -> Tensor:
    """Euclidean norm of each sample [B, 1, ...]."""
    return x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
