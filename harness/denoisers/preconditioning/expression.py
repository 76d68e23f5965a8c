"""A preconditioning whose four coefficients are formulas in sigma that come with the network, as text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.core.expressions import LARGEST, Expression, functions_of
from harness.denoisers.preconditioning.base import Coefficients, Formulas
from harness.denoisers.preconditioning.continuous import Continuous

NAMES = ("sigma", "sigma_data")
CHECKED_LEVELS = 1000


def _minimum(a: Tensor | float, b: Tensor | float) -> Tensor:
    """The smaller of a tensor and a tensor or number."""
    return a.clamp(max=b) if isinstance(a, Tensor) else torch.as_tensor(b).clamp(max=a)


def _maximum(a: Tensor | float, b: Tensor | float) -> Tensor:
    """The larger of a tensor and a tensor or number."""
    return a.clamp(min=b) if isinstance(a, Tensor) else torch.as_tensor(b).clamp(min=a)


TORCH: dict[str, Callable[..., Tensor]] = functions_of(torch) | {"minimum": _minimum, "maximum": _maximum}
"""Functions of tensors, for `Expression.evaluate`."""


class ExpressionPrecond(Continuous):
    """A model of every noise level in its range, preconditioned by formulas of its own.

    The formulas are evaluated in the dtype of sigma, that of the network. Each is checked when the denoiser is made: in
    float32, at 1,000 levels from sigma_min to sigma_max, log-uniform.

    Args:
        c_skip, c_out, c_in, c_noise: formulas in `sigma` and `sigma_data`; see `harness.core.expressions`.
        sigma_data: std of the training images, for the formulas.
        sigma_min, sigma_max: least and largest supported level, positive and finite.
        Others as the base.

    Attributes:
        formulas: the four formulas of this denoiser.

    Raises:
        ValueError: a formula that cannot be read; a coefficient that is not finite at a level, or a c_out or c_in that
            is 0 there; a range that does not rise.

    Source: Karras et al. 2022 (arXiv 2206.00364), eq. 7, for the form.
    """

    kind = "expression"
    formulas = Formulas("c_skip(sigma)", "c_out(sigma)", "c_in(sigma)", "c_noise(sigma)")

    def __init__(
        self,
        *common: Any,
        c_skip: str,
        c_out: str,
        c_in: str,
        c_noise: str,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        **network: Any,
    ) -> None:
        low, high, data = float(sigma_min), float(sigma_max), float(sigma_data)
        if not (1 / LARGEST <= low < high <= LARGEST and 1 / LARGEST <= data <= LARGEST):
            raise ValueError(
                "sigma_min, sigma_max and sigma_data are positive and finite in float32, and sigma_min is below "
                f"sigma_max; we got {sigma_min}, {sigma_max} and {sigma_data}"
            )
        texts = Formulas(c_skip, c_out, c_in, c_noise)
        expressions = {name: _parsed(name, text) for name, text in texts._asdict().items()}
        formulas = Formulas(*map(str, expressions.values()))
        super().__init__(
            *common,
            own={**formulas._asdict(), "sigma_data": data, "sigma_min": low, "sigma_max": high},
            sigma_min=low,
            sigma_max=high,
            **network,
        )
        self.formulas = formulas
        self.sigma_data = data
        self._expressions = expressions
        self._check()

    def coefficients(self, sigma: Tensor) -> Coefficients:
        return Coefficients(*(self._coefficient(name, sigma) for name in self._expressions))

    def _coefficient(self, name: str, sigma: Tensor) -> Tensor:
        """One coefficient, of the shape and dtype of sigma also where its formula is a constant.

        Raises:
            ValueError: a part without sigma that has no value.
        """
        try:
            names: dict[str, Tensor | float] = {"sigma": sigma, "sigma_data": self.sigma_data}
            value: Tensor | float = self._expressions[name].evaluate(names, TORCH)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return torch.full_like(sigma, value) if isinstance(value, float) else value

    def _check(self) -> None:
        """Raises ValueError with coefficient, formula, level and value where a coefficient is not usable."""
        levels = np.geomspace(self.sigma_min, self.sigma_max, CHECKED_LEVELS)
        sigma = torch.tensor(levels, dtype=torch.float32, device="cpu")  # also where networks are made on meta
        for name, expression in self._expressions.items():
            value = self._coefficient(name, sigma)
            needed = name in ("c_out", "c_in")  # without either, the network has no say, or sees no image
            wrong = ~value.isfinite() | ((value == 0) & needed)
            if wrong.any():
                at = int(wrong.nonzero()[0])
                rule = "finite and not 0" if needed else "finite"
                raise ValueError(
                    f"{name} '{expression}' is {value[at]:g} at sigma = {sigma[at]:g}; it must be {rule} "
                    f"from sigma_min = {self.sigma_min:g} to sigma_max = {self.sigma_max:g}"
                )


def _parsed(name: str, text: str) -> Expression:
    """Raises ValueError with the coefficient's name before what is wrong with its formula."""
    try:
        return Expression(text, NAMES)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
